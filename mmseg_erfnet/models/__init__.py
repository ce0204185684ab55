"""Modules that are registered in ``mmseg_erfnet.registry.MODELS``."""

from mmseg_erfnet.models.erfnet import ERFNet
from mmseg_erfnet.models.heads import ERFNetHead, FCNHead
from mmseg_erfnet.models.losses import WeightedCrossEntropyLoss
from mmseg_erfnet.models.tta import SegTTAModel

__all__ = ['ERFNet', 'ERFNetHead', 'FCNHead', 'SegTTAModel', 'WeightedCrossEntropyLoss']
