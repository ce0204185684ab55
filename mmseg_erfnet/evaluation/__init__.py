from mmseg_erfnet.evaluation.metric import SegmentationMetric
from mmseg_erfnet.evaluation.scores import confusion_matrix, scores

__all__ = ['SegmentationMetric', 'confusion_matrix', 'scores']
