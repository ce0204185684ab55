"""The authors' names to ours and back, and one forward pass of their network."""

from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from helpers.base_tester import build, image, labelled, seed_weights
from helpers.tools import run_tool
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmseg.apis import inference_model, init_model

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.models import ERFNet
from mmseg_erfnet.models.checkpoints import install_safe_loading, load_checkpoint_file
from mmseg_erfnet.models.conversion import from_authors, to_authors

ROOT = Path(__file__).resolve().parents[2]


def segmentor(classes: int, encoder_only: bool = False) -> torch.nn.Module:
    if encoder_only:
        head = dict(type='FCNHead', in_channels=128, channels=128, num_convs=0, concat_input=False, dropout_ratio=0)
    else:
        head = dict(type='mmseg_erfnet.ERFNetHead', in_channels=16)
    return build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='mmseg_erfnet.ERFNet', encoder_only=encoder_only),
            decode_head=dict(head, num_classes=classes),
            test_cfg=dict(mode='whole'),
        )
    ).eval()


@pytest.fixture(scope='module')
def reference(erfnet_reference) -> dict:
    return dict(np.load(erfnet_reference))


@pytest.fixture(scope='module')
def reference_weights(reference) -> dict[str, torch.Tensor]:
    """The weights of the reference, drawn as its description says."""
    weights = {}
    for index, (name, shape) in enumerate(zip(reference['keys'].tolist(), reference['shapes'].tolist(), strict=True)):
        generator = np.random.default_rng(int(reference['seed']) + index)
        shape = tuple(int(size) for size in shape.split(','))
        if name.endswith('running_var') or (name.endswith('.weight') and len(shape) == 1):
            value = generator.uniform(0.5, 1.5, shape)
        elif len(shape) == 4:
            value = generator.standard_normal(shape) * np.sqrt(1 / (shape[1] * shape[2] * shape[3]))
        else:
            value = generator.standard_normal(shape) * 0.1
        weights[name] = torch.from_numpy(value.astype(np.float32))
    return weights


def authors_weights(classes: int = 5) -> dict[str, torch.Tensor]:
    """Weights under the authors' names, of a network of ours."""
    weights = to_authors(dict(state_dict=seed_weights(segmentor(classes)).state_dict()))
    encoder = to_authors(dict(state_dict=seed_weights(segmentor(classes, encoder_only=True)).state_dict()))
    return weights | {name: value for name, value in encoder.items() if 'output_conv' in name}


def relative_difference(found: torch.Tensor, expected: np.ndarray) -> float:
    return np.abs(found.numpy() - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_logits_of_the_reference(reference, reference_weights, prefix):
    checkpoint = from_authors({prefix + name: value for name, value in reference_weights.items()})
    model = segmentor(20)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    with torch.no_grad():
        found = model(torch.from_numpy(reference['x']))
    assert relative_difference(found, reference['y']) < 1e-4


@pytest.mark.parametrize('without_decoder', [False, True])
def test_encoder_of_the_reference(reference, reference_weights, without_decoder):
    if without_decoder:
        checkpoint = from_authors(
            {name: value for name, value in reference_weights.items() if name.startswith('encoder.')}
        )
    else:
        checkpoint = from_authors(reference_weights, encoder_only=True)
    model = segmentor(20, encoder_only=True)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    x = torch.from_numpy(reference['x'])
    with torch.no_grad():
        assert relative_difference(model.backbone(x)[0], reference['encoder_features']) < 1e-4
        assert relative_difference(model(x), reference['encoder_logits']) < 1e-4


def test_the_reference_and_back(reference_weights):
    back = to_authors(from_authors(reference_weights))
    assert back.keys() == {f'module.{name}' for name in reference_weights}
    assert all(torch.equal(back[f'module.{name}'], value) for name, value in reference_weights.items())


@pytest.mark.parametrize('encoder_only', [False, True])
def test_ours_and_back(encoder_only):
    model = seed_weights(segmentor(5, encoder_only))
    authors = to_authors(dict(state_dict=model.state_dict()))
    assert all(name.startswith(('module.encoder.', 'module.decoder.')) for name in authors)
    other = segmentor(5, encoder_only)
    other.load_state_dict(from_authors(dict(epoch=3, state_dict=authors))['state_dict'], strict=True)
    x = image(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))


def test_encoder_alone_of_a_stock_segmentor():
    model = build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='ERFNet'),
            test_cfg=dict(),
            decode_head=dict(type='FCNHead', in_channels=16, channels=128, num_convs=1, num_classes=19),
        )
    )
    with pytest.raises(CheckpointError, match=r'unknown: decode_head\.convs\.0.*Only networks with ERFNetHead'):
        to_authors(model.state_dict())
    encoder = to_authors(model.state_dict(), encoder_only=True)
    assert torch.equal(encoder['module.encoder.layers.0.conv.weight'], model.backbone.encoder[1].conv.weight)
    assert from_authors(encoder)['state_dict'].keys() == {
        name for name in model.state_dict() if name.startswith('backbone.encoder.')
    }


