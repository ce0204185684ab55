"""The room in /dev/shm against what the workers of data loaders make ahead, and a time limit for lost batches."""

import os
import time

import pytest
import torch
from conftest import CONFIGS, ROOT
from torch.utils.data import DataLoader, Dataset

from mmseg_erfnet.engine import shared_memory
from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.engine.shared_memory import bytes_of, fit_loaders, fit_to_room, needed
from mmseg_erfnet.engine.translation import translate
from mmseg_erfnet.errors import UsageError

PAGE = 4096


class Frames(Dataset):
    """Samples of one page of shared memory each."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(PAGE, dtype=torch.uint8)


def loader(workers: int = 2, ahead: int = 2, batch: int = 4) -> DataLoader:
    return DataLoader(Frames(), batch_size=batch, num_workers=workers, prefetch_factor=ahead if workers else None)


def test_bytes_are_those_of_the_tensors_in_pages():
    assert bytes_of(dict(inputs=torch.zeros(3, 8, 8), others=[torch.zeros(PAGE + 1, dtype=torch.uint8)])) == 3 * PAGE


def test_needed_is_batch_times_what_is_made_ahead(monkeypatch):
    sample = Frames()[0]
    assert needed(loader(), sample) == PAGE * 4 * (2 * 2 + 1)
    assert needed(loader(workers=0), sample) == 0
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    assert needed(loader(), sample) == 3 * PAGE * 4 * 5


def fitted(monkeypatch, pages: int, **loaders: DataLoader) -> str:
    monkeypatch.setattr(shared_memory, 'room', lambda: pages * PAGE)
    return fit_to_room(loaders, dict.fromkeys(loaders, Frames()[0]))


def test_enough_room_changes_nothing(monkeypatch):
    train = loader()
    assert fitted(monkeypatch, 20, train=train) == 'batches take up to 0 MB of /dev/shm, which has 0 MB free'
    assert (train.num_workers, train.prefetch_factor) == (2, 2)


def test_less_is_made_ahead_and_then_by_fewer_workers(monkeypatch):
    train, val = loader(), loader(batch=1)
    text = fitted(monkeypatch, 17, train=train, val=val)
    assert (train.num_workers, train.prefetch_factor, val.num_workers, val.prefetch_factor) == (2, 1, 2, 2)
    assert 'train.num_workers=2 and train.prefetch_factor=1' in text
    train, val = loader(), loader(batch=1)
    fitted(monkeypatch, 12, train=train, val=val)
    assert (train.num_workers, train.prefetch_factor, val.num_workers, val.prefetch_factor) == (1, 1, 2, 1)
    assert sum(len(batch) for batch in train) == 64, 'it still loads everything'


def test_too_little_room_is_refused_with_the_remedy(monkeypatch):
    with pytest.raises(
        UsageError, match=r'/dev/shm has 0 MB free, .*--shm-size=1g\), or set a smaller train.batch_size'
    ):
        fitted(monkeypatch, 7, train=loader())


@pytest.mark.parametrize('name', CONFIGS)
def test_training_of_shipped_configs_fits_in_64_mb(name, monkeypatch):
    """By the sizes that the pipelines give: crops of uint8 with their labels, one worker at the least."""
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
    height, width = cfg.model.data_preprocessor.size
    own = name.startswith('erfnet_cityscapes')
    samples = {'train_dataloader': torch.zeros(4, height, width, dtype=torch.uint8)}
    loaders = {'train_dataloader': cfg.train_dataloader}
    if cfg.val_dataloader is not None:
        label = (1024, 2048) if own else (720, 960)
        samples['val_dataloader'] = [torch.zeros(3, *label, dtype=torch.uint8), torch.zeros(label, dtype=torch.uint8)]
        loaders['val_dataloader'] = cfg.val_dataloader
    built = {
        key: DataLoader(Frames(), batch_size=one.batch_size, num_workers=one.num_workers)
        for key, one in loaders.items()
    }
    monkeypatch.setattr(shared_memory, 'room', lambda: 64 * 2**20)
    fit_to_room(built, samples)
    assert sum(needed(one, samples[key]) for key, one in built.items()) <= 64 * 2**20
    if 'camvid' in name:
        assert all(one.prefetch_factor == 2 for one in built.values()), 'as it is, labels being uint8'


def test_loaders_get_a_time_limit_where_they_have_workers():
    cfg = load_config(str(ROOT / 'configs' / 'erfnet_camvid.py'))
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False, prefetch_factor=2)
    cfg.test_dataloader.timeout = 7
    fit_loaders(cfg)
    assert cfg.train_dataloader.timeout == shared_memory.TIMEOUT
    assert cfg.test_dataloader.timeout == 7
    assert 'timeout' not in cfg.val_dataloader
    assert 'prefetch_factor' not in cfg.val_dataloader


class Stuck(Frames):
    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(60)


class Dying(Frames):
    def __getitem__(self, index: int) -> torch.Tensor:
        os._exit(1)


@pytest.mark.parametrize(
    ('dataset', 'words'),
    [
        (
            Stuck(),
            r'No batch came from the data loader within 1 s .*--shm-size=1g.* or, if the data are slow, set timeout',
        ),
        (Dying(), r'A data loader worker was killed.*; lower num_workers, batch_size, or cache_gb'),
    ],
)
def test_lost_batches_end_in_a_sentence(dataset, words):
    with pytest.raises(RuntimeError) as caught:
        next(iter(DataLoader(dataset, num_workers=1, timeout=1 if isinstance(dataset, Stuck) else 30)))
    with pytest.raises(UsageError, match=words):
        raise translate(caught.value)
