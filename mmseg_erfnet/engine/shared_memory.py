"""What a data loader's workers need of /dev/shm, through which batches pass to training."""

import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmseg_erfnet.errors import UsageError

SHARED_MEMORY = Path('/dev/shm')
# Longer than any batch takes that is not lost: where a worker cannot pass one on, torch waits for it for ever.
TIMEOUT = 300
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def fit_loaders(cfg: Config) -> None:
    """Give each data loader of a config a time limit, and one without workers nothing to prefetch; ``cfg`` is changed.

    Raises:
        UsageError: A loader without workers is to keep them, or ``timeout`` is no number of seconds.
    """
    for name in LOADERS:
        loader = cfg.get(name)
        if not isinstance(loader, Mapping):
            continue
        if not loader.get('num_workers'):
            if loader.get('persistent_workers'):
                raise UsageError(
                    f'{name} has persistent_workers, but num_workers=0; set {name}.persistent_workers=False, too, or '
                    'num_workers to 1 or more.'
                )
            loader.pop('prefetch_factor', None)
            loader.pop('timeout', None)
        else:
            loader.setdefault('timeout', TIMEOUT)


def bytes_of(sample: object) -> int:
    """Return how many bytes of /dev/shm a sample takes on its way from a worker: its tensors', as they are pickled."""
    sizes = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> int | None:
            if isinstance(value, torch.Tensor):
                # Each is a file of its own, in whole pages.
                sizes.append(-(-value.untyped_storage().nbytes() // 4096) * 4096)
                return len(sizes)
            return None

    with Path(os.devnull).open('wb') as nowhere:
        Pickler(nowhere, pickle.HIGHEST_PROTOCOL).dump(sample)
    return sum(sizes)


def needed(loader: DataLoader, sample: object) -> int:
    """Return the most bytes of /dev/shm that the batches of a loader take, on this machine's processes together.

    Args:
        loader: Each of its workers makes ``prefetch_factor`` batches ahead of the one that is in use.
        sample: One of its dataset's.
    """
    if not loader.num_workers:
        return 0
    batch = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return processes * bytes_of(sample) * batch * (loader.num_workers * loader.prefetch_factor + 1)


def room() -> int | None:
    """Return the free bytes of /dev/shm, or None where there is none."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def remedy(name: str) -> str:
    """Say what to do where /dev/shm is too small for a loader."""
    return (
        f'give the container more (docker run --shm-size=1g), or set {name}.num_workers=1 or a smaller '
        f'{name}.batch_size'
    )


def check_room(name: str, loader: DataLoader, sample: object) -> str:
    """Check that /dev/shm has room for what a loader's workers make ahead.

    Args:
        name: Of the loader in the config.
        loader: The loader.
        sample: One of its dataset's.

    Returns:
        What is needed and what there is, in a few words.

    Raises:
        UsageError: There is too little.
    """
    wanted, free = needed(loader, sample), room()
    if free is None:
        return f'{wanted / 1e6:.0f} MB, passed on without /dev/shm'
    if wanted > free:
        raise UsageError(
            f'/dev/shm has {free / 1e6:.0f} MB free, and the workers of {name} fill up to {wanted / 1e6:.0f} MB; '
            f'{remedy(name)}.'
        )
    return f'{wanted / 1e6:.0f} MB of {free / 1e6:.0f} MB free'
