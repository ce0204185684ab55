"""From a checkpoint to a model: what must fit, what may differ to start from, and what is said of it."""

import pytest
import torch
from conftest import ROOT
from helpers.base_tester import build
from torch import nn

from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.models.building import check_pretrained, load_segmentor, load_weights
from mmseg_erfnet.models.checkpoints import load_checkpoint_file

SMALL = dict(enc_stage_non_bottlenecks=(1, 2), enc_non_bottleneck_dilations=(2, 4), dec_stages_non_bottleneck=(1, 1))
ERFNET_HEAD = dict(type='mmseg_erfnet.ERFNetHead', in_channels=16)
FCN_HEAD = dict(type='FCNHead', in_channels=16, channels=16, num_convs=0, concat_input=False)


def segmentor(classes: int = 11, head: dict = FCN_HEAD, backbone: dict | None = None, **options) -> nn.Module:
    return build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='mmseg_erfnet.ERFNet', **SMALL, **(backbone or {})),
            decode_head=dict(head, num_classes=classes),
            test_cfg=dict(mode='whole'),
            **options,
        )
    )


def checkpoint(model: nn.Module, value: float = 0.125, prefix: str = '') -> dict:
    """A checkpoint of a model whose weights are all alike."""
    return dict(state_dict={prefix + name: torch.full_like(item, value) for name, item in model.state_dict().items()})


def loaded(tmp_path, content: dict) -> dict:
    torch.save(content, tmp_path / 'a.pth')
    return load_checkpoint_file(tmp_path / 'a.pth')


# --- All of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('prefix', ['', 'module.', 'module.module.', 'module.module.module.', 'module._orig_mod.'])
@pytest.mark.parametrize('wrap', [nn.Sequential, nn.DataParallel])
def test_prefixes_are_of_no_matter(tmp_path, prefix, wrap):
    model = segmentor()
    target = nn.DataParallel(model) if wrap is nn.DataParallel else model
    said = load_weights(target, loaded(tmp_path, checkpoint(model, prefix=prefix)))
    assert said == f'all {len(model.state_dict())} weights were loaded'
    assert all((value == value.new_tensor(0.125)).all() for value in model.state_dict().values())


