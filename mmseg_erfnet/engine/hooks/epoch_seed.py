"""Random numbers that a resumed run continues."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.registry import FUNCTIONS, HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every random number generator anew before each training epoch, from the run's seed, the epoch and the rank.

    mmengine seeds a worker by the run's seed alone, so that workers which start anew each epoch augment each epoch
    alike; and a resumed run continues with other random numbers than the uninterrupted one. With this hook,
    ``seed_worker`` and workers that are not persistent, neither is so. A run that counts iterations is one long epoch:
    it is seeded when it starts and, anew, when it is resumed, so that it does not augment as at its start.
    """

    priority = 'HIGHEST'

    def before_train_epoch(self, runner: Runner) -> None:
        state = np.random.SeedSequence([runner.seed, runner.epoch or runner.iter, get_rank()]).generate_state(1)
        seed = int(state[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data loader's worker from the seed that torch drew for it. For ``worker_init_fn`` of a data loader."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