def test_names_that_do_not_fit():
    weights = authors_weights()
    weights['module.encoder.layers.99.conv.weight'] = torch.ones(1)
    del weights['module.encoder.layers.3.bn1.bias']
    weights['module.decoder.layers.0.conv.bias'] = torch.ones(7)
    with pytest.raises(CheckpointError) as info:
        from_authors(weights)
    assert str(info.value) == (
        "The checkpoint does not fit the authors' network: unknown: encoder.layers.99.conv.weight; missing: "
        'encoder.layers.3.bn1.bias; wrongly shaped: decoder.layers.0.conv.bias (7,) instead of (64,).'
    )


def test_what_needs_no_conversion():
    with pytest.raises(CheckpointError, match=r"more\. It is in MMSegmentation's form already\.$"):
        from_authors(segmentor(5).state_dict())


@pytest.mark.parametrize('layer', ['encoder.output_conv', 'decoder.output_conv'])
def test_classifiers_that_do_not_fit(layer):
    weights = authors_weights()
    weights[f'module.{layer}.weight'] = torch.ones(3, 3)
    with pytest.raises(CheckpointError, match=rf'wrongly shaped: {layer}\.weight \(3, 3\) instead of'):
        from_authors(weights)


def test_no_whole_network_without_its_output_layer():
    weights = {name: value for name, value in authors_weights().items() if 'decoder.output_conv' not in name}
    with pytest.raises(CheckpointError, match=r'missing: decoder\.output_conv\.weight, decoder\.output_conv\.bias'):
        from_authors(weights)


def test_tool_both_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = authors_weights()
    torch.save(weights, tmp_path / 'authors.pth')

    def convert(*arguments: str) -> None:
        assert run_tool('convert_checkpoint', *arguments).status == 0

    convert('authors.pth', 'made/ours.pth')
    convert('made/ours.pth', 'back.pth', '--to-authors')
    model = segmentor(5)
    model.load_state_dict(load_checkpoint_file(tmp_path / 'made' / 'ours.pth')['state_dict'], strict=True)
    back = torch.load(tmp_path / 'back.pth', weights_only=True)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], value) for name, value in weights.items())
    assert {path.name for path in tmp_path.rglob('*')} == {'authors.pth', 'made', 'ours.pth', 'back.pth'}


@pytest.fixture
def published(tmp_path) -> tuple[Config, Path]:
    """MMSegmentation's config with the prefix and nothing else changed, and a checkpoint in the form of its own."""
    folder = Path(mmseg.__file__).parent / '.mim' / 'configs' / 'erfnet'
    config = Config.fromfile(folder / 'erfnet_fcn_4xb4-160k_cityscapes-512x1024.py')
    state_dict = seed_weights(build(config.model)).state_dict()
    meta = dict(
        mmseg_version='0.24.1',
        CLASSES=tuple(f'class {index}' for index in range(19)),
        PALETTE=[[index, 0, 255] for index in range(19)],
        config=config.pretty_text,
        epoch=1,
        iter=160000,
    )
    torch.save(dict(meta=meta, state_dict=state_dict), tmp_path / 'published.pth')
    config.model.backbone.type = 'mmseg_erfnet.ERFNet'
    return config, tmp_path / 'published.pth'


def test_published_checkpoint(published, monkeypatch):
    config, path = published
    stock = Config(config._cfg_dict.copy())
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    install_safe_loading()
    ours = init_model(config, str(path), device='cpu')
    stock.model.backbone.type = 'ERFNet'
    theirs = init_model(stock, str(path), device='cpu')
    assert (type(ours.backbone), type(theirs.backbone).__module__) == (ERFNet, 'mmseg.models.backbones.erfnet')
    assert ours.dataset_meta == theirs.dataset_meta
    assert ours.dataset_meta['classes'][18] == 'class 18'
    picture = np.random.default_rng(0).integers(0, 255, (48, 96, 3), np.uint8)
    for config in (ours.cfg, theirs.cfg):
        config.test_pipeline[1].scale = (96, 48)
    found, expected = (inference_model(model, picture).seg_logits.data for model in (ours, theirs))
    assert found.shape == (19, 48, 96)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_published_config_trains(published):
    config, _ = published
    model = build(config.model).train()
    losses = model(image(2, 3, 64, 64), labelled(19, 2, 64, 64), mode='loss')
    losses['decode.loss_ce'].backward()
    assert model.backbone.encoder[0].conv.weight.grad.any()
