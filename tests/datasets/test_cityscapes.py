"""Cityscapes from its raw label ids."""

import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset as StockDataset
from mmseg.datasets.transforms import LoadAnnotations

from mmseg_erfnet.datasets import CityscapesDataset, check_disjoint
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError

# Of the official table of labels: the ids that are evaluated, by the name of their class
RAW_IDS = {
    'road': 7,
    'sidewalk': 8,
    'building': 11,
    'wall': 12,
    'fence': 13,
    'pole': 17,
    'traffic light': 19,
    'traffic sign': 20,
    'vegetation': 21,
    'terrain': 22,
    'sky': 23,
    'person': 24,
    'rider': 25,
    'car': 26,
    'truck': 27,
    'bus': 28,
    'train': 31,
    'motorcycle': 32,
    'bicycle': 33,
}


def build(root, loader, split: str = 'train', **kwargs) -> CityscapesDataset:
    prefix = {'img_path': f'leftImg8bit/{split}', 'seg_map_path': f'gtFine/{split}'}
    return CityscapesDataset(data_root=str(root), data_prefix=prefix, pipeline=[loader], **kwargs)


@pytest.fixture
def root(tmp_path):
    """One frame whose label holds each id that the official files may hold, 255 for license plates included."""
    for folder, suffix, pixels in (
        ('leftImg8bit', 'leftImg8bit', np.zeros((5, 7, 3), np.uint8)),
        ('gtFine', 'gtFine_labelIds', np.r_[np.arange(34), 255].astype(np.uint8).reshape(5, 7)),
    ):
        path = tmp_path / folder / 'train/town' / f'town_000000_000019_{suffix}.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), pixels)
    return tmp_path


@pytest.mark.parametrize('loader', [LoadSegLabels(palette=None), LoadAnnotations()])
def test_raw_ids_become_train_ids(root, loader):
    dataset = build(root, loader)
    names = dict(enumerate(dataset.metainfo['classes']))
    labels = dataset[0]['gt_seg_map'].ravel()
    assert {names[label]: raw for raw, label in enumerate(labels) if label != 255} == RAW_IDS
    assert labels[-1] == 255
    assert (labels == 255).sum() == 16
    assert dataset.metainfo['palette'] == StockDataset.METAINFO['palette']


def test_chosen_classes(root):
    dataset = build(root, LoadSegLabels(palette=None), metainfo={'classes': ['car', 'road']})
    labels = dataset[0]['gt_seg_map'].ravel()
    assert {raw: label for raw, label in enumerate(labels) if label != 255} == {26: 0, 7: 1}
    assert dataset.metainfo['palette'] == [[0, 0, 142], [128, 64, 128]]


def test_train_ids_are_taken_as_they_are(root):
    labels = np.r_[np.arange(19), np.full(16, 255)].astype(np.uint8).reshape(5, 7)
    cv2.imwrite(str(root / 'gtFine/train/town/town_000000_000019_gtFine_labelTrainIds.png'), labels)
    dataset = build(root, LoadSegLabels(palette=None), seg_map_suffix='_gtFine_labelTrainIds.png')
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], labels)


def test_files_are_checked(root):
    label = root / 'gtFine/train/town/town_000000_000019_gtFine_labelIds.png'
    cv2.imwrite(str(label), np.full((5, 7), 34, np.uint8))
    with pytest.raises(DataError, match=rf'{label.name} has ids that the dataset does not know: 34 \(35 pixels\)'):
        build(root, LoadSegLabels(palette=None))[0]
    label.unlink()
    with pytest.raises(DataError, match=f'{label.name} is missing'):
        build(root, LoadSegLabels(palette=None))


def test_real_frames(cityscapes_root):
    train, val = (build(cityscapes_root, LoadSegLabels(palette=None), split) for split in ('train', 'val'))
    check_disjoint(train, val)
    labels = train[0]['gt_seg_map']
    assert labels.shape == (1024, 2048)
    assert set(np.unique(labels).tolist()) <= {*range(19), 255}
    assert (labels == 0).mean() > 0.1  # road
