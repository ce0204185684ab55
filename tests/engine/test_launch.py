"""Runs as a user starts them: they do not mix, and say what they have done."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from helpers.oracle import Oracle  # noqa: F401  (registers it)
from helpers.tools import ROOT, run_tool
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_erfnet.datasets.camvid import standard_split
from mmseg_erfnet.engine.config_file import stated_costs
from mmseg_erfnet.engine.feeding import feed_gpu, use_fused_optimizer
from mmseg_erfnet.engine.launch import _set_rendezvous, evaluate, load_config, summary, train
from mmseg_erfnet.engine.runner import SafeRunner
from mmseg_erfnet.errors import StorageError, UsageError


@pytest.fixture
def oracle_config(small_config):
    """A function that returns a config whose model needs no time."""

    def load(work_dir, **options) -> Config:
        cfg = small_config('erfnet_camvid', work_dir, **{'train_dataloader.dataset.indices': 4, **options})
        cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
        return cfg

    return load


def test_a_test_of_one_run_leaves_the_others_alone(oracle_config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    oracle_config('work_dirs/model').dump('model.py')
    Path('model.py').write_text(re.sub(r'^work_dir = .*$', '', Path('model.py').read_text(), flags=re.MULTILINE))
    default, other = Path('work_dirs/model'), Path('other')
    for folder in (default, other):
        assert run_tool('train', 'model.py', '--epochs', 1, '--work-dir', folder).status == 0
    assert run_tool('test', 'model.py', default).status == 0
    best = next(default.glob('best_mIoU_epoch_*.pth'))
    best.with_name('best_mIoU_epoch_0.pth').write_bytes(b'of an earlier run')
    assert f'Testing {best}' in capsys.readouterr().out, 'a folder stands for its best checkpoint'

    kept = {name: (default / name).read_bytes() for name in ('metrics.json', 'report.html', 'examples/index.json')}
    few = ('--cfg-options', 'test_dataloader.dataset.indices=1')
    assert run_tool('test', 'model.py', other / 'epoch_1.pth', *few).status == 0
    Path('shipped.pth').write_bytes((other / 'epoch_1.pth').read_bytes())
    assert run_tool('test', 'model.py', 'shipped.pth', *few).status == 0
    assert {name: (default / name).read_bytes() for name in kept} == kept
    for folder in (other, Path('work_dirs/model_shipped')):
        assert json.loads((folder / 'metrics.json').read_text())['images'] == 1
    assert run_tool('test', 'model.py', *sorted(default.glob('best_*'))).status == 0, 'what a shell makes of best_*.pth'
    assert 'There is no checkpoint' in run_tool('test', 'model.py', 'work_dirs').sentence


def test_weights_to_start_from_that_are_missing(oracle_config, tmp_path):
    cfg = oracle_config(tmp_path / 'run', load_from='work_dirs/stage1/epoch_9.pth')
    with pytest.raises(UsageError, match=r'load_from of the config names work_dirs/stage1/epoch_9\.pth, which'):
        train(cfg)
    assert not list((tmp_path / 'run').glob('2*')), 'before anything is built'


def test_costs_of_a_schedule(tmp_path):
    cfg = load_config(str(ROOT / 'configs/erfnet_camvid11.py'))
    frames_drawn = cfg.train_cfg.max_epochs * len(standard_split('train'))
    assert stated_costs(cfg).startswith(f'{frames_drawn:,} crops of 360x480: ')
    stated = '"""A recipe.\n\nCosts: 900 crops: 4 hours,\n  beside another run.\nScore to expect: 70.\n"""\n'
    (tmp_path / 'stated.py').write_text(stated)
    found = stated_costs(load_config(str(tmp_path / 'stated.py')))
    assert found == '900 crops: 4 hours, beside another run.', 'in one line, without what follows'
    (tmp_path / 'own.py').write_text('model = dict()\n')
    assert stated_costs(load_config(str(tmp_path / 'own.py'))) is None


@pytest.mark.slow
def test_the_best_checkpoint_is_reported_under_its_metric(oracle_config, tmp_path):
    cfg = oracle_config(tmp_path / 'run', **{'default_hooks.checkpoint.save_best': 'aAcc'})
    text = summary(train(cfg, epochs=1))
    assert re.search(r'^Best checkpoint: \S+best_aAcc_epoch_1\.pth \(aAcc \d+\.\d\d on val\)$', text, re.MULTILINE)
    cfg = oracle_config(tmp_path / 'two', **{'default_hooks.checkpoint.save_best': ['mIoU', 'loss']})
    cfg.default_hooks.checkpoint.rule = ['greater', 'less']
    text = summary(train(cfg, epochs=1))
    assert re.search(
        r'best_mIoU_epoch_1\.pth \(mIoU \d+\.\d\d on val\)\n.*best_loss_epoch_1\.pth \(loss \d+\.\d{4} ', text
    )


def test_the_classes_are_shown_once_at_the_end(oracle_config, tmp_path, capsys):
    train(oracle_config(tmp_path / 'run'), epochs=3)
    printed = capsys.readouterr().out
    assert printed.count('| Road ') == 1
    assert 'Tunnel' not in printed.partition('| Road ')[2].partition('Report')[0], 'absent from the frames'
    assert printed.index('val epoch 3: mIoU') < printed.index('| Road ')
    assert re.search(r'\| class +\| +IoU %, epoch \d \|', printed)


def test_validation_alone(oracle_config, tmp_path):
    cfg = oracle_config(tmp_path / 'run')
    metrics = SafeRunner.from_cfg(cfg).val()
    assert metrics['mIoU'] >= 0
    assert not list((tmp_path / 'run').glob('*.pth'))


@pytest.mark.parametrize('target', ['out', 'run'])
def test_a_test_that_cannot_write_ends_with_a_sentence(oracle_config, tmp_path, target):
    torch.save(dict(state_dict=dict(wrong=torch.tensor(0.5))), tmp_path / 'oracle.pth')
    (tmp_path / target).touch()
    with pytest.raises(StorageError, match=rf'{target} cannot be written \(.*\): .*folder'):
        evaluate(oracle_config(tmp_path / 'run'), str(tmp_path / 'oracle.pth'), out_dir=str(tmp_path / 'out'))


def test_a_gpu_gets_pinned_memory(oracle_config, tmp_path, monkeypatch):
    cfg = oracle_config(tmp_path)
    assert 'pin_memory' not in feed_gpu(cfg).train_dataloader
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    fed = feed_gpu(cfg)
    assert fed.train_dataloader.pin_memory is True
    assert 'pin_memory' not in cfg.train_dataloader
    cfg.train_dataloader.pin_memory = False
    assert feed_gpu(cfg).train_dataloader.pin_memory is False, 'what the config says stays'


def test_no_workers_by_option_are_not_persistent():
    """`--cfg-options train_dataloader.num_workers=0` is common, and the configs' workers are persistent."""
    path = str(ROOT / 'configs' / 'erfnet_cityscapes.py')
    cfg = load_config(path, options={'train_dataloader.num_workers': 0})
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True
    asked = {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': True}
    assert load_config(path, options=asked).train_dataloader.persistent_workers is True, 'which train() refuses'


@pytest.mark.parametrize(
    ('optimizer', 'fused'),
    [
        (dict(type='AdamW', lr=0.1), True),
        (dict(type='SGD', lr=0.1, momentum=0.9), True),
        (dict(type='AdamW', lr=0.1, fused=False), False),
        (dict(type='AdamW', lr=0.1, foreach=True), None),
        (dict(type='Adagrad', lr=0.1), None),
    ],
)
def test_the_optimiser_is_fused_where_torch_has_it(optimizer, fused):
    cfg = Config(dict(optim_wrapper=dict(optimizer=optimizer)))
    assert use_fused_optimizer(cfg).optim_wrapper.optimizer.get('fused') is fused
    assert cfg.optim_wrapper.optimizer == optimizer


def test_checkpointed_gradients_under_torch_compile():
    options = dict(enc_stage_non_bottlenecks=(1, 2), enc_non_bottleneck_dilations=(2, 4), with_cp=True)
    backbone = MODELS.build(dict(type='mmseg_erfnet.ERFNet', dec_stages_non_bottleneck=(1, 1), **options)).train()
    compiled = torch.compile(backbone, backend='eager')
    compiled(torch.rand(2, 3, 32, 32))[0].sum().backward()
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_functions_leave_their_config_alone(oracle_config, tmp_path):
    cfg = oracle_config(tmp_path / 'run', **{'train_cfg.max_epochs': 2})
    before = cfg.pretty_text
    for number in range(2):
        cfg.work_dir = str(tmp_path / f'run{number}')
        train(cfg, amp=True, epochs=1)
        cfg.work_dir = str(tmp_path / 'run')
        assert cfg.pretty_text == before


def test_testing_twice_with_one_config_scores_alike(small_config, tmp_path):
    cfg = small_config('erfnet_camvid11', tmp_path / 'test')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'weights.pth')
    before = cfg.pretty_text
    once, again = (evaluate(cfg, str(tmp_path / 'weights.pth'), tta=True) for _ in range(2))
    assert once == pytest.approx(again, nan_ok=True)
    assert cfg.pretty_text == before


