"""The error contract, tool by tool: status 1 and one sentence with the cause and the remedy, and never a traceback.

Most cases run in this process, through the tools' ``main``; cases that depend on the interpreter run in a separate
process. A bug of ours must not be reported as the user's error: the end of the file tests that.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import CONFIGS as SHIPPED
from conftest import ROOT
from helpers.tools import ENVIRONMENT, run_tool, start_tool
from mmengine.config import Config

from mmseg_erfnet.engine.argument_types import check_numbers
from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.models.building import load_segmentor

SMALL = {
    'model.backbone.enc_stage_non_bottlenecks': (1, 2),
    'model.backbone.enc_non_bottleneck_dilations': (2, 4),
    'model.backbone.dec_stages_non_bottleneck': (1, 1),
    'model.data_preprocessor.size': (64, 64),
    'train_dataloader.dataset.pipeline.3.size': (64, 64),
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
    'train_cfg.max_epochs': 1,
    'vis_backends': [dict(type='LocalVisBackend')],
    'visualizer.vis_backends': [dict(type='LocalVisBackend')],
    'custom_hooks': [],
}


@pytest.fixture(scope='module')
def shop(synthetic_camvid, tmp_path_factory) -> Path:
    """A folder with ``config.py``, a small network on synthetic frames, and its random weights, ``weights.pth``."""
    folder = tmp_path_factory.mktemp('errors')
    cfg = load_config(str(ROOT / 'configs' / 'erfnet_camvid.py'), options=SMALL | {'data_root': str(synthetic_camvid)})
    cfg.dump(folder / 'config.py')
    torch.save(dict(state_dict=load_segmentor(cfg, None).state_dict(), meta={}), folder / 'weights.pth')
    return folder


@pytest.fixture
def train(shop, tmp_path):
    """A function that trains with options and returns the error message."""

    def run(*options: str, config: Path | None = None) -> str:
        ended = run_tool(
            'train', config or shop / 'config.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options
        )
        assert ended.status == 1
        assert not list(tmp_path.rglob('*.pth'))
        return ended.sentence

    return run


OPTIONS = {
    'unknown optimizer': (
        ['optim_wrapper.optimizer.type=Adamm'],
        r"optim_wrapper\.optimizer\.type is 'Adamm', which is not a registered name; did you mean Adam\?",
    ),
    'unknown optimizer, like none': (
        ['optim_wrapper.optimizer.type=Velocity'],
        r"optim_wrapper\.optimizer\.type is 'Velocity', .*; correct it, or name its module in custom_imports",
    ),
    'argument of the optimizer': (
        ['optim_wrapper.optimizer.momentum=0.9'],
        r'optim_wrapper\.optimizer\.momentum is not an argument of Adam; remove it',
    ),
    'value of the optimizer': (
        ['optim_wrapper.optimizer.lr=-1'],
        r'optim_wrapper\.optimizer\.lr cannot be used: Invalid learning rate: -1; correct it',
    ),
    'learning rate in words': (['optim_wrapper.optimizer.lr=fast'], r'optim_wrapper\.optimizer\.lr cannot be used'),
    'argument of the data loader': (
        ['train_dataloader.shuffle_all=True'],
        r'train_dataloader has shuffle_all, which no data loader takes; correct it',
    ),
    'argument of the dataset': (
        ['train_dataloader.dataset.imagefolder=x'],
        r'train_dataloader\.dataset\.imagefolder is not an argument of CamVidDataset; remove it',
    ),
    'cache_gb for another dataset': (
        ['train_dataloader.dataset.type=mmseg.BaseSegDataset'],
        r'train_dataloader\.dataset\.cache_gb is not an argument of BaseSegDataset; remove it, or choose another type',
    ),
    'argument of a transform': (
        ['train_dataloader.dataset.pipeline.3.angle=3'],
        r'train_dataloader\.dataset\.pipeline\.3\.angle is not an argument of RandomRotateCropResize; remove it',
    ),
    'value of a transform': (
        ['train_dataloader.dataset.pipeline.3.degree=999'],
        r'pipeline\.3\.degree cannot be used: degree must lie within 0 and 180, got 999; correct it in the config',
    ),
    'type of a value of a transform': (
        ['train_dataloader.dataset.pipeline.3.degree=steep'],
        r'train_dataloader\.dataset\.pipeline\.3\.degree cannot be used',
    ),
    'unknown transform': (
        ['train_dataloader.dataset.pipeline.4.type=RandomBlurr'],
        r"pipeline\.4\.type is 'RandomBlurr', .*; did you mean mmseg_erfnet\.RandomBlur\?",
    ),
    'argument of the backbone': (
        ['model.backbone.depth=18'],
        r'model\.backbone\.depth is not an argument of ERFNet; remove it',
    ),
    'value of the backbone': (
        ['model.backbone.dropout_ratio=2'],
        r'dropout_ratio must be a number from 0 to 1, or 2 of them.*: got 2',
    ),
    'value of the head': (
        ['model.decode_head.dropout_ratio=2'],
        r'model\.decode_head\.dropout_ratio cannot be used: dropout probability has to be between 0 and 1.*; correct',
    ),
    'unknown backbone': (
        ['model.backbone.type=mmseg_erfnet.ERFNett'],
        r"model\.backbone\.type is 'mmseg_erfnet\.ERFNett', .*; did you mean mmseg_erfnet\.ERFNet\?",
    ),
    'unknown layer': (
        ['model.backbone.norm_cfg.type=BatchNormal'],
        r"model\.backbone\.norm_cfg\.type is 'BatchNormal', which is not a registered name; correct it",
    ),
    'head that does not fit': (
        ['model.decode_head.in_channels=64'],
        r'A layer of the model takes 64 channels, but gets 16; set in_channels',
    ),
    'unknown dataset': (
        ['val_dataloader.dataset.type=CamVidDatasett'],
        r"val_dataloader\.dataset\.type is 'CamVidDatasett', .*; did you mean mmseg_erfnet\.CamVidDataset\?",
    ),
    'class that is none': (
        ['train_dataloader.dataset.metainfo.classes=[Road,Unicorn]'],
        r"train_dataloader\.dataset.* cannot be used: new classes \['Road', 'Unicorn'\] is not a subset.*; correct it",
    ),
    'class weights': (
        ['model.decode_head.loss_decode.class_weight=[1,2,3]'],
        r'model\.decode_head\.loss_decode\.class_weight has 3 weights for 32 classes; give one per class',
    ),
    'num_classes': (
        ['model.decode_head.num_classes=19', 'model.decode_head.loss_decode.class_weight=None'],
        r'dataset of train_dataloader has 32 classes, but model\.decode_head has num_classes=19; set .*=32',
    ),
    'persistent workers of none': (
        ['train_dataloader.persistent_workers=True'],
        r'train_dataloader has persistent_workers, but num_workers=0; set train_dataloader\.persistent_workers=False',
    ),
    'unknown hook': (
        ['default_hooks.logger.type=mmseg_erfnet.CurveHook'],
        r"default_hooks\.logger\.type is 'mmseg_erfnet.CurveHook'.*; did you mean mmseg_erfnet\.CurvesHook\?",
    ),
    'unknown scheduler': (
        ['param_scheduler.0.type=MultiStep'],
        r"param_scheduler\.0\.type is 'MultiStep', which is not a registered name",
    ),
    'unknown loop': (
        ['train_cfg.type=EpochBasedTrainLop'],
        r"train_cfg\.type is 'EpochBasedTrainLop', .*; did you mean EpochBasedTrainLoop\?",
    ),
    'unknown metric': (
        ['val_evaluator.type=IoUMetrics'],
        r"val_evaluator\.type is 'IoUMetrics', .*; did you mean IoUMetric\?",
    ),
    'epochs in words': (['train_cfg.max_epochs=ten'], r'train_cfg\.max_epochs cannot be used: .*; correct it'),
    'no training data': (['train_dataloader=None'], r'has no train_dataloader, which training needs; give the config'),
    'no model': (['model=None'], r'has no model, which training needs; give the config of a whole run'),
    'weights that are not there': (['load_from=nowhere.pth'], r'nowhere\.pth'),
    'no equals sign': (['lr'], r"--cfg-options takes KEY=VALUE, as in .*: got 'lr'"),
    'misspelt key': (
        ['optim_wrapper.optimizer.lrr=1'],
        r'the config has no optim_wrapper\.optimizer\.lrr; did you mean optim_wrapper\.optimizer\.lr\?',
    ),
    'misspelt key at the top': (['train_dataloadr.batch_size=1'], r'no train_dataloadr; did you mean train_dataloader'),
    'step that is not there': (
        ['train_dataloader.dataset.pipeline.12.size=3'],
        r'train_dataloader\.dataset\.pipeline is a list of 9; give a number from 0 to 8',
    ),
    'number in words of what is used late': (
        ['param_scheduler.0.milestones=late'],
        r"param_scheduler\.0\.milestones cannot be used: it is 'late', but MultiStepLR takes numbers there; correct it",
    ),
    'number in words by its default': (
        ['model.decode_head.ignore_index=none'],
        r"model\.decode_head\.ignore_index cannot be used: it is 'none', but FCNHead takes numbers there; correct it",
    ),
    'number in words of a hook': (
        ['default_hooks.checkpoint.interval=often'],
        r"default_hooks\.checkpoint\.interval cannot be used: it is 'often', but SafeCheckpointHook takes numbers",
    ),
    'compile that is neither': (['compile=3'], r'compile cannot be used: .*dict or bool.*; correct it in the config'),
    'compile of another kind': (
        ['compile.mode=fast'],
        r'compile cannot be used: Unrecognized mode=fast, .*; correct it',
    ),
    'memory in words': (
        ['train_dataloader.dataset.cache_gb=much'],
        r"train_dataloader\.dataset\.cache_gb cannot be used: it is 'much', but CamVidDataset takes numbers there",
    ),
    'more memory than there is': (
        ['train_dataloader.dataset.cache_gb=100000000'],
        r'cache_gb=1e\+08 is more than the memory here; set it lower',
    ),
    'nothing to build': (
        ['model.backbone=None'],
        r'model\.backbone cannot be used: it is None, not a dict with a type; correct it in the config',
    ),
    'wrong init_cfg': (['model.backbone.init_cfg=best'], r"init_cfg of backbone is 'best'; give a dict with a type"),
    'scope that is none': (
        ['default_scope=nobody'],
        r"default_scope cannot be used: 'nobody' is not an installed package; set it to 'mmseg'",
    ),
    'no preprocessor': (
        ['model.data_preprocessor=None'],
        r'The model has no data_preprocessor, .*; set model\.data_preprocessor',
    ),
    'pipeline that packs nothing': (
        ['train_dataloader.dataset.pipeline=[]'],
        r'The pipeline of train_dataloader\.dataset packs no inputs .*; end it with .*PackSegInputs',
    ),
    'interval of validation': (
        ['train_cfg.val_interval=0'],
        r'train_cfg\.val_interval cannot be used: it must be 1 or more, not 0; correct it',
    ),
    'argument of the checkpoint hook': (
        ['default_hooks.checkpoint.keep=3'],
        r'default_hooks\.checkpoint\.keep is not an argument of SafeCheckpointHook; remove it',
    ),
    'hooks that are no dict': (
        ['default_hooks=3'],
        r"The config does not describe a valid run: 'int' object has no attribute 'items'; correct it",
    ),
    'checkpoint hook that is no dict': (
        ['default_hooks.checkpoint=x'],
        r'The config does not describe a valid run: hook should be an instance of Hook or dict, but got x; correct it',
    ),
    'one name for all checkpoints': (
        ['default_hooks.checkpoint.filename_tmpl=last.pth'],
        r"default_hooks\.checkpoint\.filename_tmpl cannot be used: .* one \{\} .*: got 'last\.pth'; correct it",
    ),
    'value that the loop meets': (
        ['optim_wrapper.clip_grad.max_norm=x'],
        r"optim_wrapper \(OptimWrapper\) cannot be used: could not convert string to float: 'x'; correct it",
    ),
    'value that the head meets': (
        ['model.decode_head.in_index=5'],
        r'model\.decode_head \(FCNHead\) cannot be used: list index out of range; correct it in the config',
    ),
    'key below a value': (
        ['train_cfg.max_epochs.first=1'],
        r'train_cfg\.max_epochs is 1 and has no first; set train_cfg\.max_epochs as a whole',
    ),
}


@pytest.mark.parametrize('kind', OPTIONS)
def test_option_of_training(kind, train):
    options, words = OPTIONS[kind]
    assert re.search(words, train(*options))


def test_metric_that_validation_does_not_give(shop, tmp_path):
    options = ['default_hooks.checkpoint.save_best=mDice', 'train_dataloader.dataset.indices=2']
    ended = run_tool('train', shop / 'config.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert ended.status == 1
    assert re.search(r"save_best .* is 'mDice', but validation gives mIoU, .*; set default_hooks\.", ended.sentence)


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_configs_have_numbers_where_classes_take_them(name):
    check_numbers(Config.fromfile(ROOT / 'configs' / f'{name}.py'))


@pytest.mark.parametrize(('backend', 'package'), [('Wandb', 'wandb'), ('MLflow', 'mlflow'), ('ClearML', 'clearml')])
def test_logger_whose_package_is_not_installed(backend, package, train):
    found = train(f'visualizer.vis_backends.0.type={backend}VisBackend')
    assert re.search(rf'{package}.*{backend}VisBackend.* pip install {package}, or remove it from the config', found)


def test_frames_of_several_sizes(shop, train, tmp_path):
    cfg = Config.fromfile(shop / 'config.py')
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='mmseg_erfnet.LoadSegLabels'),
        dict(type='RandomResize', scale=(128, 96), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='mmseg_erfnet.PackSegInputs'),
    ]
    cfg.dump(tmp_path / 'sizes.py')
    found = train('train_dataloader.batch_size=4', config=tmp_path / 'sizes.py')
    assert re.search(r'frames of a batch differ in size; resize or crop them to one size .*batch_size=1', found)


def test_labels_in_colours_under_load_annotations(shop, train, tmp_path):
    cfg = Config.fromfile(shop / 'config.py')
    for part in ('train', 'val', 'test'):
        for step in cfg[f'{part}_dataloader'].dataset.pipeline:
            if step.type == 'mmseg_erfnet.LoadSegLabels':
                step.clear()
                step.type = 'LoadAnnotations'
    cfg.dump(tmp_path / 'stock.py')
    words = r'_L\.png contains colours, but LoadAnnotations reads only class ids; load it .*mmseg_erfnet\.LoadSegLabels'
    assert re.search(words, train('log_level=INFO', config=tmp_path / 'stock.py'))
    ended = run_tool('test', tmp_path / 'stock.py', shop / 'weights.pth', '--work-dir', tmp_path / 'score')
    assert ended.status == 1
    assert re.search(words, ended.sentence)
    lines = start_tool('doctor', tmp_path / 'stock.py').stdout
    assert re.search(words, lines)


# --- Configs and checkpoints ------------------------------------------------------------------------------------------

CONFIGS = {
    'syntax error': ('model = dict(\n', r'config\.py cannot be read \(SyntaxError: .*never closed.*\); correct it'),
    'missing base': ("_base_ = 'nowhere.py'\n", r'config\.py cannot be read \(.*nowhere\.py.*\); correct it'),
    'exit': ('import sys\nsys.exit(3)\n', r'config\.py cannot be read \(SystemExit: 3\); correct it'),
    'unknown name': ('model = dict(depth=depth)\n', r"cannot be read \(NameError: name 'depth' is not defined\)"),
    'missing import': ("custom_imports = dict(imports=['nobody'])\n", r'cannot be read \(ImportError: .*nobody'),
    'of 0.x': (
        "model = dict(type='EncoderDecoder')\ndata = dict(samples_per_gpu=2)\noptimizer = dict(type='SGD')\n"
        "runner = dict(type='IterBasedRunner')\n",
        r'is a config of MMSegmentation 0\.x: it sets data, optimizer, runner; use one of MMSegmentation 1\.x',
    ),
    'number for a model': ('model = 5\n', r'model is 5, not a dict; write it as in the shipped configs'),
    'without a model': ("default_scope = 'mmseg'\n", r'has no model'),
}


def arguments(verb: str, config: Path, checkpoint: Path, folder: Path) -> list:
    """The other arguments that a tool with a config needs."""
    return {
        'train': [config, '--work-dir', folder / 'run'],
        'test': [config, checkpoint, '--work-dir', folder / 'run'],
        'export': [config, checkpoint, '--out', folder / 'out'],
        'predict': [config, checkpoint, ROOT / 'docs' / 'camvid_curves.png', '--out', folder / 'out'],
        'benchmark': ['inference', config, checkpoint, '--size', '64x64', '--rounds', 1],
        'dataset_report': [config, '--out', folder / 'out'],
    }[verb]


@pytest.mark.slow
@pytest.mark.parametrize('verb', ['train', 'test', 'export', 'predict', 'benchmark', 'dataset_report'])
@pytest.mark.parametrize('kind', CONFIGS)
def test_config(verb, kind, shop, tmp_path):
    text, words = CONFIGS[kind]
    if kind == 'without a model' and verb == 'dataset_report':
        words = r'has no train_dataloader'
    (tmp_path / 'config.py').write_text(text)
    ended = run_tool(verb, *arguments(verb, tmp_path / 'config.py', shop / 'weights.pth', tmp_path))
    assert ended.status == 1
    assert re.search(words, ended.sentence), ended.sentence
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('verb', ['train', 'test', 'export', 'predict', 'benchmark', 'dataset_report'])
def test_config_and_checkpoint_that_are_missing_or_swapped(verb, shop, tmp_path):
    config, weights, missing = shop / 'config.py', shop / 'weights.pth', tmp_path / 'nowhere.py'
    ended = run_tool(verb, *arguments(verb, missing, weights, tmp_path))
    assert ended.status == 1
    assert re.search(r'There is no config .*nowhere\.py\. ', ended.sentence)
    ended = run_tool(verb, *arguments(verb, weights, config, tmp_path))
    assert ended.status == 1
    words = r'before the inputs: got .*weights\.pth' if verb == 'predict' else r'weights\.pth is a model, not a config'
    assert re.search(words, ended.sentence)
    if verb not in ('train', 'dataset_report'):
        ended = run_tool(verb, *arguments(verb, config, tmp_path / 'nowhere.pth', tmp_path))
        assert ended.status == 1
        assert 'nowhere.pth' in ended.sentence
        ended = run_tool(verb, *arguments(verb, config, config, tmp_path))
        assert ended.status == 1
        assert re.search(r'config\.py', ended.sentence)
    assert not (tmp_path / 'out').exists()


# --- Devices and folders ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is CUDA here')
@pytest.mark.parametrize(('device', 'words'), [('cuda', 'no device cuda here'), ('tpu7', 'no device tpu7 here')])
def test_device(device, words, shop, tmp_path):
    ended = run_tool(
        'predict', *arguments('predict', shop / 'config.py', shop / 'weights.pth', tmp_path), '--device', device
    )
    assert ended.status == 1
    assert words in ended.sentence
    assert 'use --device cpu' in ended.sentence


FOLDERS = {
    'a file': lambda folder: folder / 'file',
    'below a file': lambda folder: folder / 'file' / 'deeper',
    'not to be written': lambda folder: Path('/proc/nobody'),
    'too long a name': lambda folder: folder / ('n' * 300),
}
REMEDIES = r'(choose another folder|shorten the name)'


@pytest.mark.slow
@pytest.mark.parametrize('kind', FOLDERS)
@pytest.mark.parametrize('verb', ['train', 'test', 'export', 'predict', 'dataset_report', 'synthesize_camvid'])
def test_folder(verb, kind, shop, tmp_path):
    (tmp_path / 'file').touch()
    folder = FOLDERS[kind](tmp_path)
    if verb == 'synthesize_camvid':
        given = ['--out', folder, '--images', 5, '--size', '32x32']
    else:
        given = arguments(verb, shop / 'config.py', shop / 'weights.pth', tmp_path)
        given[given.index('--work-dir' if '--work-dir' in given else '--out') + 1] = folder
    ended = run_tool(verb, *given)
    assert ended.status == 1
    assert str(folder)[:200] in ended.sentence
    assert re.search(REMEDIES, ended.sentence), ended.sentence
    assert 'make room' not in ended.sentence


def test_folders_for_pictures_are_tried_before_scoring(shop, tmp_path):
    (tmp_path / 'file').touch()
    for option in ('--out', '--show-dir'):
        ended = run_tool(
            'test', *arguments('test', shop / 'config.py', shop / 'weights.pth', tmp_path), option, tmp_path / 'file'
        )
        assert ended.status == 1
        assert re.search(r'file cannot be written .*another folder', ended.sentence)


@pytest.mark.parametrize('name', ['weights.pth', 'config.py', 'other.json'])
def test_results_of_a_benchmark_replace_nothing_else(name, shop, tmp_path):
    for file in ('weights.pth', 'config.py'):
        (tmp_path / file).write_bytes((shop / file).read_bytes())
    (tmp_path / 'other.json').write_text('{"of": "the user"}')
    before = (tmp_path / name).read_bytes()
    given = ['inference', tmp_path / 'config.py', tmp_path / 'weights.pth', '--json', tmp_path / name]
    assert re.search(r'; choose another --json', run_tool('benchmark', *given).sentence)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize('option', ['--rounds', '--batch', '--threads'])
def test_numbers_of_a_benchmark(option, shop):
    ended = run_tool('benchmark', 'inference', shop / 'config.py', option, 0)
    assert ended.sentence == f'{option} must be 1 or more: got 0.'


# --- Options that would be ignored ------------------------------------------------------------------------------------

IGNORED = {
    '--tta-scales': ('test', ['c.py', 'w.pth', '--tta-scales', '0.5'], 'without --tta'),
    '--max-drop': ('export', ['c.py', 'w.pth', '--out', 'o', '--max-drop', '1'], 'without --int8'),
    '--cfg-options': ('predict', ['m.xml', 'i.png', '--out', 'o', '--cfg-options', 'a=1'], 'on an exported model'),
    '--trust-checkpoint': ('predict', ['m.onnx', 'i.png', '--out', 'o', '--trust-checkpoint'], 'on an exported model'),
    '--scale': ('predict', ['m.xml', 'i.png', '--out', 'o', '--scale', '1.25'], 'on an exported model'),
    '--precision': ('predict', ['m.onnx', 'i.png', '--out', 'o', '--precision', 'f32'], 'except on an OpenVINO model'),
    '--precision of PyTorch': (
        'predict',
        ['c.py', 'w.pth', 'i.png', '--out', 'o', '--precision', 'bf16'],
        'except on an OpenVINO model',
    ),
    '--cfg-options of nothing': ('doctor', ['--cfg-options', 'a=1'], 'without a config'),
    '--seed': ('prepare_camvid', ['s', '--seed', '1'], 'without --split random'),
    '--rounds': ('benchmark', ['training', 'c.py', '--scaling', '--rounds', '1'], 'with --scaling'),
    '--rounds beside a profile': (
        'benchmark',
        ['training', 'c.py', '--overhead', '--rounds', '1'],
        'with --scaling and',
    ),
    '--trust-checkpoint of none': ('benchmark', ['inference', 'c.py', '--trust-checkpoint'], 'without a checkpoint'),
}


@pytest.mark.parametrize('kind', IGNORED)
def test_option_that_would_be_ignored(kind):
    verb, given, words = IGNORED[kind]
    ended = run_tool(verb, *given)
    assert ended.status == 1
    assert re.search(rf'^{kind.split()[0]} has no effect {words}.*; leave it out\.$', ended.sentence)


# --- Separate processes -----------------------------------------------------------------------------------------------


def blocking(*modules: str) -> str:
    return f'import sys; sys.modules.update(dict.fromkeys({modules}))'


def started(verb: str, given: list, *blocked: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run a verb in a process in which some packages cannot be imported."""
    code = f'{blocking(*blocked)}; from mmseg_erfnet.cli.main import main; main({[verb, *map(str, given)]})'
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize('verb', ['train', 'export', 'predict'])
def test_without_torch(verb, shop, tmp_path):
    given = arguments(verb, shop / 'config.py', shop / 'weights.pth', tmp_path)
    result = started(verb, given, 'torch', cwd=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.search(r'^error: This needs PyTorch and MMSegmentation.*: pip install "mmseg_erfnet\[onedl\]"', line)


def test_without_a_package_that_exports(shop, tmp_path):
    result = started(
        'export', arguments('export', shop / 'config.py', shop / 'weights.pth', tmp_path), 'onnx', cwd=tmp_path
    )
    assert result.returncode == 1
    assert re.search(r'error: This needs onnx, .*: pip install "mmseg_erfnet\[export\]"', result.stderr)


@pytest.mark.parametrize('name', sorted(path.stem for path in (ROOT / 'tools').glob('[a-z]*.py')))
def test_tool_of_a_clone_that_is_not_installed(name, tmp_path):
    """The package is hidden, as in a clone without installation: without site-packages, only tools/ is on the path."""
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    result = subprocess.run(
        [sys.executable, '-S', '-E', str(ROOT / 'tools' / f'{name}.py'), '--help'],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.search(r'^error: mmseg_erfnet is not installed in .*: run `make setup`', line)


def test_processes_end_as_the_tools_do_in_this_one(shop, tmp_path):
    for verb, given, words in (
        ('train', [shop / 'config.py', '--cfg-options', 'model.backbone.depth=18'], 'not an argument of ERFNet'),
        ('test', [shop / 'weights.pth', shop / 'config.py'], 'is a model, not a config'),
    ):
        result = start_tool(verb, *given, cwd=ROOT)
        assert result.returncode == 1
        (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
        assert words in line
        assert 'Traceback' not in result.stderr


# --- Errors that are not the user's -----------------------------------------------------------------------------------


def test_a_bug_keeps_its_traceback(shop, tmp_path, monkeypatch):
    """A bug of ours that no config caused is raised unchanged: during construction, in a pipeline, and in between."""
    from mmseg_erfnet.datasets.transforms import RandomBlur
    from mmseg_erfnet.engine import launch
    from mmseg_erfnet.models import ERFNet

    def broken(self, *args, **kwargs):
        return {}['slip']

    for owner, name in ((ERFNet, '__init__'), (RandomBlur, 'transform'), (launch, '_report_batch_size')):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, _in_our_file(broken))
            with pytest.raises(KeyError, match='slip'):
                run_tool('train', shop / 'config.py', '--work-dir', tmp_path / 'run')


def _in_our_file(function):
    """Return a function whose stack frames appear to be in this project."""
    code = function.__code__.replace(co_filename=str(ROOT / 'mmseg_erfnet' / 'models' / 'erfnet.py'))
    return type(function)(code, function.__globals__, function.__name__)


def test_overfit_check_with_a_warning(shop, tmp_path, capsys):
    """val = train is refused with a message that names the override, which works and warns."""
    same = ['val_dataloader.dataset.ann_file=splits/train.txt', 'train_dataloader.dataset.indices=2']
    given = ['train', shop / 'config.py', '--work-dir', tmp_path / 'run', '--cfg-options', *same]
    ended = run_tool(*given)
    assert ended.status == 1
    assert re.search(
        r'2 frames are in the training .*; remove them from .* set --cfg-options allow_overlap=True', ended.sentence
    )
    capsys.readouterr()
    assert run_tool(*given, 'val_dataloader.dataset.indices=2', 'allow_overlap=True').status == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith('warning: ')]
    assert any('allow_overlap is set' in line for line in said)


def test_set_that_is_void_throughout(shop, synthetic_camvid, tmp_path):
    folder = tmp_path / 'void'
    folder.mkdir()
    for path in (synthetic_camvid / '701_StillsRaw_full').iterdir():
        height, width = cv2.imread(str(path)).shape[:2]
        cv2.imwrite(str(folder / f'{path.stem}_L.png'), np.zeros((height, width, 3), np.uint8))
    options = [
        'test_dataloader.dataset.data_prefix.img_path=701_StillsRaw_full',
        f'test_dataloader.dataset.data_prefix.seg_map_path={folder}',
        'test_dataloader.dataset.ignore_void=True',
    ]
    ended = run_tool(
        'test', *arguments('test', shop / 'config.py', shop / 'weights.pth', tmp_path), '--cfg-options', *options
    )
    assert ended.status == 1
    assert re.search(r'None of the 3 .* has a labelled pixel.*; check ann_file', ended.sentence)


def test_early_stopping_is_no_matter_of_a_test(shop, tmp_path):
    cfg = Config.fromfile(shop / 'config.py')
    cfg.custom_hooks = [dict(type='EarlyStoppingHook', monitor='mIoU')]
    cfg.dump(tmp_path / 'config.py')
    ended = run_tool('test', *arguments('test', tmp_path / 'config.py', shop / 'weights.pth', tmp_path))
    assert ended.status == 0
    assert (tmp_path / 'run' / 'metrics.json').is_file()
