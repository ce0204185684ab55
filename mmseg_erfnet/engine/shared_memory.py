"""How much of /dev/shm a data loader's workers need to pass batches to training."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmseg_erfnet.errors import UsageError

SHARED_MEMORY = Path('/dev/shm')
# In seconds, longer than any batch takes: if a worker cannot pass its batch on, torch would wait forever.
TIMEOUT = 300
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def fit_loaders(cfg: Config) -> None:
    """Set a timeout for each data loader of a config, and no prefetching without workers; ``cfg`` is changed.

    Raises:
        UsageError: A loader without workers has persistent workers, or ``timeout`` is not a number of seconds.
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
    """Return how many bytes of /dev/shm a sample takes on its way from a worker: those of its pickled tensors."""
    sizes = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> int | None:
            if isinstance(value, torch.Tensor):
                # Each tensor is a separate file of whole pages.
                sizes.append(-(-value.untyped_storage().nbytes() // 4096) * 4096)
                return len(sizes)
            return None

    with Path(os.devnull).open('wb') as nowhere:
        Pickler(nowhere, pickle.HIGHEST_PROTOCOL).dump(sample)
    return sum(sizes)


def needed(loader: DataLoader, sample: object) -> int:
    """Return the peak use of /dev/shm by a loader's batches, in bytes, over all processes on this machine.

    Args:
        loader: Each of its workers prepares ``prefetch_factor`` batches ahead of the one in use.
        sample: A sample of its dataset.
    """
    if not loader.num_workers:
        return 0
    batch = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return processes * bytes_of(sample) * batch * (loader.num_workers * loader.prefetch_factor + 1)


def room() -> int | None:
    """Return the free bytes of /dev/shm, or None if it does not exist."""
    if not SHARED_MEMORY.is_dir():
        return None
    found = os.statvfs(SHARED_MEMORY)
    return found.f_bavail * found.f_frsize


def fit_to_room(loaders: Mapping[str, DataLoader], samples: Mapping[str, object]) -> str:
    """Limit the prefetching of loaders to the free space in /dev/shm; if it fills up, torch hangs or kills workers.

    First each worker prefetches one batch instead of two, then the number of workers is reduced, down to one worker
    with one batch.

    Args:
        loaders: Data loaders of one run by name, not iterated yet. ``num_workers`` and ``prefetch_factor`` are changed.
        samples: A sample of each loader's dataset.

    Returns:
        A short description of the needed and the available space.

    Raises:
        UsageError: There is too little space even then.
    """
    free = room()

    def wanted() -> int:
        # The sum over the loaders: prefetched training batches stay there during validation.
        return sum(needed(loader, samples[name]) for name, loader in loaders.items())

    before = wanted()
    while free is not None and wanted() > free:
        name, loader = max(loaders.items(), key=lambda item: _spare(item[1], samples[item[0]]))
        if not any(_spare(loader, samples[name])):
            raise UsageError(
                f'/dev/shm has {_megabytes(free)} free, and one prefetched batch needs '
                f'{_megabytes(wanted())}; give the container more (docker run --shm-size=1g), or set a smaller '
                f'{name}.batch_size, or {name}.num_workers=0.'
            )
        if loader.prefetch_factor > 1:
            loader.prefetch_factor = 1
        else:
            loader.num_workers -= 1
    if free is None:
        return f'batches take up to {_megabytes(before)}; there is no /dev/shm'
    text = f'batches take up to {_megabytes(before)} of /dev/shm, which has {_megabytes(free)} free'
    if before > free:
        made = ', '.join(
            f'{name}.num_workers={loader.num_workers} and {name}.prefetch_factor={loader.prefetch_factor}'
            for name, loader in loaders.items()
            if loader.num_workers
        )
        text += f': {made} are used instead; docker run --shm-size=1g gives a container more'
    return text


def _spare(loader: DataLoader, sample: object) -> tuple[int, int]:
    """Return how many bytes a loader takes if it could prefetch less, and if it could have fewer workers; else 0."""
    wanted = needed(loader, sample)
    return wanted * bool(loader.num_workers and loader.prefetch_factor > 1), wanted * (loader.num_workers > 1)


def _megabytes(number: int) -> str:
    return f'{number / 1e6:.0f} MB'
