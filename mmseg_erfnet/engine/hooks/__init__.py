"""Hooks, one per file."""

from mmseg_erfnet.engine.hooks.class_table import ClassTableHook
from mmseg_erfnet.engine.hooks.cuda_graph import CudaGraphHook
from mmseg_erfnet.engine.hooks.curves import CurvesHook
from mmseg_erfnet.engine.hooks.epoch_seed import EpochSeedHook, seed_worker
from mmseg_erfnet.engine.hooks.finite_loss import FiniteLossHook
from mmseg_erfnet.engine.hooks.prediction import PredictionHook
from mmseg_erfnet.engine.hooks.progress_bar import ProgressBarHook
from mmseg_erfnet.engine.hooks.report import ReportHook
from mmseg_erfnet.engine.hooks.resumed_schedule import ResumedScheduleHook
from mmseg_erfnet.engine.hooks.runtime_info import LazyRuntimeInfoHook
from mmseg_erfnet.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmseg_erfnet.engine.hooks.timelapse import TimelapseHook
from mmseg_erfnet.engine.hooks.train_score import TrainScoreHook
from mmseg_erfnet.engine.hooks.validation_pictures import ValidationPicturesHook
from mmseg_erfnet.engine.hooks.visualization import VisualizationHook

__all__ = [
    'ClassTableHook',
    'CudaGraphHook',
    'CurvesHook',
    'EpochSeedHook',
    'FiniteLossHook',
    'LazyRuntimeInfoHook',
    'PredictionHook',
    'ProgressBarHook',
    'ReportHook',
    'ResumedScheduleHook',
    'SafeCheckpointHook',
    'TimelapseHook',
    'TrainScoreHook',
    'ValidationPicturesHook',
    'VisualizationHook',
    'seed_worker',
]
