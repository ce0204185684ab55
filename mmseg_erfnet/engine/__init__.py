from .checkpointing import CheckpointFitHook, SafeCheckpointHook
from .guard import FiniteLossHook
from .hooks import EpochSeedHook, PredictionHook, TrainScoreHook, seed_worker
from .logging import ShortLogProcessor
from .optim import BFloat16OptimWrapper
from .reporting import CurvesHook, ReportHook

__all__ = [
    'BFloat16OptimWrapper', 'CheckpointFitHook', 'CurvesHook', 'EpochSeedHook', 'FiniteLossHook', 'PredictionHook',
    'ReportHook', 'SafeCheckpointHook', 'ShortLogProcessor', 'TrainScoreHook', 'seed_worker'
]
