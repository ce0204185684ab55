"""Counts of labels and the class weights from them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config

from mmseg_erfnet.datasets import CamVid11Dataset, CamVidDataset
from mmseg_erfnet.datasets.camvid import CLASSES
from mmseg_erfnet.datasets.statistics import class_weights, label_statistics, median_frequency_weights
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError

PUBLISHED = Path(__file__).parents[2] / 'configs/_base_/class_weights/camvid.py'


def test_counts_agree_with_a_loop(synthetic_camvid):
    dataset = CamVid11Dataset(data_root=str(synthetic_camvid), pipeline=[LoadSegLabels()])
    statistics = label_statistics(dataset)
    labels = [dataset[index]['gt_seg_map'] for index in range(len(dataset))]
    assert statistics.classes == tuple(dataset.metainfo['classes'])
    assert statistics.num_images == 16
    assert statistics.ignored == sum((label == 255).sum() for label in labels) > 0
    assert statistics.pixels.sum() + statistics.ignored == 16 * 96 * 128
    for index in range(11):
        present = [label for label in labels if (label == index).any()]
        assert statistics.pixels[index] == sum((label == index).sum() for label in labels)
        assert statistics.images[index] == len(present)
        assert statistics.pixels_where_present[index] == sum((label != 255).sum() for label in present)


def test_counting_does_not_touch_the_frames(synthetic_camvid, monkeypatch):
    dataset = CamVidDataset(data_root=str(synthetic_camvid), indices=2, pipeline=[LoadImageFromFile(), LoadSegLabels()])
    monkeypatch.setattr(dataset, 'prepare_data', None)
    assert label_statistics(dataset, workers=1).num_images == 2


def test_published_weights_are_those_of_shares_that_sum_to_1():
    weights = Config.fromfile(PUBLISHED).class_weights
    assert set(weights) == set(CLASSES)
    weights = np.array([weights[name] for name in CLASSES])
    shares = np.exp(1 / weights) - 1.10
    # The published run counted in float32.
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert shares.min() > -1e-7
    np.testing.assert_allclose(class_weights(np.round(shares * 1e10)), weights, rtol=1e-5)


def test_weights_by_hand():
    np.testing.assert_allclose(class_weights([1, 3, 0], c=1.02), 1 / np.log([1.27, 1.77, 1.02]))


def test_median_frequency_weights_by_hand(tmp_path):
    # Two frames of 8 pixels: 4 x Sky and 4 x Road; 6 x Sky, 1 x Car and 1 x Void, which is not counted.
    sky, road, car, void = (128, 128, 128), (128, 64, 128), (64, 0, 128), (0, 0, 0)
    for name, colours in (('a', [sky] * 4 + [road] * 4), ('b', [sky] * 6 + [car, void])):
        pixels = np.array(colours, np.uint8).reshape(2, 4, 3)[..., ::-1]
        for folder, suffix in (('701_StillsRaw_full', ''), ('LabeledApproved_full', '_L')):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f'{name}{suffix}.png'), pixels)
    statistics = label_statistics(CamVid11Dataset(data_root=str(tmp_path), pipeline=[LoadSegLabels()]))
    weights = dict(zip(statistics.classes, median_frequency_weights(statistics), strict=True))
    shares = {'Sky': 10 / 15, 'Road': 4 / 8, 'Car': 1 / 7}
    assert {name: weight for name, weight in weights.items() if name in shares} == pytest.approx(
        {name: 0.5 / share for name, share in shares.items()}
    )
    assert {weight for name, weight in weights.items() if name not in shares} == {1}


def test_wrong_use(synthetic_camvid):
    with pytest.raises(UsageError, match=r'loads no labels to count; add mmseg_erfnet\.LoadSegLabels'):
        label_statistics(CamVidDataset(data_root=str(synthetic_camvid)))
    with pytest.raises(UsageError, match='all labels are ignored'):
        class_weights([0, 0])
    with pytest.raises(UsageError, match='c must be above 1'):
        class_weights([1], c=1)


def test_ids_without_a_class_are_an_error(synthetic_camvid):
    blue_only = LoadSegLabels(palette=[*([index, 1, 2] for index in range(40)), *CamVidDataset.METAINFO['palette']])
    with pytest.raises(DataError, match=r'_L\.png holds \d+ \(\d+ pixels\).*, but there are only 32 classes'):
        label_statistics(CamVidDataset(data_root=str(synthetic_camvid), pipeline=[blue_only]))
