from .hooks import EpochSeedHook, PlainCheckpointHook, PredictionHook, TrainScoreHook, seed_worker
from .logging import ShortLogProcessor
from .optim import BFloat16OptimWrapper

__all__ = [
    'BFloat16OptimWrapper', 'EpochSeedHook', 'PlainCheckpointHook', 'PredictionHook', 'ShortLogProcessor',
    'TrainScoreHook', 'seed_worker'
]
