"""A checkpoint whose names begin with a wrapper's prefix gives the same results as one without, in every tool."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.small_models import checkpoint, config, workshop
from helpers.tools import run_tool
from mmengine.hooks import EMAHook

from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.engine.launch import evaluate

NAME = 'erfnet_camvid11'
SIZE = {'test_pipeline.1.scale': (96, 72), 'test_dataloader.dataset.pipeline.1.scale': (96, 72)}


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> tuple:
    """A config, a checkpoint, and the same checkpoint under wrapped names."""
    folder = tmp_path_factory.mktemp('wrapped')
    config(NAME, **SIZE).dump(folder / 'config.py')
    loaded = torch.load(checkpoint(NAME), weights_only=True)
    wrapped = {f'module.module.{name}': value for name, value in loaded['state_dict'].items()}
    torch.save(dict(loaded, state_dict=wrapped), folder / 'wrapped.pth')
    return folder / 'config.py', checkpoint(NAME), folder / 'wrapped.pth'


def both(files: tuple, tmp_path, use):
    """A tool's results for both checkpoints."""
    file, *checkpoints = files
    return [use(file, path, tmp_path / str(number)) for number, path in enumerate(checkpoints)]


@pytest.mark.parametrize('tta', [[], pytest.param(['--tta'], marks=pytest.mark.slow)])
def test_scores(files, tmp_path, tta):
    def score(file, path, folder) -> list:
        assert run_tool('test', file, path, '--work-dir', folder, *tta).status == 0
        return json.loads((folder / 'metrics.json').read_text())['confusion_matrix']

    plain, wrapped = both(files, tmp_path, score)
    assert wrapped == plain
    assert np.count_nonzero(np.sum(plain, axis=0)) > 1, 'several classes are predicted'


def test_predictions(files, tmp_path):
    def predict(file, path, folder) -> list[list]:
        image = min((workshop() / 'camvid').rglob('*.png'))
        assert run_tool('predict', file, path, image, '--out', folder).status == 0
        labels = [found for found in sorted(folder.rglob('*.png')) if 'label' in str(found)]
        return [cv2.imread(str(found), cv2.IMREAD_UNCHANGED).tolist() for found in labels]

    plain, wrapped = both(files, tmp_path, predict)
    assert len(plain) == 1
    assert wrapped == plain


@pytest.mark.slow
def test_exported_models(files, tmp_path):
    def export(file, path, folder) -> np.ndarray:
        assert run_tool('export', file, path, '--out', folder, '--format', 'onnx').status == 0
        image = cv2.imread(str(min((workshop() / 'camvid').rglob('*.png'))))
        (model,) = folder.glob('*.onnx')
        return Predictor(model).predict(image)

    plain, wrapped = both(files, tmp_path, export)
    assert len(np.unique(plain)) > 1
    assert np.array_equal(wrapped, plain)


@pytest.mark.slow
def test_averages_do_not_get_in_the_way_of_a_test(files, tmp_path):
    """EMAHook tests its own model, into which MMEngine loads no weights if test-time augmentation wraps the network."""
    scores = []
    for hooks in ([], [dict(type=EMAHook)]):
        cfg = config(NAME, **SIZE)
        cfg.work_dir = str(tmp_path / str(len(hooks)))
        cfg.custom_hooks = hooks
        scores.append(evaluate(cfg, str(files[1]), tta=True)['aAcc'])
    assert scores[0] == scores[1]
