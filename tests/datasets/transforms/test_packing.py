"""Labels travel in one byte a pixel, and are int64 at either end."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmseg_erfnet.engine.shared_memory import bytes_of
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.registry import TRANSFORMS


def packed(label: np.ndarray) -> dict:
    results = dict(
        img=np.zeros((*label.shape[:2], 3), np.uint8), gt_seg_map=label, seg_map_path='a_L.png', img_path='a'
    )
    return TRANSFORMS.build(dict(type='mmseg_erfnet.PackSegInputs'))(results)


LABEL = np.arange(64 * 96, dtype=np.int64).reshape(64, 96) % 256


@pytest.mark.parametrize('way', [lambda item: pickle.loads(pickle.dumps(item)), copy.deepcopy])
def test_comes_back_as_it_was(way):
    for label in (LABEL, LABEL.astype(np.uint8), LABEL - 1, LABEL * 300):
        data = way(packed(label))['data_samples'].gt_sem_seg.data
        assert data.dtype == torch.int64
        np.testing.assert_array_equal(data[0], label)


def test_takes_one_byte_a_pixel_on_its_way():
    assert bytes_of(packed(LABEL)) == 20480 + 8192, 'whole pages of 4096 bytes'
    file = io.BytesIO()
    pickle.dump(packed(LABEL)['data_samples'], file)
    assert LABEL.size < len(file.getvalue()) < 2 * LABEL.size


class Labels(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        return packed(LABEL)


def test_through_a_worker():
    (batch,) = DataLoader(Labels(), batch_size=2, num_workers=1, collate_fn=pseudo_collate)
    for sample in batch['data_samples']:
        assert sample.gt_sem_seg.data.dtype == torch.int64
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], LABEL)
        assert sample.gt_sem_seg.shape == (64, 96)


def test_colours_are_answered_with_our_loader():
    with pytest.raises(DataError, match=r"a_L\.png contains colours, .*dict\(type='mmseg_erfnet\.LoadSegLabels'\)"):
        packed(np.zeros((8, 8, 3), np.uint8))
