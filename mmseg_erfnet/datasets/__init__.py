"""Datasets, checked on reading, and the transforms that load and augment their frames."""

from .camvid import CamVid11Dataset, CamVidDataset, check_disjoint, random_split, standard_split
from .cityscapes import CityscapesDataset
from .files import DataError

__all__ = ['CamVid11Dataset', 'CamVidDataset', 'CityscapesDataset', 'DataError', 'check_disjoint', 'random_split',
           'standard_split']
