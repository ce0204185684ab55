from .checkpointing import CheckpointFitHook, SafeCheckpointHook
from .evolution import EvolutionHook
from .guard import FiniteLossHook
from .hooks import EpochSeedHook, PredictionHook, TrainScoreHook, seed_worker
from .optim import BFloat16OptimWrapper
from .progress import ProgressBarHook, ProgressLogProcessor
from .reporting import CurvesHook, ReportHook

__all__ = [
    'BFloat16OptimWrapper', 'CheckpointFitHook', 'CurvesHook', 'EpochSeedHook', 'EvolutionHook', 'FiniteLossHook',
    'PredictionHook', 'ProgressBarHook', 'ProgressLogProcessor', 'ReportHook', 'SafeCheckpointHook',
    'TrainScoreHook', 'seed_worker'
]
