"""The checks that every segmentor must pass; to test another one, subclass and name its config."""

import json
import zlib
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.export import Dim

PINS = Path(__file__).with_name('pinned_logits.json')


def build(config: dict) -> torch.nn.Module:
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(ConfigDict(deepcopy(config)))


def seed_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Set each weight to values that depend only on its name and shape, scaled to keep the activations near 1."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            generator = np.random.default_rng(zlib.crc32(name.encode()))
            shape = tuple(value.shape)
            if name.endswith('running_var') or (value.ndim == 1 and name.endswith('weight')):
                drawn = generator.uniform(0.5, 1.5, shape)
            else:
                fan = np.prod(shape[1:]) if value.ndim == 4 else 100
                drawn = generator.standard_normal(shape) / np.sqrt(fan)
            value.copy_(torch.from_numpy(drawn.astype(np.float32)))
    return model


def image(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).standard_normal(shape).astype(np.float32))


def labelled(classes: int, *shape: int) -> list[SegDataSample]:
    """Labels of all classes, with an ignored border."""
    labels = torch.from_numpy(np.random.default_rng(8).integers(0, classes, shape))
    labels[..., :4] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


def total_loss(model: torch.nn.Module, classes: int) -> torch.Tensor:
    losses = model(image(2, 3, 64, 80), labelled(classes, 2, 64, 80), mode='loss')
    return model.parse_losses(losses)[0]


class Logits(torch.nn.Module):
    """Image to logits of the image's size: the part that is exported."""

    def __init__(self, segmentor: torch.nn.Module):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.segmentor.encode_decode(x, [dict(img_shape=x.shape[2:])])


class SegmentorTester:
    """A subclass defines two fixtures: ``config``, of a segmentor, and ``name``, the key of its pinned logits."""

    @pytest.fixture
    def model(self, config: dict) -> torch.nn.Module:
        return seed_weights(build(config))

    def test_forward_and_backward(self, config, model):
        model.train()
        loss = total_loss(model, config['decode_head']['num_classes'])
        assert loss.isfinite()
        assert loss > 0
        loss.backward()
        without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
        # A BN cancels the bias of the layer before it.
        assert [name for name in without if not name.endswith('bias')] == []
        assert all(weight.grad.isfinite().all() for weight in model.parameters())

    def test_any_resolution(self, config, model):
        model.eval()
        for size in [(16, 16), (17, 31), (33, 48), (90, 121)]:
            with torch.no_grad():
                result = model(image(1, 3, *size), mode='predict')[0]
            assert result.seg_logits.data.shape == (config['decode_head']['num_classes'], *size)
            assert result.seg_logits.data.isfinite().all()
            assert result.pred_sem_seg.data.shape == (1, *size)

    def test_save_and_load(self, config, model, tmp_path):
        torch.save(model.state_dict(), tmp_path / 'weights.pth')
        other = build(config)
        other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True), strict=True)
        x = image(1, 3, 32, 48)
        with torch.no_grad():
            assert torch.equal(model.eval()(x, mode='tensor'), other.eval()(x, mode='tensor'))

    def test_pinned_logits(self, name, model):
        with torch.no_grad():
            logits = model.eval()(image(1, 3, 64, 96), mode='tensor')
        found = [logits.mean().item(), logits.std().item(), *logits[0, :2, 1:3, 1:3].flatten().tolist()]
        pinned = json.loads(PINS.read_text()).get(name)
        assert pinned is not None, f'add to {PINS.name}: "{name}": {[round(value, 6) for value in found]}'
        torch.testing.assert_close(torch.tensor(found), torch.tensor(pinned), rtol=1e-4, atol=1e-5)

    def test_export_with_dynamic_sizes(self, model):
        network = Logits(model.eval())
        sizes = {0: Dim('batch'), 2: 8 * Dim('height'), 3: 8 * Dim('width')}
        exported = torch.export.export(network, (image(2, 3, 64, 96),), dynamic_shapes=(sizes,)).module()
        x = image(3, 3, 40, 136)
        with torch.no_grad():
            torch.testing.assert_close(exported(x), network(x), rtol=1e-4, atol=1e-5)

    def test_bf16_autocast(self, config, model):
        x = image(1, 3, 64, 96)
        with torch.no_grad():
            whole = model.eval()(x, mode='tensor')
            with torch.autocast('cpu', torch.bfloat16):
                half = model(x, mode='tensor').float()
        # bfloat16 has 8 bits: 0.4 % per operation, for about 80 operations in a row.
        assert (half - whole).norm() / whole.norm() < 0.1
        with torch.autocast('cpu', torch.bfloat16):
            loss = total_loss(model.train(), config['decode_head']['num_classes'])
        assert loss.dtype == torch.float32
        loss.backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters())

    @pytest.mark.slow
    def test_compile(self, model):
        network = Logits(model.eval())
        compiled = torch.compile(network)
        x = image(1, 3, 64, 96)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), network(x), rtol=1e-3, atol=1e-4)
