"""Change the length of a schedule."""

from copy import deepcopy
from fractions import Fraction

from mmengine.config import Config

from mmseg_erfnet.errors import UsageError

ENDLESS = 10**9  # mmengine's INF, the default end of a scheduler
COUNTS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
# Arguments of hooks that count epochs: of EMAHook, CheckpointHook, and hooks that switch something.
HOOK_EPOCHS = ('begin_epoch', 'save_begin', 'switch_epoch', 'num_last_epochs')


def shorten(cfg: Config, epochs: int) -> Config:
    """Return a copy of a config whose epoch-based schedule has another length.

    Every learning rate, including an iteration-based warm-up, lasts for the same fraction of the run as before. A decay
    factor per epoch is changed so that the final learning rate stays the same. An interval of a hook is limited to the
    length of the run.

    Args:
        cfg: A config with ``train_cfg.max_epochs``.
        epochs: The new number of epochs.

    Raises:
        UsageError: The schedule counts iterations, or ``epochs`` is less than 1.
    """
    before = (cfg.get('train_cfg') or {}).get('max_epochs')
    if before is None:
        raise UsageError(
            'This schedule counts iterations, not epochs; set train_cfg.max_iters and the end of each '
            'scheduler with --cfg-options instead.'
        )
    if epochs < 1:
        raise UsageError(f'The number of epochs must be 1 or more: got {epochs}.')
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
        # An end one epoch after the run's end, which avoids a learning rate of 0 in the last epoch, stays there.
        return epochs + count - before if by_epoch and count > before else round(count * share)

    for key in COUNTS:
        value = scheduler.get(key)
        if isinstance(value, (list, tuple)):
            scheduler[key] = [scaled(count) for count in value]
        elif isinstance(value, int) and value < ENDLESS:
            # A scheduler of non-zero length keeps at least one step.
            least = scheduler.get('begin', 0) + 1 if key == 'end' else 0 if key == 'begin' else 1
            scheduler[key] = max(scaled(value), least)
    if 'gamma' in scheduler and not {'milestones', 'step_size'} & scheduler.keys():
        # ExponentialLR's factor per epoch or iteration.
        scheduler['gamma'] **= float(1 / share)


def _scale_hook(hook: dict, share: Fraction, epochs: int) -> None:
    for key in HOOK_EPOCHS:
        if isinstance(hook.get(key), int):
            hook[key] = round(hook[key] * share)
    kind = str(hook.get('type', '')).rpartition('.')[2]
    counts_epochs = kind == 'TimelapseHook' or (kind.endswith('CheckpointHook') and hook.get('by_epoch', True))
    if counts_epochs and isinstance(hook.get('interval'), int):
        hook['interval'] = min(hook['interval'], epochs)
