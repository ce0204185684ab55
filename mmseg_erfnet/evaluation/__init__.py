from .metric import SegmentationMetric
from .scores import confusion_matrix, scores

__all__ = ['SegmentationMetric', 'confusion_matrix', 'scores']
