"""Datasets, checked on reading, and the transforms that load and augment their frames."""

from mmseg_erfnet.datasets.camvid import CamVid11Dataset, CamVidDataset, check_disjoint, random_split, standard_split
from mmseg_erfnet.datasets.cityscapes import CityscapesDataset

__all__ = ['CamVid11Dataset', 'CamVidDataset', 'CityscapesDataset', 'check_disjoint', 'random_split', 'standard_split']
