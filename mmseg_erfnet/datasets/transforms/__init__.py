"""Loading and augmentation, for MMSegmentation's pipelines."""

from .geometry import RandomRotateCropResize, RandomTranslate
from .photometry import RandomBlur, RandomBrightness, RandomContrast, RandomNoise
from .shadow import RandomShadow

__all__ = [
    'RandomBlur', 'RandomBrightness', 'RandomContrast', 'RandomNoise', 'RandomRotateCropResize', 'RandomShadow',
    'RandomTranslate'
]
