"""Random numbers that depend only on the position in the run, so that a resumed run continues them."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmseg_erfnet.registry import FUNCTIONS, HOOKS

EPOCH, ITERATION, SAMPLE = range(3)  # what is seeded, so that no two uses draw the same numbers


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every random number generator from the position in the run, so that random draws depend on nothing else.

    - A sample's augmentation depends on the run's seed, the epoch and the sample's index. The number of workers, the
      number of processes, and whether the workers are persistent make no difference.
    - The model's own draws (dropout) depend on the seed, the iteration and the process.

    So a resumed run continues exactly like an uninterrupted one. MMEngine seeds each worker once, when it starts, from
    the run's seed alone: workers restarted every epoch would augment all epochs alike, and persistent ones would
    restart their random numbers when a run is resumed.

    The epoch reaches persistent workers through shared memory. In an iteration-based run, an epoch is one pass over
    the frames, counted in the sampler's stream.
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        dataset = loader.dataset
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        # PyTorch's fetcher asks the dataset for this attribute, whatever the dataset is: one of ours, a wrapper, a
        # Subset.
        dataset.__getitems__ = _SeededSamples(dataset, runner.seed, self.epoch)
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            _count_passages(getattr(loader.batch_sampler, 'sampler', loader.sampler), len(dataset))
            iterator = runner.train_loop.dataloader_iterator
            if getattr(iterator, '_iterator', None) is not None:
                # MMEngine 0.10.7 has already started the workers, without this dataset attribute.
                runner.train_loop.dataloader_iterator = type(iterator)(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        # The data loader's iterator, created next, draws from these generators.
        _seed(runner.seed, EPOCH, runner.epoch, get_rank())
        self.epoch.fill_(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        _seed(runner.seed, ITERATION, runner.iter, get_rank())

    def after_run(self, runner: Runner) -> None:
        # Persistent workers end with their iterator. If that is left to the garbage collector, which finds it in a
        # cycle with the runner, the queues are closed first, and each worker is waited for five seconds.
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if getattr(loop, 'dataloader_iterator', None) is not None:
                loop.dataloader_iterator._iterator = None
            if getattr(loop, 'dataloader', None) is not None:
                loop.dataloader._iterator = None


class _SeededSamples:
    """Fetch the samples of a batch, each with its own random numbers, and restore the generators afterwards."""

    def __init__(self, dataset, seed: int, epoch: torch.Tensor) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, epoch

    def __call__(self, indices: Sequence[int]) -> list:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            return [self._sample(index) for index in indices]
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])

    def _sample(self, index: int) -> object:
        passage = getattr(index, 'passage', int(self.epoch))
        _seed(self.seed, SAMPLE, passage, int(index), cuda=False)
        return self.dataset[int(index)]


class CountedIndex(int):
    """A frame index that carries the number of passes its sampler has already made over all frames."""

    passage = 0


def _count_passages(sampler, length: int) -> None:
    """Make an infinite sampler yield :class:`CountedIndex`."""
    kind = type(sampler)
    if kind.__name__.startswith('Counted'):
        return
    processes = getattr(sampler, 'world_size', 1)
    first = getattr(sampler, 'rank', 0)

    class Counted(kind):
        position = 0

        def __iter__(self):
            for index in super().__iter__():
                counted = CountedIndex(index)
                counted.passage = (first + self.position * processes) // length
                self.position += 1
                yield counted

    def skip(self, num_samples: int) -> None:
        kind.skip(self, num_samples)
        self.position = num_samples

    if hasattr(kind, 'skip'):  # MMEngine calls it when it resumes
        Counted.skip = skip
    Counted.__name__ = f'Counted{kind.__name__}'
    sampler.__class__ = Counted


def _seed(*numbers: int, cuda: bool = True) -> None:
    first, second = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(first))
    np.random.seed(int(first))
    # A worker must not touch CUDA, which does not work in a forked process.
    (torch.manual_seed if cuda else torch.default_generator.manual_seed)(int(second))


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data loader's worker from the seed that torch drew for it; for use as ``worker_init_fn``.

    :class:`EpochSeedHook` makes it unnecessary. Without that hook, it prevents non-persistent workers from augmenting
    every epoch alike.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
