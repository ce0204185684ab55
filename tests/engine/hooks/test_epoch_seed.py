"""Samples depend on seed, epoch and index: not on workers, processes, or where a run was resumed."""

import multiprocessing
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler, RepeatDataset, default_collate
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmseg_erfnet.engine.hooks import EpochSeedHook
from mmseg_erfnet.engine.hooks.epoch_seed import _SeededSamples
from mmseg_erfnet.registry import DATASETS, MODELS

LENGTH = 6


@DATASETS.register_module()
class Dice(BaseDataset):
    """Each sample is what the three generators draw."""

    def load_data_list(self):
        return [dict(index=index) for index in range(LENGTH)]

    def prepare_data(self, index):
        drawn = random.random(), np.random.random(), torch.rand(()).item()
        return dict(index=self.get_data_info(index)['index'], drawn=torch.tensor(drawn, dtype=torch.float64))


@MODELS.register_module()
class Gambler(torch.nn.Module):
    """Keep what is drawn: that of the samples, and of the model itself."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.samples, self.own = [], []

    def train_step(self, data, optim_wrapper):
        self.samples += zip(data['index'].tolist(), map(tuple, data['drawn'].tolist()), strict=True)
        self.own.append(torch.rand(()).item())
        return dict(loss=self.weight.detach() + 1)


def gamble(tmp_path, loop, sampler=DefaultSampler, workers=0, persistent=False, dataset=None, resume=None) -> Gambler:
    dataset = dataset or Dice()
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=sampler(dataset, shuffle=True, seed=3),
        num_workers=workers,
        persistent_workers=persistent,
        collate_fn=default_collate,
        multiprocessing_context='fork' if workers else None,
    )
    model = Gambler()
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=loader,
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[EpochSeedHook()],
        randomness=dict(seed=3),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch='max_epochs' in loop)),
        log_level='ERROR',
        experiment_name=f'{tmp_path.name}_{random.random()}',
        resume=resume is not None,
        load_from=resume,
    )
    runner.train()
    assert not multiprocessing.active_children(), 'persistent workers end with the run'
    return model


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return gamble(tmp_path_factory.mktemp('whole'), dict(by_epoch=True, max_epochs=3))


def test_no_sample_is_drawn_twice_alike(whole):
    assert len(whole.samples) == 3 * LENGTH
    assert len({drawn for _, drawn in whole.samples}) == 3 * LENGTH
    assert len(set(whole.own)) == 9
    assert not set(whole.own) & {number for _, drawn in whole.samples for number in drawn}


@pytest.mark.parametrize(('workers', 'persistent'), [(1, False), (2, True), (3, True)])
def test_any_number_of_workers_draws_the_same(whole, tmp_path, workers, persistent):
    found = gamble(tmp_path, dict(by_epoch=True, max_epochs=3), workers=workers, persistent=persistent)
    assert found.samples == whole.samples
    assert found.own == whole.own


def test_a_resumed_run_draws_what_the_whole_one_did(whole, tmp_path):
    gamble(tmp_path, dict(by_epoch=True, max_epochs=1), workers=2, persistent=True)
    found = gamble(
        tmp_path, dict(by_epoch=True, max_epochs=3), workers=1, persistent=True, resume=str(tmp_path / 'epoch_1.pth')
    )
    assert found.samples == whole.samples[LENGTH:]
    assert found.own == whole.own[3:]


def test_each_of_several_processes_draws_its_share_of_the_same(whole, tmp_path, monkeypatch):
    together = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        monkeypatch.setattr('mmseg_erfnet.engine.hooks.epoch_seed.get_rank', lambda rank=rank: rank)
        together.append(gamble(tmp_path / str(rank), dict(by_epoch=True, max_epochs=3)))
    assert sorted(together[0].samples + together[1].samples) == sorted(whole.samples)
    assert not set(together[0].own) & set(together[1].own)


def test_wrappers_draw_each_repetition_anew(tmp_path):
    found = gamble(tmp_path, dict(by_epoch=True, max_epochs=1), dataset=RepeatDataset(Dice(), times=2))
    assert len({drawn for _, drawn in found.samples}) == 2 * LENGTH


def test_a_run_that_counts_iterations(tmp_path):
    loop = dict(by_epoch=False, max_iters=9)
    whole = gamble(tmp_path / 'whole', loop, InfiniteSampler)
    assert len({drawn for _, drawn in whole.samples}) == 18, 'each passage through the frames draws anew'
    workers = gamble(tmp_path / 'workers', loop, InfiniteSampler, workers=2, persistent=True)
    assert (workers.samples, workers.own) == (whole.samples, whole.own)
    gamble(tmp_path / 'killed', dict(by_epoch=False, max_iters=4), InfiniteSampler)
    resumed = gamble(
        tmp_path / 'killed',
        loop,
        InfiniteSampler,
        workers=2,
        persistent=True,
        resume=str(tmp_path / 'killed/iter_4.pth'),
    )
    assert (resumed.samples, resumed.own) == (whole.samples[8:], whole.own[4:])


def test_loading_leaves_the_generators_alone(tmp_path):
    """Else what the model draws would depend on whether workers load."""

    epoch = torch.zeros((), dtype=torch.int64)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    _SeededSamples(Dice(), 0, epoch)([0, 1])
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
