import pytest
from mmengine.config import Config

from mmseg_erfnet.engine.schedule import shorten
from mmseg_erfnet.errors import UsageError


def config(*schedulers: dict, epochs: int = 100, **others) -> Config:
    loop = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=5)
    return Config(dict(train_cfg=loop, param_scheduler=list(schedulers), **others))


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (dict(type='LinearLR', by_epoch=False, begin=0, end=500), dict(begin=0, end=50)),
        (dict(type='LinearLR', by_epoch=False, begin=0, end=3), dict(end=1)),
        (dict(type='LinearLR', by_epoch=True, begin=0, end=4), dict(end=1)),
        (dict(type='PolyLR', by_epoch=True, begin=0, end=101), dict(end=11)),
        (dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=100, T_max=80), dict(begin=2, end=10, T_max=8)),
        (dict(type='MultiStepLR', milestones=[50, 80, 90], gamma=0.5), dict(milestones=[5, 8, 9], gamma=0.5)),
        (dict(type='StepLR', step_size=30, gamma=0.5), dict(step_size=3, gamma=0.5)),
        (dict(type='CosineRestartLR', periods=[40, 60], end=10**9), dict(periods=[4, 6], end=10**9)),
        (dict(type='ExponentialLR', gamma=0.9), dict(gamma=pytest.approx(0.9**10))),
    ],
)
def test_each_rate_keeps_its_share_of_the_run(before, after):
    cfg = config(before)
    scheduler = shorten(cfg, 10).param_scheduler[0]
    assert {key: scheduler[key] for key in after} == after
    assert cfg.param_scheduler[0] == before, 'the config itself stays'


def test_hooks_that_would_never_act_do():
    hooks = dict(
        default_hooks=dict(checkpoint=dict(type='mmseg_erfnet.SafeCheckpointHook', interval=10)),
        custom_hooks=[
            dict(type='mmseg_erfnet.TimelapseHook', interval=20),
            dict(type='EMAHook', begin_epoch=50),
            dict(type='CheckpointHook', by_epoch=False, interval=4000),
        ],
    )
    cfg = shorten(config(**hooks), 4)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=4, val_interval=4)
    assert cfg.default_hooks.checkpoint.interval == 4
    assert [hook.get('interval', hook.get('begin_epoch')) for hook in cfg.custom_hooks] == [4, 2, 4000]


@pytest.mark.parametrize('schedulers', [None, [], dict(type='LinearLR', by_epoch=False, begin=0, end=500)])
def test_schedules_of_every_form(schedulers):
    cfg = config()
    cfg.param_scheduler = schedulers
    cfg = shorten(cfg, 50)
    assert cfg.param_scheduler in (None, [], dict(type='LinearLR', by_epoch=False, begin=0, end=250))


def test_what_counts_iterations_is_refused():
    cfg = config()
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=100)
    with pytest.raises(UsageError, match='counts iterations, not epochs'):
        shorten(cfg, 10)
