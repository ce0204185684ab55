"""Groups of parameters: few, and with the options that MMEngine would give them."""

from collections import OrderedDict

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn

PARAMWISE = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={'last': dict(lr_mult=10.0)})


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def trained(constructor: str, kind: str, paramwise: dict | None) -> tuple[list[dict], list[torch.Tensor]]:
    """Return the groups of an optimiser, and the weights of a small network after three updates."""
    torch.manual_seed(0)
    layers = dict(first=nn.Linear(3, 4), norm=nn.BatchNorm1d(4), middle=nn.Linear(4, 4), last=nn.Linear(4, 2))
    model = nn.Sequential(OrderedDict(layers))
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor=constructor,
            optimizer=dict(type=kind, lr=0.1, weight_decay=0.1),
            paramwise_cfg=paramwise,
        ),
    )
    for _ in range(3):
        wrapper.update_params(model(torch.rand(8, 3)).square().mean())
    return wrapper.optimizer.param_groups, [value.detach() for value in model.parameters()]


@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
@pytest.mark.parametrize(
    ('paramwise', 'groups'),
    [
        (None, [(0.1, 0.1, 8)]),
        # Weights with decay, biases and normalisation without, both parameters of `last`.
        (PARAMWISE, [(0.1, 0.1, 2), (0.1, 0.0, 4), (1.0, 0.1, 2)]),
    ],
)
def test_equal_options_share_a_group_and_updates_are_mmengines(kind, paramwise, groups):
    found, weights = trained('mmseg_erfnet.MergedGroupsConstructor', kind, paramwise)
    _, expected = trained('DefaultOptimWrapperConstructor', kind, paramwise)
    assert [(group['lr'], group['weight_decay'], len(group['params'])) for group in found] == groups
    for value, other in zip(weights, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-7)


def test_a_shipped_recipe_has_two_groups(small_config):
    cfg = small_config('erfnet_camvid11')
    wrapper = build_optim_wrapper(MODELS.build(cfg.model), cfg.optim_wrapper)
    assert sorted(group['weight_decay'] for group in wrapper.optimizer.param_groups) == [0.0, 1e-2]
