"""Every shipped config: its docstring is complete, it builds, and it trains."""

import ast
import json

import numpy as np
import pytest
import torch
from conftest import CONFIGS, ROOT
from mmengine.runner import Runner
from mmseg.registry import MODELS

from mmseg_erfnet.datasets import CamVid11Dataset, standard_split
from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.datasets.statistics import class_weights, label_statistics
from mmseg_erfnet.engine.launch import evaluate, train
from mmseg_erfnet.engine.schedule import shorten
from mmseg_erfnet.models import ERFNet
from mmseg_erfnet.models.building import load_weights
from mmseg_erfnet.models.checkpoints import load_checkpoint_file


@pytest.mark.parametrize('name', CONFIGS)
def test_says_what_it_is(name):
    text = ast.get_docstring(ast.parse((ROOT / 'configs' / f'{name}.py').read_text()))
    assert f'configs/{name}.py' in text, 'the docstring gives the command'
    assert 'mIoU' in text, 'the docstring says what score to expect'
    for paragraph in ('What:', 'Costs:', 'Score to expect:', 'Run:'):
        assert f'\n{paragraph} ' in text


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'camvid11' in name])
def test_segnets_protocol_has_one_size_whatever_that_of_the_frames(name, small_config):
    """Here 96x128 instead of 720x960, and 72x96 instead of 360x480."""
    cfg = small_config(name)
    cfg.test_dataloader.dataset.ann_file = 'splits/train.txt'
    sample = build_dataset(cfg, 'test')[0]
    assert tuple(sample['inputs'].shape[1:]) == sample['data_samples'].ori_shape == (72, 96)
    assert sample['data_samples'].gt_sem_seg.shape == (72, 96)


@pytest.mark.parametrize('name', CONFIGS)
def test_scope_and_prefix(name, small_config):
    cfg = small_config(name)
    assert cfg.default_scope == 'mmseg'
    assert cfg.model.backbone.type == 'mmseg_erfnet.ERFNet'


@pytest.mark.parametrize('name', CONFIGS)
def test_trains_three_iterations(name, small_config):
    cfg = small_config(name)
    cfg.model.backbone.init_cfg = None
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3)
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


@pytest.mark.parametrize('name', CONFIGS)
def test_is_scored_with_its_mirror_image(name, small_config, tmp_path):
    cfg = small_config(name, tmp_path)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    classes = model.num_classes
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    evaluate(cfg, str(tmp_path / 'a.pth'), tta=True)
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['tta'] == dict(flip=True, scales=[1.0])
    confusion = np.array(metrics['confusion_matrix'])
    assert confusion.shape == (classes, classes)
    assert 0 < confusion.sum() <= metrics['images'] * np.prod(metrics['size'])


def learning_rates(cfg, epochs: int, iterations: int = 0) -> list[float]:
    """Return the learning rate of a built runner at the start of each epoch, or of each iteration of one epoch."""
    runner = Runner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    rates = []
    for _ in range(epochs):
        rates.append(next(iter(runner.optim_wrapper.get_lr().values()))[0])
        for scheduler in schedulers:
            for _ in range(1 if scheduler.by_epoch else len(runner.train_dataloader)):
                scheduler.step()
    return rates


def test_camvid_learning_rate_of_every_epoch(small_config):
    rates = learning_rates(small_config('erfnet_camvid'), epochs=280)
    expected = [8e-4] * 80 + [5e-4] * 80 + [2e-4] * 40 + [1e-4] * 40 + [5e-5] * 40
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize('name', ['erfnet_cityscapes_paper_encoder', 'erfnet_cityscapes_paper'])
def test_paper_learning_rate_of_every_epoch(name, small_config):
    rates = learning_rates(small_config(name), epochs=150)
    np.testing.assert_allclose(rates, [5e-4 * (1 - k / 150) ** 0.9 for k in range(150)], rtol=1e-10)


def test_paper_learning_rate_of_a_shortened_run(small_config):
    cfg = small_config('erfnet_cityscapes_paper_encoder')
    cfg = shorten(cfg, 15)
    rates = learning_rates(cfg, epochs=15)
    np.testing.assert_allclose(rates, [5e-4 * (1 - k / 15) ** 0.9 for k in range(15)], rtol=1e-10)


