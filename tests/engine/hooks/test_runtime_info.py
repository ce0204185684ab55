"""Losses leave the device when they are logged."""

from types import SimpleNamespace

import pytest
import torch
from helpers.oracle import Oracle  # noqa: F401  (registers it)

from mmseg_erfnet.engine.hooks import FiniteLossHook, LazyRuntimeInfoHook
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import DivergenceError

HOST_COPIES = ('item', 'tolist', 'cpu', 'numpy', '__float__', '__bool__')


class Loss(torch.Tensor):
    """A loss that counts how often it is looked at."""

    looks = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in HOST_COPIES:
            cls.looks += 1
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.fixture
def runner(tmp_path):
    logged = {}
    hub = SimpleNamespace(
        update_scalar=lambda name, value: logged.setdefault(name, []).append(value), update_info=lambda *args: None
    )
    return SimpleNamespace(
        message_hub=hub,
        logged=logged,
        iter=0,
        epoch=0,
        max_iters=100,
        work_dir=str(tmp_path),
        train_dataloader=range(25),
        hooks=[],
    )


def steps(runner, hooks, losses) -> None:
    for index, loss in enumerate(losses):
        runner.iter = index
        sample = SimpleNamespace(img_path=f'{index}.png')
        for hook in hooks:
            hook.after_train_iter(
                runner, index % 25, dict(data_samples=[sample]), dict(loss=loss, acc=torch.tensor([2.0]))
            )


def test_what_is_logged_is_fetched_together(runner):
    losses = [torch.tensor(float(index)).as_subclass(Loss) for index in range(25)]
    Loss.looks = 0
    steps(runner, [LazyRuntimeInfoHook(), FiniteLossHook()], losses[:9])
    assert Loss.looks == 0
    assert runner.logged == {}
    hooks = [LazyRuntimeInfoHook(), FiniteLossHook()]
    steps(runner, hooks, losses)
    assert runner.logged['train/loss'] == list(range(25)), 'each iteration is logged, in order'
    assert runner.logged['train/acc'] == [2.0] * 25
    assert Loss.looks <= 2 * 3, 'in two hooks at iterations 10, 20 and 25'


@pytest.mark.parametrize('stage', ['after_train_epoch', 'before_val', 'before_save_checkpoint', 'tenth'])
def test_a_loss_that_is_no_number_ends_a_run_within_ten_iterations(runner, stage):
    hook = FiniteLossHook()
    losses = [torch.tensor(1.0), torch.tensor(float('nan')), *[torch.tensor(1.0)] * 7]
    steps(runner, [hook], losses)
    sample = SimpleNamespace(img_path='9.png')
    last = dict(
        tenth=lambda: hook.after_train_iter(runner, 9, dict(data_samples=[sample]), dict(loss=torch.tensor(1.0))),
        before_save_checkpoint=lambda: hook.before_save_checkpoint(runner, {}),
    ).get(stage, lambda: getattr(hook, stage)(runner))
    with pytest.raises(DivergenceError, match=r'The loss is nan at iteration 2 \(epoch 1\) on 1\.png\. Nothing has'):
        last()


def test_a_run_logs_what_it_always_has(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', tmp_path / 'run', **{'custom_hooks': [], 'default_hooks.logger.interval': 2})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = cfg.default_hooks.checkpoint.save_best = None
    seen = {}
    for name, kind in (('lazy', 'mmseg_erfnet.LazyRuntimeInfoHook'), ('eager', 'RuntimeInfoHook')):
        cfg.work_dir, cfg.default_hooks.runtime_info = str(tmp_path / name), dict(type=kind)
        hub = train(cfg, epochs=2).message_hub
        seen[name] = hub.log_scalars['train/loss'].data[0].tolist()
    assert len(seen['lazy']) == 6
    assert seen['lazy'] == pytest.approx(seen['eager'])