def test_loading_a_config_starts_no_processes():
    for _ in range(2):
        cfg = load_config(str(ROOT / 'configs' / 'erfnet_camvid.py'), launcher='pytorch')
        assert cfg.launcher == 'pytorch'
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ('nodes', 'given', 'address'),
    [
        ('node[01-04,07]', None, 'node01'),
        ('a,b', None, 'a'),
        ('a,b', 'c', 'c'),
        (None, 'c', 'c'),
    ],
)
def test_slurms_first_node_is_where_processes_meet(monkeypatch, nodes, given, address):
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT', 'MASTER_ADDR', 'SLURM_NODELIST')
    for name in names:
        monkeypatch.setenv(name, '')  # restored after the test
        monkeypatch.delenv(name)
    for name, value in dict(SLURM_PROCID='3', SLURM_NTASKS='8', SLURM_LOCALID='1').items():
        monkeypatch.setenv(name, value)
    for name, value in dict(SLURM_NODELIST=nodes, MASTER_ADDR=given).items():
        if value:
            monkeypatch.setenv(name, value)
    _set_rendezvous('slurm')
    assert [os.environ[name] for name in ('MASTER_ADDR', 'RANK', 'LOCAL_RANK')] == [address, '3', '1']


def test_slurm_without_nodes_is_a_sentence(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT', 'MASTER_ADDR', 'SLURM_NODELIST'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'):
        monkeypatch.setenv(name, '1')
    with pytest.raises(UsageError, match='finds no RANK and MASTER_ADDR'):
        _set_rendezvous('slurm')