@pytest.mark.parametrize(('name', 'c'), [('erfnet_cityscapes_paper_encoder', 1.20), ('erfnet_cityscapes_paper', 1.10)])
def test_paper_class_weights_are_those_of_shares(name, c, small_config):
    weights = small_config(name).class_weights
    shares = np.exp(1 / np.array(list(weights.values()))) - c
    assert len(shares) == 19
    assert (shares > 0).all()
    assert 0.87 < shares.sum() < 0.9, 'the rest is not labelled as one of the 19'
    assert weights['road'] == min(weights.values())


def test_paper_encoder_learns_from_labels_at_an_eighth(small_config):
    cfg = small_config('erfnet_cityscapes_paper_encoder')
    runner = Runner.from_cfg(cfg)
    batch = next(iter(runner.build_dataloader(cfg.train_dataloader)))
    data = runner.model.data_preprocessor(batch, training=True)
    logits = runner.model(data['inputs'], mode='tensor')
    assert logits.shape[2:] == data['data_samples'][0].gt_sem_seg.shape == (16, 32)


def test_paper_network_starts_from_the_encoder(small_config, tmp_path):
    encoder = Runner.from_cfg(small_config('erfnet_cityscapes_paper_encoder'))
    encoder.save_checkpoint(str(tmp_path), 'encoder.pth', save_optimizer=False, save_param_scheduler=False)
    options = {'model.backbone.init_cfg.checkpoint': str(tmp_path / 'encoder.pth')}
    network = Runner.from_cfg(small_config('erfnet_cityscapes_paper', **options)).model
    network.init_weights()
    ours, theirs = network.backbone.state_dict(), encoder.model.backbone.state_dict()
    assert {key.split('.')[0] for key in theirs} == {'encoder'}
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def test_trainval_chooses_nothing(small_config, tmp_path):
    train(small_config('erfnet_camvid11_trainval', tmp_path, **{'default_hooks.checkpoint.interval': 1}), epochs=1)
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert not list(tmp_path.glob('best_*'))
    metrics = evaluate(small_config('erfnet_camvid11_trainval', tmp_path), str(tmp_path / 'epoch_1.pth'))
    scored = json.loads((tmp_path / 'metrics.json').read_text())
    assert (scored['split'], scored['mIoU']) == ('splits/test.txt', metrics['mIoU'])


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
    assert list(cfg.class_weights) == list(dataset.metainfo['classes'])
    assert list(cfg.model.decode_head.loss_decode.class_weight) == list(cfg.class_weights.values())


def test_camvid11_weights_are_those_of_the_training_frames(camvid_root, tmp_path, small_config):
    (tmp_path / 'train.txt').write_text('\n'.join(standard_split('train')))
    dataset = CamVid11Dataset(
        data_root=str(camvid_root),
        ann_file=str(tmp_path / 'train.txt'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg_erfnet.LoadSegLabels')],
    )
    weights = class_weights(label_statistics(dataset).pixels, c=1.10)
    stated = small_config('erfnet_camvid11').class_weights
    assert list(stated) == list(dataset.metainfo['classes'])
    np.testing.assert_allclose(list(stated.values()), weights, rtol=1e-5)


def test_camvid_starts_from_stock_weights_for_cityscapes(small_config, tmp_path):
    """A checkpoint like MMSegmentation's published one: stock names, 19 classes, float32, a meta of strings."""
    stock = small_config('erfnet_cityscapes').model
    stock.backbone.type, stock.decode_head.type = 'mmseg.ERFNet', 'mmseg.FCNHead'
    stock.decode_head.loss_decode = dict(type='mmseg.CrossEntropyLoss')
    weights = {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in MODELS.build(stock).state_dict().items()
    }
    torch.save(dict(meta=dict(CLASSES=('road',)), state_dict=weights), tmp_path / 'stock.pth')
    model = small_config('erfnet_camvid11_from_cityscapes').model
    model = MODELS.build(model)
    said = load_weights(model, load_checkpoint_file(tmp_path / 'stock.pth'), partly=True)
    assert '19' in said
    assert '11' in said
    for name in (
        'backbone.encoder.0.conv.weight',
        'backbone.decoder.5.convs_layers.0.weight',
        'decode_head.convs.0.conv.weight',
    ):
        assert torch.equal(model.state_dict()[name], weights[name])
