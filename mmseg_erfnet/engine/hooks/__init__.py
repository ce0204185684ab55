"""Hooks, one a file."""

from mmseg_erfnet.engine.hooks.curves import CurvesHook
from mmseg_erfnet.engine.hooks.epoch_seed import EpochSeedHook, seed_worker
from mmseg_erfnet.engine.hooks.finite_loss import FiniteLossHook
from mmseg_erfnet.engine.hooks.prediction import PredictionHook
from mmseg_erfnet.engine.hooks.progress_bar import ProgressBarHook
from mmseg_erfnet.engine.hooks.report import ReportHook
from mmseg_erfnet.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmseg_erfnet.engine.hooks.timelapse import TimelapseHook
from mmseg_erfnet.engine.hooks.train_score import TrainScoreHook
from mmseg_erfnet.engine.hooks.validation_pictures import ValidationPicturesHook

__all__ = [
    'CurvesHook',
    'EpochSeedHook',
    'FiniteLossHook',
    'PredictionHook',
    'ProgressBarHook',
    'ReportHook',
    'SafeCheckpointHook',
    'TimelapseHook',
    'TrainScoreHook',
    'ValidationPicturesHook',
    'seed_worker',
]
