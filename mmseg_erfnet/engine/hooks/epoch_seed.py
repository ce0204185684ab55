"""Random numbers that depend on the place in the run alone, so that a resumed run continues them."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmseg_erfnet.registry import FUNCTIONS, HOOKS

EPOCH, ITERATION, SAMPLE = range(3)  # what is seeded, so that no two things draw the same numbers


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every random number generator from the place in the run: what a run draws then depends on nothing else.

    - A sample's augmentation depends on the run's seed, the epoch and the sample's index. How many workers load it, how
      many processes train, and whether workers live as long as the run make no difference.
    - What the model draws (dropout) depends on the seed, the iteration and the process.

    So a resumed run goes on exactly as the uninterrupted one. MMEngine seeds a worker when it starts, by the run's seed
    alone: workers that start anew would augment each epoch alike, and those that live on would restart their numbers
    when a run is resumed.

    The epoch reaches living workers through shared memory. In a run that counts iterations, an epoch is a passage
    through the frames: the sampler's stream is counted.
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
                # MMEngine 0.10.7 has started the workers by now; they would know nothing of all this.
                runner.train_loop.dataloader_iterator = type(iterator)(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        # An iterator over the data, made next, draws from these.
        _seed(runner.seed, EPOCH, runner.epoch, get_rank())
        self.epoch.fill_(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        _seed(runner.seed, ITERATION, runner.iter, get_rank())


class _SeededSamples:
    """Fetch the samples of a batch, each from random numbers of its own; the generators are left as they were."""

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
    """The index of a frame that knows how often its sampler has gone through all frames before."""

    passage = 0


def _count_passages(sampler, length: int) -> None:
    """Have an endless sampler yield :class:`CountedIndex`."""
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

    if hasattr(kind, 'skip'):  # MMEngine asks for it when it resumes
        Counted.skip = skip
    Counted.__name__ = f'Counted{kind.__name__}'
    sampler.__class__ = Counted


def _seed(*numbers: int, cuda: bool = True) -> None:
    first, second = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(first))
    np.random.seed(int(first))
    # A worker must not touch CUDA, which a fork has no use of.
    (torch.manual_seed if cuda else torch.default_generator.manual_seed)(int(second))


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data loader's worker from the seed that torch drew for it. For ``worker_init_fn`` of a data loader.

    :class:`EpochSeedHook` makes it unnecessary; without that hook it keeps epochs from being augmented alike where
    workers are not persistent.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
