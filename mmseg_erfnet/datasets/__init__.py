"""Datasets that check their files on reading, and the transforms that load and augment their frames."""

from mmseg_erfnet.datasets.camvid import CamVid11Dataset, CamVidDataset, check_disjoint, random_split, standard_split
from mmseg_erfnet.datasets.cityscapes import CityscapesDataset
from mmseg_erfnet.datasets.folder import FolderDataset

__all__ = [
    'CamVid11Dataset',
    'CamVidDataset',
    'CityscapesDataset',
    'FolderDataset',
    'check_disjoint',
    'random_split',
    'standard_split',
]
