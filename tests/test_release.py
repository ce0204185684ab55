"""The published part of a run: its weights, without the rest of the checkpoint, and its log."""

import hashlib
import itertools
import json

import pytest
import torch
from conftest import ROOT
from helpers.tools import run_tool

from mmseg_erfnet import files
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import CheckpointError, StorageError, UsageError
from mmseg_erfnet.models.checkpoints import load_checkpoint_file, save_checkpoint_file
from mmseg_erfnet.release import publish


def test_published_file_is_small_and_holds_the_weights(small_config, tmp_path):
    few = {'train_dataloader.dataset.indices': 4, 'val_dataloader.dataset.indices': 1}
    train(small_config('erfnet_camvid', tmp_path / 'run', **few), epochs=2)
    source, target = tmp_path / 'run' / 'epoch_2.pth', tmp_path / 'weights' / 'small.pth'
    said = publish(source, target)

    assert hashlib.sha256(target.read_bytes()).hexdigest() in said
    assert target.stat().st_size < 5e6
    before, after = load_checkpoint_file(source)['state_dict'], torch.load(target, weights_only=True)
    assert after['state_dict'].keys() == before.keys()
    for name, value in after['state_dict'].items():
        assert value.dtype == (torch.float16 if value.ndim == 4 else before[name].dtype)
        torch.testing.assert_close(value.to(before[name].dtype), before[name], rtol=1e-3, atol=1e-6)
    assert after.keys() == {'meta', 'state_dict'}
    assert len(after['meta']['dataset_meta']['classes']) == 32

    log = json.loads(target.with_suffix('.log.json').read_text())
    assert [line['x'] for line in log['val']] == [1, 2]
    assert log['train'].keys() == {'1', '2'}


def test_the_models_of_a_release_come_from_the_published_file(source, tmp_path, monkeypatch, capsys):
    exported = []

    def export_release(cfg, checkpoint, out):
        exported.append((cfg.model.decode_head.num_classes, checkpoint, out))
        return [out / 'out.onnx']

    exporter = pytest.importorskip('mmseg_erfnet.export.exporter')
    monkeypatch.setattr(exporter, 'export_release', export_release)
    monkeypatch.setattr(exporter, 'check_data', lambda cfg: None)
    target, config = tmp_path / 'out.pth', ROOT / 'configs/erfnet_camvid11.py'
    assert run_tool('publish_checkpoint', source, target, '--export', config).status == 0
    assert exported == [(11, str(target), tmp_path)]
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / 'out.onnx')


def test_a_release_that_cannot_be_exported_publishes_nothing(source, tmp_path, monkeypatch):
    exporter = pytest.importorskip('mmseg_erfnet.export.exporter')
    target, config = tmp_path / 'out.pth', ROOT / 'configs/erfnet_camvid11.py'
    nowhere = [f'{part}_dataloader.dataset.data_root={tmp_path}' for part in ('train', 'val')]
    ended = run_tool('publish_checkpoint', source, target, '--export', config, '--cfg-options', *nowhere)
    assert (ended.status, 'cannot be read' in ended.sentence) == (1, True)
    monkeypatch.setattr(exporter, 'check_data', lambda cfg: None)
    (tmp_path / 'out.onnx').write_text('a model of the user')
    ended = run_tool('publish_checkpoint', source, target, '--export', config)
    assert (ended.status, 'out.onnx exists, and is not a result' in ended.sentence) == (1, True)
    assert {path.name for path in tmp_path.iterdir()} == {'a.pth', 'out.onnx'}


def test_what_is_no_checkpoint_publishes_nothing(tmp_path):
    (tmp_path / 'no.pth').write_bytes(b'no checkpoint')
    with pytest.raises(CheckpointError, match=r'no\.pth'):
        publish(tmp_path / 'no.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


@pytest.fixture
def source(tmp_path):
    """A checkpoint without the files of its run."""
    torch.save(
        dict(state_dict={'module.conv.weight': torch.full((1, 1, 1, 1), 1e6)}, meta=dict(epoch=3)), tmp_path / 'a.pth'
    )
    return tmp_path / 'a.pth'


def test_weights_beyond_the_range_of_float16_stay_as_they_are(source, tmp_path):
    publish(source, tmp_path / 'out.pth')
    assert load_checkpoint_file(tmp_path / 'out.pth')['state_dict']['conv.weight'].item() == 1e6


def test_publishing_replaces_nothing_but_what_it_wrote(source, tmp_path):
    before = source.read_bytes()
    target = tmp_path / 'out.pth'
    publish(source, target)
    publish(source, target)
    for name in ('out.pth', 'out.log.json'):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b'precious')
        with pytest.raises(UsageError, match=rf'{name} exists and is not what would be written'):
            publish(source, target)
        assert (tmp_path / name).read_bytes() == b'precious'
        (tmp_path / name).write_bytes(whole)
    with pytest.raises(UsageError, match=r'a\.pth exists'):
        publish(source, source)
    assert source.read_bytes() == before


@pytest.mark.parametrize('number', [1, 2])
def test_a_full_disk_publishes_neither_file(source, tmp_path, monkeypatch, number):
    """The first or the second write fails in the kernel."""
    numbers = itertools.count(1)
    monkeypatch.setattr(files.secrets, 'token_hex', lambda length: str(next(numbers)))
    (tmp_path / f'{files.TEMPORARY}{number}{(".pth", ".json")[number - 1]}').symlink_to('/dev/full')
    with pytest.raises(StorageError, match=r'out\.(pth|log\.json) cannot be written \(No space left on device\)'):
        publish(source, tmp_path / 'out.pth')
    assert list(tmp_path.iterdir()) == [source]


def test_converting_onto_the_source_is_refused(tmp_path):
    torch.save({'layer.weight': torch.ones(2)}, tmp_path / 'a.pth')
    before = (tmp_path / 'a.pth').read_bytes()
    with pytest.raises(UsageError, match=r'a\.pth exists and is not what would be written'):
        save_checkpoint_file(dict(state_dict={}), tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == before
