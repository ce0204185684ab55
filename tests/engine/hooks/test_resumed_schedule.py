"""A run that is resumed for another number of epochs learns at the rates of a fresh run of that length."""

import json

import pytest
from helpers.oracle import Oracle  # noqa: F401  (registers it)

from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import UsageError

WARM_UP = dict(type='LinearLR', by_epoch=False, start_factor=0.25, begin=0, end=30)
POLY = dict(type='PolyLR', by_epoch=True, convert_to_iter_based=True, power=0.9, begin=0, end=20)
STEPS = dict(type='MultiStepLR', by_epoch=True, milestones=[5, 10], gamma=0.5)


def rates(small_config, folder, epochs: int, resume: bool = False, schedule=(WARM_UP, POLY)) -> list[float]:
    """Train three iterations an epoch; return the learning rate of each."""
    cfg = small_config('erfnet_camvid', folder, **{'custom_hooks': [], 'default_hooks.logger.interval': 1})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.optim_wrapper.pop('paramwise_cfg')
    cfg.param_scheduler = [dict(scheduler) for scheduler in schedule]
    cfg.train_cfg.max_epochs = 20
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = cfg.default_hooks.checkpoint.save_best = None
    before = set(folder.glob('*/vis_data/scalars.json'))
    train(cfg, epochs=epochs, resume=resume)
    [path] = set(folder.glob('*/vis_data/scalars.json')) - before
    return [json.loads(line)['train/lr'] for line in path.read_text().splitlines()]


@pytest.mark.parametrize('schedule', [(WARM_UP, POLY), (STEPS,)])
def test_the_rest_is_that_of_a_fresh_run(small_config, tmp_path, schedule):
    fresh = rates(small_config, tmp_path / 'fresh', 4, schedule=schedule)
    first = rates(small_config, tmp_path / 'run', 2, schedule=schedule)
    rest = rates(small_config, tmp_path / 'run', 4, resume=True, schedule=schedule)
    assert len(rest) == 6
    assert rest == pytest.approx(fresh[6:], rel=1e-9)
    assert min(rest[:-1]) > 0
    assert first != fresh[:6]
    texts = [path.read_text() for path in (tmp_path / 'run').glob('*/*.log')]
    assert sum('from epoch 3 on, the learning rate is that of a fresh run of 4 epochs.' in text for text in texts) == 1


def test_of_the_same_length_nothing_is_touched(small_config, tmp_path):
    rates(small_config, tmp_path / 'run', 2)
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    rates(small_config, tmp_path / 'run', 2, resume=True)
    assert not any('fresh run' in path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))


def test_more_done_than_is_asked_for_is_refused(small_config, tmp_path):
    rates(small_config, tmp_path / 'run', 3)
    with pytest.raises(UsageError, match='was trained for 3 epochs, but this schedule has 2: resume with at least 3'):
        rates(small_config, tmp_path / 'run', 2, resume=True)
