"""Invalid checkpoints given to every tool that takes one: one sentence, status 1, and none of their code runs."""

import os
from pathlib import Path

import pytest
import torch
from helpers.hostile import touching
from helpers.tools import run_tool
from mmseg.apis import init_model

from mmseg_erfnet.engine.launch import train

TOOLS = ['train --resume', 'train load_from', 'test', 'export', 'predict', 'convert']


@pytest.fixture
def weights(small_config, tmp_path) -> dict:
    """Weights that fit `config.py` in the test's folder."""
    cfg = small_config('erfnet_camvid', tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    return init_model(cfg, device='cpu').state_dict()


@pytest.fixture
def refusal(synthetic_camvid, tmp_path):
    """A function that gives a checkpoint to a tool, expects status 1, and returns the message."""
    config, image = str(tmp_path / 'config.py'), str(next(synthetic_camvid.rglob('*.png')))

    def run(tool: str, path: Path) -> str:
        name, *arguments = {
            'train --resume': ('train', config, '--resume', path),
            'train load_from': ('train', config, '--cfg-options', f'load_from={path}'),
            'test': ('test', config, path),
            'export': ('export', config, path, '--out', tmp_path / 'exported'),
            'predict': ('predict', config, path, image, '--out', tmp_path / 'predicted'),
            'convert': ('convert_checkpoint', path, tmp_path / 'converted.pth'),
        }[tool]
        ended = run_tool(name, *arguments)
        assert ended.status == 1
        assert not any((tmp_path / folder).exists() for folder in ('exported', 'predicted', 'converted.pth'))
        return ended.sentence

    return run


@pytest.mark.parametrize('tool', TOOLS)
def test_a_hostile_file(weights, refusal, tmp_path, tool):
    mark, path = tmp_path / 'mark', tmp_path / 'hostile.pth'
    torch.save(dict(state_dict=weights, meta=touching(mark)), path)
    sentence = refusal(tool, path)
    assert 'hostile.pth was not loaded, because it is more than data and could run code' in sentence
    assert '--trust-checkpoint' in sentence
    assert not mark.exists()


@pytest.mark.parametrize('tool', ['train --resume', 'test', 'convert'])
def test_a_truncated_file(weights, refusal, tmp_path, tool):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=weights), path)
    os.truncate(path, path.stat().st_size // 2)
    assert 'epoch_1.pth is truncated: copy or download it again' in refusal(tool, path)


@pytest.mark.parametrize('tool', ['train --resume', 'test', 'convert'])
def test_an_empty_file(weights, refusal, tmp_path, tool):
    path = tmp_path / 'epoch_1.pth'
    path.touch()
    assert 'epoch_1.pth is empty' in refusal(tool, path)


@pytest.mark.parametrize('tool', TOOLS)
def test_a_file_of_another_network(weights, refusal, tmp_path, tool):
    path = tmp_path / 'resnet.pth'
    torch.save(dict(state_dict={'layer1.0.conv1.weight': torch.ones(64, 64, 3, 3)}), path)
    assert 'layer1.0.conv1.weight' in refusal(tool, path)


@pytest.mark.parametrize('tool', TOOLS[:-1])
def test_weights_of_another_shape(weights, refusal, tmp_path, tool):
    name, path = 'backbone.encoder.0.conv.weight', tmp_path / 'wide.pth'
    torch.save(dict(state_dict={**weights, name: torch.ones(26, 3, 3, 3)}), path)
    assert f'{name} (26, 3, 3, 3) instead of (13, 3, 3, 3)' in refusal(tool, path)


def test_a_run_may_start_from_weights_for_other_classes(small_config, weights, tmp_path):
    path = tmp_path / 'cityscapes.pth'
    classifier = {'decode_head.conv_seg.weight': torch.ones(19, 16, 1, 1), 'decode_head.conv_seg.bias': torch.ones(19)}
    weights = {name: torch.full_like(value, 0.125) for name, value in weights.items()}
    torch.save(dict(state_dict={**weights, **classifier}), path)
    options = {
        'load_from': str(path),
        'optim_wrapper.optimizer.lr': 0.0,
        'train_dataloader.dataset.indices': 4,
        'train_cfg.max_epochs': 1,
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
        'custom_hooks': [],
        'default_hooks.checkpoint.save_best': None,
        'param_scheduler': [],
    }
    model = train(small_config('erfnet_camvid', tmp_path / 'run', **options)).model
    assert (model.backbone.encoder[0].conv.weight == 0.125).all()
    assert model.decode_head.conv_seg.weight.shape[0] == 32
