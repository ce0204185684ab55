"""Transforms for MMSegmentation's pipelines: loading, augmentation and packing."""

from mmseg_erfnet.datasets.transforms.geometry import RandomRotateCropResize, RandomTranslate, ReduceLabels
from mmseg_erfnet.datasets.transforms.loading import LoadSegLabels
from mmseg_erfnet.datasets.transforms.packing import PackSegInputs
from mmseg_erfnet.datasets.transforms.photometry import RandomBlur, RandomBrightness, RandomContrast, RandomNoise
from mmseg_erfnet.datasets.transforms.shadow import RandomShadow

__all__ = [
    'LoadSegLabels',
    'PackSegInputs',
    'RandomBlur',
    'RandomBrightness',
    'RandomContrast',
    'RandomNoise',
    'RandomRotateCropResize',
    'RandomShadow',
    'RandomTranslate',
    'ReduceLabels',
]
