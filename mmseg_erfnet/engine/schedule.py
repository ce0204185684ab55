"""Schedules of another length."""

from copy import deepcopy
from fractions import Fraction

from mmengine.config import Config

from mmseg_erfnet.errors import UsageError

ENDLESS = 10**9  # mmengine's INF, the end of a scheduler that names none
COUNTS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
# What hooks count in epochs: EMAHook, CheckpointHook, and hooks that switch something.
HOOK_EPOCHS = ('begin_epoch', 'save_begin', 'switch_epoch', 'num_last_epochs')


def shorten(cfg: Config, epochs: int) -> Config:
    """Return a copy of a config with an epoch-based schedule of another length.

    Every learning rate lasts the same share of the run as before, also a warm-up that counts iterations; a factor
    per epoch becomes the one that reaches the same rate in the end. What a hook does every so many epochs happens at
    the end, at the latest.

    Args:
        cfg: A config with ``train_cfg.max_epochs``.
        epochs: The new number of epochs.

    Raises:
        UsageError: The schedule counts iterations, or there would be no epoch left.
    """
    before = (cfg.get('train_cfg') or {}).get('max_epochs')
    if before is None:
        raise UsageError(
            'This schedule counts iterations, not epochs; set train_cfg.max_iters and the end of each '
            'scheduler with --cfg-options instead.'
        )
    if epochs < 1:
        raise UsageError(f'{epochs} epochs are none; give 1 or more.')
    cfg = deepcopy(cfg)
    share = Fraction(epochs, before)
    loop = cfg.train_cfg
    loop.max_epochs = epochs
    loop.val_interval = min(loop.get('val_interval', 1), epochs)
    if 'val_begin' in loop:
        loop.val_begin = min(max(round(loop.val_begin * share), 1), epochs)
    if loop.get('dynamic_intervals'):
        loop.dynamic_intervals = [
            (round(start * share), min(interval, epochs)) for start, interval in loop.dynamic_intervals
        ]
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        _scale_scheduler(scheduler, before, epochs)
    hooks = cfg.get('default_hooks') or {}
    for hook in (*filter(None, hooks.values()), *(cfg.get('custom_hooks') or [])):
        _scale_hook(hook, share, epochs)
    return cfg


def _scale_scheduler(scheduler: dict, before: int, epochs: int) -> None:
    share, by_epoch = Fraction(epochs, before), scheduler.get('by_epoch', True)

    def scaled(count: int) -> int:
        # What ends an epoch after the run does, so that its last epoch does not learn at rate 0, still does.
        return epochs + count - before if by_epoch and count > before else round(count * share)

    for key in COUNTS:
        value = scheduler.get(key)
        if isinstance(value, (list, tuple)):
            scheduler[key] = [scaled(count) for count in value]
        elif isinstance(value, int) and value < ENDLESS:
            # One that had a length keeps one.
            least = scheduler.get('begin', 0) + 1 if key == 'end' else 0 if key == 'begin' else 1
            scheduler[key] = max(scaled(value), least)
    if 'gamma' in scheduler and not {'milestones', 'step_size'} & scheduler.keys():
        # ExponentialLR's, by the epoch or the iteration.
        scheduler['gamma'] **= float(1 / share)


def _scale_hook(hook: dict, share: Fraction, epochs: int) -> None:
    for key in HOOK_EPOCHS:
        if isinstance(hook.get(key), int):
            hook[key] = round(hook[key] * share)
    kind = str(hook.get('type', '')).rpartition('.')[2]
    counts_epochs = kind == 'TimelapseHook' or (kind.endswith('CheckpointHook') and hook.get('by_epoch', True))
    if counts_epochs and isinstance(hook.get('interval'), int):
        hook['interval'] = min(hook['interval'], epochs)
