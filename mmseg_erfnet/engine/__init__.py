"""Training and testing: launching runs, hooks, schedules, mixed precision."""

from mmseg_erfnet.engine import hooks
from mmseg_erfnet.engine.log_processor import ProgressLogProcessor
from mmseg_erfnet.engine.optim import BFloat16OptimWrapper, MergedGroupsConstructor
from mmseg_erfnet.engine.visualizer import RunVisBackend, RunVisualizer

__all__ = [
    'BFloat16OptimWrapper',
    'MergedGroupsConstructor',
    'ProgressLogProcessor',
    'RunVisBackend',
    'RunVisualizer',
    'hooks',
]
