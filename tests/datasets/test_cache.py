"""The cache changes no sample, is shared by workers, outlives them, and stays within its bounds."""

import pickle
from copy import deepcopy
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader

from mmseg_erfnet.datasets import CamVidDataset
from mmseg_erfnet.datasets.cache import SharedCache
from mmseg_erfnet.engine.hooks import seed_worker
from mmseg_erfnet.errors import DataError, UsageError

FRAME = 96 * 128 * 4  # bytes of a decoded frame and its label


def build(root, config, **kwargs) -> CamVidDataset:
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(dict(config.train_dataloader.dataset, data_root=str(root), **kwargs))


def epoch(dataset, workers: int, seed: int) -> dict[str, tuple]:
    torch.manual_seed(seed)
    np.random.seed(seed)
    loader = DataLoader(
        dataset,
        4,
        shuffle=True,
        num_workers=workers,
        worker_init_fn=seed_worker,
        collate_fn=pseudo_collate,
        multiprocessing_context='fork' if workers else None,
    )
    samples = {}
    for batch in loader:
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            samples[sample.img_path] = image, sample.gt_sem_seg.data, sorted(sample.metainfo.items())
    return samples


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('name', ['erfnet_camvid', 'erfnet_camvid11'])
def test_samples_are_the_same(name, workers, synthetic_camvid, small_config):
    config = small_config(name)
    plain, cached, small = (build(synthetic_camvid, config, cache_gb=size) for size in (0, 1, 3.5 * FRAME / 1e9))
    for seed in range(3):
        expected = epoch(plain, workers, seed)
        for dataset in (cached, small):
            found = epoch(dataset, workers, seed)
            assert found.keys() == expected.keys()
            for path, (image, label, meta) in expected.items():
                assert torch.equal(found[path][0], image)
                assert torch.equal(found[path][1], label)
                assert str(found[path][2]) == str(meta)
    assert kept(cached) == len(cached)
    assert 0 < kept(small) < 4


def kept(dataset: CamVidDataset) -> int:
    return sum(dataset.cache.get(name) is not None for name in dataset.cache.slots)


def test_no_file_is_read_twice(synthetic_camvid, small_config, monkeypatch):
    """Workers that are gone have left what they decoded."""
    dataset = build(synthetic_camvid, small_config('erfnet_camvid'), cache_gb=1)
    epoch(dataset, 2, 0)
    monkeypatch.setattr(cv2, 'imdecode', None)
    monkeypatch.setattr('mmseg_erfnet.datasets.base.read_bytes', None)
    assert len(epoch(dataset, 2, 1)) == len(epoch(dataset, 0, 1)) == len(dataset)


def test_a_fixed_resize_is_kept_resized(synthetic_camvid, small_config):
    dataset = build(
        synthetic_camvid,
        small_config('erfnet_camvid'),
        cache_gb=1,
        pipeline=small_config('erfnet_camvid').test_pipeline,
    )
    dataset[0]
    assert dataset.cache.get(dataset.get_data_info(0)['img_path'])['img'].shape == (64, 64, 3)


def test_what_is_kept_is_not_written_into(synthetic_camvid, small_config):
    dataset = build(synthetic_camvid, small_config('erfnet_camvid'), cache_gb=1)
    dataset.pipeline.transforms[2:] = [lambda results: results['img'].fill(0) or results]
    assert not dataset[0]['img'].any()
    assert dataset.cache.get(dataset.get_data_info(0)['img_path'])['img'].any()


def test_a_subset_has_its_own_frames(synthetic_camvid, small_config):
    dataset = build(synthetic_camvid, small_config('erfnet_camvid'), cache_gb=1)
    for index in range(len(dataset)):
        dataset[index]
    names = [dataset.get_data_info(index)['img_path'] for index in (5, 2)]
    for subset in (dataset.get_subset([5, 2]), dataset):
        if subset is dataset:
            subset.get_subset_([5, 2])
        assert [subset[index]['data_samples'].img_path for index in range(2)] == names


def test_a_damaged_file_is_named(synthetic_camvid, small_config, tmp_path):
    name = (synthetic_camvid / 'splits' / 'train.txt').read_text().split()[0]
    for folder, suffix in (('701_StillsRaw_full', ''), ('LabeledApproved_full', '_L')):
        source = synthetic_camvid / folder / f'{name}{suffix}.png'
        target = tmp_path / folder / source.name
        target.parent.mkdir()
        target.write_bytes(source.read_bytes()[:-30])
    (tmp_path / 'train.txt').write_text(name)
    dataset = build(tmp_path, small_config('erfnet_camvid'), cache_gb=1, ann_file='train.txt')
    with pytest.raises(DataError, match=f'{name}.png is truncated'):
        dataset[0]
    assert kept(dataset) == 0


def test_copies_have_none(synthetic_camvid, small_config):
    dataset = build(synthetic_camvid, small_config('erfnet_camvid'), cache_gb=1)
    for copy in (deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert copy.cache is None
        assert copy[0]['inputs'].shape == (3, 64, 64)


def test_wrong_size(synthetic_camvid, small_config):
    with pytest.raises(UsageError, match='cache_gb is memory'):
        build(synthetic_camvid, small_config('erfnet_camvid'), cache_gb=-1)


# --- The cache alone --------------------------------------------------------------------------------------------------


def test_full_is_full():
    value = np.arange(250, dtype=np.uint8)
    size = len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    cache = SharedCache(['a', 'b', 'c'], 2 * size)
    for name in ('a', 'a', 'b', 'c', 'unknown'):
        cache.put(name, value)
    assert [cache.get(name) is not None for name in ('a', 'b', 'c', 'unknown')] == [True, True, False, False]
    np.testing.assert_array_equal(cache.get('b'), value)


def _fill(cache: SharedCache, worker: int) -> None:
    for name in cache.slots:
        cache.put(name, (name, np.full(1000, int(name) % 256, np.uint8)))


def test_many_write_at_once():
    cache = SharedCache([str(index) for index in range(300)], 1 << 20)
    workers = [get_context('fork').Process(target=_fill, args=(cache, index)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for name in cache.slots:
        found, values = cache.get(name)
        assert found == name
        assert (values == int(name) % 256).all()
    size = len(pickle.dumps(('100', np.zeros(1000, np.uint8)), pickle.HIGHEST_PROTOCOL))
    assert cache.ends[-1] <= 300 * size


def test_a_lock_that_nobody_gives_back():
    """Held by a worker that was killed, it costs a second a sample, and no more."""
    cache = SharedCache(['a'], 1000)
    cache.put('a', 1)
    cache.lock.acquire()
    assert cache.get('a') is None
