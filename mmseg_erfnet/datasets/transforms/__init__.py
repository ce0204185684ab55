"""Loading and augmentation, for MMSegmentation's pipelines."""

from .geometry import RandomRotateCropResize, RandomTranslate, ReduceLabels
from .loading import LoadSegLabels
from .photometry import RandomBlur, RandomBrightness, RandomContrast, RandomNoise
from .shadow import RandomShadow

__all__ = [
    'LoadSegLabels', 'RandomBlur', 'RandomBrightness', 'RandomContrast', 'RandomNoise', 'RandomRotateCropResize',
    'RandomShadow', 'RandomTranslate', 'ReduceLabels'
]
