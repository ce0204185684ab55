"""The four commands of docs/own_data.md, from an export to an int8 model and a video; and what the page says."""

import json
import re

import cv2
import numpy as np
import pytest
from conftest import ROOT
from helpers import exports
from helpers.exports import EXPORTS, put, scene
from helpers.tools import run_tool

from mmseg_erfnet.datasets.preparation import prepare_dataset

SIZE = (96, 128)
# Two dozen iterations at a high rate, for logits that differ: near ties, exported labels need not agree with PyTorch's.
FAST = (
    '--cfg-options',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_cfg.val_interval=8',
    'optim_wrapper.optimizer.lr=0.002',
    'param_scheduler.0.end=2',
)


@pytest.mark.slow
@pytest.mark.parametrize('form', ['cvat_masks', 'roboflow'])
def test_from_an_export_to_a_video(form, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('signal.signal', lambda *_: None)
    EXPORTS[form](tmp_path / 'export', SIZE)
    assert run_tool('prepare_dataset', 'export', '--out', 'data/streets').status == 0
    assert 'Next: mmseg-erfnet train configs/streets.py' in capsys.readouterr().out
    assert run_tool('train', 'configs/streets.py', '--epochs', 8, *FAST).status == 0
    best = next((tmp_path / 'work_dirs/streets').glob('best_mIoU_epoch_*.pth'))
    assert run_tool('test', 'configs/streets.py', best).status == 0
    metrics = json.loads((tmp_path / 'work_dirs/streets/metrics.json').read_text())
    assert metrics['classes'] == list(exports.CLASSES)
    assert metrics['images'] == 2
    # After so few epochs int8 may cost any amount: that is not what is tested here.
    assert run_tool('export', 'configs/streets.py', best, '--out', 'exported', '--int8', '--max-drop', 100).status == 0
    model = next((tmp_path / 'exported').glob('*int8*.xml'))
    writer = cv2.VideoWriter('drive.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 10, SIZE[::-1])
    for index in range(5):
        writer.write(scene(index, SIZE)[0])
    writer.release()
    assert run_tool('predict', model, 'drive.mp4', '--out', 'predicted').status == 0
    videos = [path for path in (tmp_path / 'predicted').rglob('*') if path.suffix in ('.mp4', '.webm')]
    assert videos
    assert cv2.VideoCapture(str(videos[0])).read()[1].shape[2] == 3


def test_the_pages_messages_are_those_of_the_code():
    page = (ROOT / 'docs/own_data.md').read_text()
    code = ''.join(path.read_text() for path in (ROOT / 'mmseg_erfnet').rglob('*.py'))
    flat = re.sub(r"'\s*\n\s*f?'", '', code)
    said = re.findall(r'^\| `([^`]+)`', page, re.MULTILINE)
    assert len(said) >= 10
    for message in said:
        fixed = [part.strip() for part in message.split('...') if len(part.strip()) > 3]
        assert fixed, message
        for part in fixed:
            assert part in flat, part


def test_the_pages_options_are_there():
    page = (ROOT / 'docs/own_data.md').read_text()
    tool = ''.join(path.read_text() for path in (ROOT / 'mmseg_erfnet/cli').glob('*.py'))
    for option in set(re.findall(r'`(--[a-z-]+)', page)):
        assert f"'{option}'" in tool, option


def test_the_pages_layouts(tmp_path):
    """A classes.csv as the page shows it is read."""
    page = (ROOT / 'docs/own_data.md').read_text()
    (table,) = re.findall(r'```csv\n(.*?)```', page, re.DOTALL)
    source = exports.plain(tmp_path / 'source', 'binary')
    put(source / 'classes.csv', table)
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert prepared.classes.names == tuple(np.array([line.split(',') for line in table.split()[1:]])[:, 0])
