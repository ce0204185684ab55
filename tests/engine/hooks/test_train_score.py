"""Metrics on training frames: when they are computed, and that they are logged."""

import json

import pytest
from helpers.oracle import Oracle  # noqa: F401  (registers it)

from mmseg_erfnet.engine.hooks import CurvesHook, TrainScoreHook
from mmseg_erfnet.engine.hooks import curves as curves_module
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import UsageError


@pytest.mark.parametrize(('interval', 'epochs'), [(None, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_scored_at_its_interval_and_at_the_end(small_config, tmp_path, interval, epochs):
    cfg = small_config('erfnet_camvid', tmp_path, **{'train_dataloader.dataset.indices': 4})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.val_dataloader.dataset.indices = 1
    cfg.custom_hooks = [dict(type='mmseg_erfnet.TrainScoreHook', num_images=2, interval=interval)]
    cfg.default_hooks.checkpoint.update(interval=5, save_best=None)
    train(cfg, epochs=5)
    [scalars] = tmp_path.glob('*/vis_data/scalars.json')
    lines = map(json.loads, scalars.read_text().splitlines())
    assert [line['step'] for line in lines if 'train/mIoU' in line] == epochs
    [log] = tmp_path.glob('*/*.log')
    assert 'Validation, checkpoints and pictures took ' in log.read_text()


@pytest.mark.parametrize('arguments', [dict(num_images=0), dict(interval=0)])
def test_wrong_arguments(arguments):
    with pytest.raises(UsageError, match='must be 1 or more'):
        TrainScoreHook(**arguments)


def test_curves_take_one_percent_of_the_time(monkeypatch):
    now, drawn = [0.0], []

    def draw(hook, runner):
        drawn.append(now[0])
        now[0] += 0.5

    monkeypatch.setattr(curves_module.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(CurvesHook, '_draw', draw)
    hook = CurvesHook()
    for _ in range(12):
        hook.after_val_epoch(None)
        now[0] += 9.5
    hook.after_train(None)
    assert drawn == [0.0, 57.5, 115.0], 'the first validation, one after 50 s, and the end'
