"""Schedules of another length."""

from copy import deepcopy

from mmengine.config import Config

from mmseg_erfnet.errors import UsageError


def shorten(cfg: Config, epochs: int) -> Config:
    """Return a copy of a config with an epoch-based schedule of another length.

    Every learning rate lasts the same share of the run as before.

    Warm-up and other schedulers that count iterations are left alone.

    Args:
        cfg: A config with ``train_cfg.max_epochs``.
        epochs: The new number of epochs.

    Raises:
        UsageError: The schedule counts iterations, or there would be no epoch left.
    """
    before = cfg.train_cfg.get('max_epochs')
    if before is None:
        raise UsageError(
            'This schedule counts iterations, not epochs; set train_cfg.max_iters and the end of each '
            'scheduler with --cfg-options instead.'
        )
    if epochs < 1:
        raise UsageError(f'{epochs} epochs are none; give 1 or more.')

    cfg = deepcopy(cfg)

    def scaled(epoch: int) -> int:
        # What ends an epoch after the run does, so that its last epoch does not learn at rate 0, still does.
        return epochs + epoch - before if epoch > before else round(epoch * epochs / before)

    cfg.train_cfg.max_epochs = epochs
    cfg.train_cfg.val_interval = min(cfg.train_cfg.get('val_interval', 1), epochs)
    for scheduler in cfg.param_scheduler:
        if scheduler.get('by_epoch', True):
            for key in ('begin', 'end', 'T_max'):
                if isinstance(scheduler.get(key), int):
                    scheduler[key] = scaled(scheduler[key])
            if 'milestones' in scheduler:
                scheduler.milestones = [scaled(epoch) for epoch in scheduler.milestones]
    return cfg
