"""What is handed on of a run: its weights, small, and its log."""

import hashlib
import json

import pytest
import torch

from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.models.checkpoints import load_checkpoint_file
from mmseg_erfnet.release import publish


def test_published_file_is_small_and_holds_the_weights(small_config, tmp_path):
    train(small_config('erfnet_camvid', tmp_path / 'run'), epochs=2)
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


def test_what_is_no_checkpoint_publishes_nothing(tmp_path):
    (tmp_path / 'no.pth').write_bytes(b'no checkpoint')
    with pytest.raises(CheckpointError, match=r'no\.pth'):
        publish(tmp_path / 'no.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
