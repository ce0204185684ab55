"""``--cfg-options``: what is refused, what is said, and where a variable's new value goes."""

import pytest
from conftest import ROOT
from mmengine.config import Config

from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.engine.options import edits, merge_options, nearest
from mmseg_erfnet.errors import UsageError

CONFIG = str(ROOT / 'configs' / 'erfnet_camvid11.py')


def said(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith('warning: ')]


@pytest.mark.parametrize(
    ('one', 'other', 'number'),
    [('lr', 'lr', 0), ('lrr', 'lr', 1), ('smapler', 'sampler', 1), ('btch_szie', 'batch_size', 2), ('a', 'xyz', 3)],
)
def test_edits(one, other, number):
    assert edits(one, other) == edits(other, one) == number


def test_names_without_a_common_letter_are_not_alike():
    assert nearest('sd', ['lr']) is None
    assert nearest('batchsize', ['batch_size', 'num_workers']) == 'batch_size'


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('train_dataloader.batchsize', 'train_dataloader.batch_size'),
        ('train_datalaoder.batch_size', 'train_dataloader'),
        ('model.backbone.dropout_ration', 'model.backbone.dropout_ratio'),
        ('train_dataloader.dataset.pipeline.3.crop_sise', 'train_dataloader.dataset.pipeline.3.crop_size'),
        ('model.decode_head.loss_decode.class_weigth', 'model.decode_head.loss_decode.class_weight'),
        # An argument that the class takes and the config does not name.
        ('train_dataloader.dataset.img_sufix', 'train_dataloader.dataset.img_suffix'),
    ],
)
def test_misspelt_key_is_refused(key, meant):
    with pytest.raises(UsageError, match=rf'the config has no {key.split(".batch_size")[0]}; did you mean {meant}\?'):
        load_config(CONFIG, options={key: 1})


@pytest.mark.parametrize('key', ['', 'model.', '.model', 'model..backbone'])
def test_key_without_a_name_is_refused(key):
    with pytest.raises(UsageError, match='is not a key; a key is names joined by dots'):
        load_config(CONFIG, options={key: 1})


def test_other_unknown_key_is_one_line(capsys):
    cfg = load_config(CONFIG, options={'train_dataloader.dataset.indices': 4, 'nobody': 1})
    assert cfg.train_dataloader.dataset.indices == 4
    first, second = said(capsys)
    assert 'the config had no train_dataloader.dataset.indices; it is set anyway.' in first
    assert 'the config had no nobody; it is set anyway; nothing reads it.' in second


def test_known_keys_are_silent(capsys):
    load_config(CONFIG, options={'optim_wrapper.optimizer.lr': 1e-4, 'load_from': 'a.pth', 'work_dir': 'b'})
    assert not said(capsys)


def test_data_root_reaches_every_dataset_that_holds_it(capsys):
    cfg = load_config(CONFIG, options={'data_root': '/data/D', 'test_dataloader.dataset.data_root': '/data/E'})
    assert cfg.train_dataloader.dataset.data_root == cfg.val_dataloader.dataset.data_root == '/data/D'
    assert cfg.test_dataloader.dataset.data_root == '/data/E', 'the key that names one dataset has the last word'
    assert not said(capsys)


def test_data_root_reaches_datasets_in_wrappers_and_leaves_others():
    inner = dict(type='A', data_root='old')
    wrapped = dict(
        type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner, dict(inner, data_root='own')])
    )
    cfg = Config(dict(data_root='old', train_dataloader=dict(dataset=wrapped)))
    merged = merge_options(cfg, {'data_root': 'new'})
    first, second = merged.train_dataloader.dataset.dataset.datasets
    assert (first.data_root, second.data_root) == ('new', 'own')
    assert cfg.train_dataloader.dataset.dataset.datasets[0].data_root == 'old', 'the config given is not changed'


def test_pipeline_variable_reaches_the_datasets(capsys):
    cfg = load_config(CONFIG, options={'test_pipeline.1.scale': (96, 72)})
    assert cfg.val_dataloader.dataset.pipeline[1].scale == cfg.test_dataloader.dataset.pipeline[1].scale == (96, 72)
    assert not said(capsys)


def test_variable_that_nothing_reads_is_said_with_what_to_set(capsys):
    load_config(CONFIG, options={'crop_size': (96, 96)})
    (line,) = said(capsys)
    assert 'crop_size is a variable of the config file, and nothing reads it afterwards; set ' in line
    assert 'model.data_preprocessor.size' in line
    assert 'train_dataloader.dataset.pipeline.3.crop_size' in line
