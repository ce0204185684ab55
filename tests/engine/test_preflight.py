"""What is said of labels before training."""

import cv2
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.engine.preflight import Labels, look_at_labels


@pytest.fixture
def masks(tmp_path):
    """A function that makes a dataset of two classes whose labels hold given values."""

    def make(*values: int) -> BaseSegDataset:
        for kind in ('images', 'masks'):
            (tmp_path / kind).mkdir(exist_ok=True)
        for index in range(4):
            label = np.resize(np.array(values, np.uint8), (8, 8))
            cv2.imwrite(str(tmp_path / 'images' / f'{index}.jpg'), np.zeros((8, 8, 3), np.uint8))
            cv2.imwrite(str(tmp_path / 'masks' / f'{index}.png'), label)
        return BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            metainfo=dict(classes=('ground', 'crack')),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
        )

    return make


def test_masks_of_0_and_255(masks):
    (line,) = look_at_labels(masks(0, 255)).remarks()
    assert line == (
        'the 4 labels checked contain only 0 and 255, and 255 is ignored, so that ground is the only class that '
        'counts; write crack as 1.'
    )


def test_labels_that_are_right(masks):
    found = look_at_labels(masks(0, 1, 255))
    assert found.remarks() == []
    assert found.number == 1, 'each class has occurred'
    assert look_at_labels(masks(0)).remarks() == [], 'a class that never occurs is odd only where pixels are ignored'


def test_class_that_never_occurs_while_255_does():
    labels = Labels(('sky', 'road', 'car'))
    labels.add({0, 1, 255}, 'a')
    (line,) = labels.remarks()
    assert line.startswith('none of the 1 labels checked contains car, but they contain 255')


def test_all_void(masks):
    (line,) = look_at_labels(masks(255)).remarks()
    assert line.startswith('all 4 labels checked contain only 255, which is ignored, ')
    assert line.endswith('check the label map and the palette.')