def test_names_that_collide_without_their_prefix(tmp_path):
    weights = dict(weight=torch.ones(2), **{'module.weight': torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r'holds weight twice, with and without "module." before it'):
        loaded(tmp_path, dict(state_dict=weights))


def test_averages_keep_the_prefix_that_their_hook_looks_for(tmp_path):
    raw = {f'module.module.{name}': value for name, value in dict(weight=torch.zeros(2)).items()}
    content = dict(state_dict={'module.weight': torch.ones(2)}, ema_state_dict=dict(raw, steps=torch.tensor(3)))
    found = loaded(tmp_path, content)
    assert found['state_dict'].keys() == {'weight'}
    assert found['ema_state_dict'].keys() == {'module.weight', 'steps'}


@pytest.mark.parametrize('part', ['state_dict', 'ema_state_dict'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_weights_that_are_no_numbers(tmp_path, part, value):
    content = dict(state_dict=dict(weight=torch.ones(2)))
    content[part] = {'module.weight': torch.tensor([1, value])}
    with pytest.raises(CheckpointError, match=r'a\.pth holds NaN or infinity in weight: .*use an earlier one'):
        loaded(tmp_path, content)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (dict(state_dict=[1]), 'neither a state_dict nor'),
        (dict(state_dict={}), 'neither a state_dict nor'),
        (dict(state_dict=dict(weight=torch.ones(1), other=3)), 'holds a int as other where a tensor should be'),
        (dict(state_dict={'weight': torch.ones(1), 3: torch.ones(1)}), 'no tensors by name as state_dict'),
        (dict(state_dict={'a\nb': torch.ones(1)}), 'no tensors by name as state_dict'),
        (dict(state_dict=dict(weight=torch.ones(1)), ema_state_dict=[]), 'no tensors by name as ema_state_dict'),
        (dict(state_dict=dict(weight=torch.ones(1)), meta=[1]), 'wrong type as meta'),
        (dict(state_dict=dict(weight=torch.ones(1)), meta=dict(dataset_meta=3)), 'wrong type as meta.dataset_meta'),
        (dict(state_dict=dict(weight=torch.ones(1)), meta=dict(dataset_meta=dict(classes='ab'))), 'meta.classes'),
        (dict(state_dict=dict(weight=torch.ones(1)), meta=dict(dataset_meta=dict(classes=[1]))), 'meta.classes'),
        (dict(state_dict=dict(weight=torch.ones(1)), meta=dict(dataset_meta=dict(palette=[[1, 2]]))), 'palette'),
    ],
)
def test_wrong_types(tmp_path, content, said):
    with pytest.raises(CheckpointError, match=said) as info:
        loaded(tmp_path, content)
    assert len(str(info.value).splitlines()) == 1


# --- To start from ----------------------------------------------------------------------------------------------------


def start(model: nn.Module, content: dict) -> str:
    return load_weights(model, content, partly=True)


def test_the_callers_config_is_left_alone():
    cfg = load_config(str(ROOT / 'configs' / 'erfnet_camvid11.py'))
    before = cfg.pretty_text
    load_segmentor(cfg, None)
    assert cfg.pretty_text == before


def test_the_same_network():
    model = segmentor()
    assert start(model, checkpoint(model)) == f'all {len(model.state_dict())} weights were loaded'
    assert (model.decode_head.conv_seg.bias == 0.125).all()


@pytest.mark.parametrize('head', [FCN_HEAD, ERFNET_HEAD])
def test_another_number_of_classes(head):
    model = segmentor(3, head)
    before = model.decode_head.conv_seg.bias.clone()
    said = start(model, checkpoint(segmentor(11, head)))
    assert said == 'all weights but the classifier were loaded: 11 classes there, 3 here'
    assert (model.backbone.encoder[0].conv.weight == 0.125).all()
    assert torch.equal(model.decode_head.conv_seg.bias, before)


def test_another_head_of_the_same_classes():
    """The bias would fit, the weight does not: a classifier is taken whole or not at all."""
    model = segmentor(11, ERFNET_HEAD)
    assert start(model, checkpoint(segmentor(11, FCN_HEAD))) == 'all weights but the classifier were loaded'
    assert not (model.decode_head.conv_seg.bias == 0.125).any()


def test_another_head():
    wide = dict(FCN_HEAD, channels=32, num_convs=1)
    model = segmentor(3, wide)
    said = start(model, checkpoint(segmentor(11)))
    assert said.endswith('weights were loaded: 11 classes there, 3 here; newly initialised: decode_head')
    other = segmentor(3, dict(wide, channels=24))
    said = start(other, checkpoint(model))
    assert 'newly initialised: decode_head' in said
    assert (other.backbone.encoder[0].conv.weight == 0.125).all()
    said = start(segmentor(3), checkpoint(model))
    assert said.endswith('unused: decode_head.convs')


def test_the_encoder_alone():
    encoder = segmentor(11, dict(FCN_HEAD, in_channels=128, channels=128), dict(encoder_only=True))
    model = segmentor(11)
    said = start(model, checkpoint(encoder))
    assert said.endswith('; newly initialised: backbone.decoder, decode_head')
    assert (model.backbone.encoder[0].conv.weight == 0.125).all()


def test_an_auxiliary_head_that_the_model_lacks():
    auxiliary = dict(FCN_HEAD, num_classes=11)
    more = checkpoint(segmentor(auxiliary_head=auxiliary))
    model = segmentor()
    assert start(model, more) == f'all {len(model.state_dict())} weights were loaded; unused: auxiliary_head'


@pytest.mark.parametrize(
    ('prefix', 'change', 'said'),
    [
        ('', 'backbone.', r"model\.backbone\.init_cfg=dict\(type='Pretrained', checkpoint=FILE\)"),
        ('model.', '', r"model\.init_cfg=dict\(type='Pretrained', checkpoint=FILE, prefix='model\.'\)"),
        ('teacher.net.', '', r"prefix='teacher\.net\.'"),
    ],
)
def test_names_under_another_prefix_are_refused(prefix, change, said):
    """Also where the head would fit."""
    model = segmentor()
    weights = checkpoint(model)['state_dict']
    renamed = {prefix + name.removeprefix(change): value for name, value in weights.items()}
    before = model.backbone.encoder[0].conv.weight.clone()
    with pytest.raises(CheckpointError, match=said):
        start(model, dict(state_dict=renamed))
    assert torch.equal(model.backbone.encoder[0].conv.weight, before)


def test_what_is_of_another_network():
    model = segmentor()
    with pytest.raises(CheckpointError, match=r'no weight that the model knows \(layer1\.conv\.weight\)'):
        start(model, dict(state_dict={'layer1.conv.weight': torch.ones(64, 64, 3, 3)}))
    weights = checkpoint(model)['state_dict']
    head = {name: value for name, value in weights.items() if name.startswith('decode_head.')}
    with pytest.raises(CheckpointError, match='no weight of the backbone, only decode_head'):
        start(model, dict(state_dict=head))
    name = 'backbone.encoder.0.conv.weight'
    with pytest.raises(CheckpointError, match=rf'1 weights have other shapes, the first {name} \(26, 3, 3, 3\)'):
        start(model, dict(state_dict={**weights, name: torch.ones(26, 3, 3, 3)}))


# --- init_cfg ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Checkpoints of a segmentor and of its backbone, in the current folder."""
    monkeypatch.chdir(tmp_path)
    model = segmentor()
    torch.save(checkpoint(model), 'whole.pth')
    torch.save(checkpoint(model.backbone), 'backbone.pth')


def pretrained(**options) -> nn.Module:
    return segmentor(backbone=dict(init_cfg=dict(type='Pretrained', **options)))


@pytest.mark.usefixtures('files')
@pytest.mark.parametrize(
    'options',
    [dict(checkpoint='backbone.pth'), dict(checkpoint='whole.pth', prefix='backbone.')]
    + [dict(checkpoint='whole.pth', prefix='backbone')],
)
def test_what_init_cfg_loads_is_said(options):
    model = pretrained(**options)
    (said,) = check_pretrained(model)
    count = len(model.backbone.state_dict())
    assert said == f'{options["checkpoint"]}, for backbone: all {count} weights were loaded'
    model.init_weights()
    assert (model.backbone.encoder[0].conv.weight == 0.125).all()


@pytest.mark.usefixtures('files')
@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(checkpoint='none.pth'), r'none\.pth is not a file|none\.pth can not be found'),
        (dict(checkpoint='whole.pth'), r"give prefix='backbone\.' in its init_cfg"),
        (dict(checkpoint='whole.pth', prefix='neck.'), r"no weights under 'neck\.', but under backbone, decode_head"),
        (dict(checkpoint='whole.pth', prefix='decode_head.'), r'for init_cfg of backbone: .* no weight that the model'),
        (dict(checkpoint='backbone.pth', prefix='backbone.'), r"no weights under 'backbone\.', but under encoder"),
    ],
)
def test_an_init_cfg_that_loads_nothing_is_refused(options, said, monkeypatch):
    from mmengine.runner import CheckpointLoader

    from mmseg_erfnet.models.checkpoints import install_safe_loading

    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    install_safe_loading()
    with pytest.raises(CheckpointError, match=said):
        check_pretrained(pretrained(**options))
