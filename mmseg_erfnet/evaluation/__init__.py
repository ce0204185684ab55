from mmseg_erfnet.evaluation.metric import SegmentationMetric, scoring_arguments
from mmseg_erfnet.evaluation.scores import confusion_matrix, scores

__all__ = ['SegmentationMetric', 'confusion_matrix', 'scores', 'scoring_arguments']
