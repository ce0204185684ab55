"""Metrics on training frames: when they are computed, and that they are logged."""

import json

import pytest
import torch
from helpers.oracle import Oracle

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


def test_averages_are_what_is_scored_and_shown(small_config, tmp_path, monkeypatch):
    seen, forward = [], Oracle.forward

    def watch(model, inputs, data_samples=None, mode='tensor'):
        if mode == 'predict':
            seen.append(model.wrong.item())
        return forward(model, inputs, data_samples, mode)

    monkeypatch.setattr(Oracle, 'forward', watch)
    cfg = small_config('erfnet_camvid', tmp_path, drawing=True, **{'train_dataloader.dataset.indices': 8})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.val_dataloader.dataset.indices = 1
    hooks = [dict(type='mmseg_erfnet.TrainScoreHook', num_images=2), dict(type='mmseg_erfnet.TimelapseHook')]
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.4), *hooks]
    cfg.default_hooks.checkpoint.update(save_best=None)
    train(cfg, epochs=2)
    before, _, average = dict.fromkeys(seen)  # in the first picture of the timelapse, and after each epoch
    assert before == 1
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert saved['state_dict']['wrong'] == average
    assert saved['ema_state_dict']['module.wrong'] != average, 'the weights that training continues with'


def test_the_evaluators_ignore_index_is_used(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', tmp_path, **{'train_dataloader.dataset.indices': 4})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor, wrong=0.0)
    cfg.val_dataloader.dataset.indices = 1
    cfg.val_evaluator.ignore_index = 4
    cfg.custom_hooks = [dict(type='mmseg_erfnet.TrainScoreHook', num_images=2)]
    cfg.default_hooks.checkpoint.update(save_best=None)
    runner = train(cfg, epochs=1)
    [hook] = [hook for hook in runner.hooks if isinstance(hook, TrainScoreHook)]
    assert hook.evaluator.metrics[0].ignore_index == 4


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
