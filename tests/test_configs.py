"""Every shipped config: what it says of itself, that it builds, and that it trains."""

import ast

import numpy as np
import pytest
import torch
from conftest import CONFIGS, ROOT
from mmengine.runner import Runner

from mmseg_erfnet.models import ERFNet


@pytest.mark.parametrize('name', CONFIGS)
def test_says_what_it_is(name):
    text = ast.get_docstring(ast.parse((ROOT / 'configs' / f'{name}.py').read_text()))
    assert f'configs/{name}.py' in text, 'the docstring gives the command'
    assert 'mIoU' in text, 'the docstring says what score to expect'


@pytest.mark.parametrize('name', CONFIGS)
def test_scope_and_prefix(name, small_config):
    cfg = small_config(name)
    assert cfg.default_scope == 'mmseg'
    assert cfg.model.backbone.type == 'mmseg_erfnet.ERFNet'


@pytest.mark.parametrize('name', CONFIGS)
def test_trains_a_step(name, small_config):
    cfg = small_config(name)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.custom_hooks = []
    cfg.param_scheduler = []
    runner = Runner.from_cfg(cfg)
    assert type(runner.model.backbone) is ERFNet
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    after = runner.model.state_dict()
    weights = [key for key in after if key.endswith('.weight')]
    assert all(torch.isfinite(after[key]).all() for key in weights)
    assert all((after[key] != before[key]).any() for key in weights), 'each weight takes part'


def learning_rates(cfg, epochs: int, iterations: int = 0) -> list[float]:
    """Read the rate at the start of each epoch, or of each iteration of one epoch, off a built runner."""
    runner = Runner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    rates = []
    for _ in range(epochs):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        for scheduler in schedulers:
            for _ in range(1 if scheduler.by_epoch else len(runner.train_dataloader)):
                scheduler.step()
    return rates


def test_camvid_learning_rate_of_every_epoch(small_config):
    rates = learning_rates(small_config('erfnet_camvid'), epochs=280)
    expected = [8e-4] * 80 + [5e-4] * 80 + [2e-4] * 40 + [1e-4] * 40 + [5e-5] * 40
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_camvid_decays_convolution_weights_alone(small_config):
    cfg = small_config('erfnet_camvid')
    runner = Runner.from_cfg(cfg)
    groups = runner.build_optim_wrapper(runner.optim_wrapper).optimizer.param_groups
    decayed = {id(p) for group in groups if group['weight_decay'] for p in group['params']}
    convolutions = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    weights = {id(m.weight) for m in runner.model.modules() if isinstance(m, convolutions)}
    assert decayed == weights
    assert {group['weight_decay'] for group in groups} == {0, 2e-4}


def test_camvid_weights_are_in_the_order_of_the_classes(small_config):
    cfg = small_config('erfnet_camvid')
    dataset = Runner.from_cfg(cfg).build_dataloader(cfg.val_dataloader).dataset
    assert list(cfg.camvid_class_weights) == list(dataset.metainfo['classes'])
    assert list(cfg.model.decode_head.loss_decode.class_weight) == list(cfg.camvid_class_weights.values())
