"""Dropout against the distribution of torch's."""

import math

import pytest
import torch
from torch import nn

from mmseg_erfnet.models.dropout import Dropout


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('p', [0.03, 0.1, 0.3, 0.5, 0.9])
def test_distribution(p, dtype):
    torch.manual_seed(0)
    number = 1 << 20
    out = Dropout(p)(torch.ones(16, 64, 32, 32, dtype=dtype))
    zero = (out == 0).flatten()
    # Five standard deviations.
    assert zero.double().mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / number))
    assert out.max() == out[out != 0].min()
    # bfloat16 has 8 bits, the probability 16.
    assert out.max().item() == pytest.approx(1 / (1 - p), rel=2**-8 if dtype == torch.bfloat16 else 2**-16 / (1 - p))
    # Four draws share a word of 64 bits.
    for lag in (1, 2, 3, 4, 64, 1024):
        both = (zero[lag:] & zero[:-lag]).double().mean().item()
        assert both == pytest.approx(p**2, abs=5 * math.sqrt(p**2 * (1 - p**2) / number))


def test_zeros_are_as_frequent_as_torchs():
    """In each channel, over many passes."""
    torch.manual_seed(0)
    x = torch.ones(64, 8, 4, 4)
    ours, torchs = (
        sum((dropout(x) == 0).sum((0, 2, 3)) for _ in range(50)) for dropout in (Dropout(0.3), nn.Dropout(0.3))
    )
    deviation = math.sqrt(2 * 0.3 * 0.7 * 64 * 16 * 50)
    assert (ours - torchs).abs().max() < 5 * deviation


def test_seed_decides():
    dropout, x = Dropout(0.3), torch.rand(2, 8, 6, 6)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    'x',
    [
        torch.rand(2, 8, 6, 6),
        torch.rand(2, 8, 6, 6).to(memory_format=torch.channels_last),
        torch.rand(3, 5, 7, 1),
        torch.rand(4, 6, 10)[:, 1:4, ::3],
        torch.rand(0, 4),
    ],
    ids=['contiguous', 'channels_last', 'odd', 'slices', 'empty'],
)
def test_gradient_is_what_was_let_through(x):
    x.requires_grad_()
    out = Dropout(0.3)(x)
    assert out.stride() == (x * 1).stride()
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out, x * grad)


def test_none_all_and_evaluation():
    x = torch.rand(2, 8, 6, 6)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert Dropout(0.999999)(x).isfinite().all()
    assert Dropout(0.3).eval()(x) is x


def test_compiled_it_is_torchs():
    """`torch.export` finds the operator that it knows."""
    exported = torch.export.export(Dropout(0.3).train(), (torch.rand(2, 8),))
    assert 'dropout' in str(exported.graph)
