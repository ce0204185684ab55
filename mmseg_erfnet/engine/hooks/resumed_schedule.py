"""Resume a run with a different schedule."""

import warnings

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmseg_erfnet.engine.checkpointing import purpose_of_loading
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.registry import HOOKS

# Entries of a scheduler's state that change during a run; all others come from the config.
COURSE = ('last_step', '_global_step', '_last_value', 'verbose')


@HOOKS.register_module()
class ResumedScheduleHook(Hook):
    """Give a resumed run the learning rates that a fresh run of its config would have from that epoch on.

    MMEngine restores the whole schedule from the checkpoint, including its length: a 10-epoch run resumed for 20 epochs
    trains with a learning rate of 0 from the eleventh epoch on. If the checkpoint's schedule differs from the config's,
    this hook replaces it by the config's, advanced to the checkpoint's position, before the runner reads it. If the two
    are the same, the hook changes nothing, and the run continues bit-exactly.

    Raises:
        UsageError: The checkpoint has been trained for longer than the config's schedule.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if purpose_of_loading(runner) != 'resume' or not checkpoint.get('param_schedulers'):
            return
        meta = checkpoint['meta']
        epoch, iteration = meta['epoch'], meta['iter']
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        done, planned = (epoch, runner.max_epochs) if by_epoch else (iteration, runner.max_iters)
        unit = 'epochs' if by_epoch else 'iterations'
        if done > planned:
            raise UsageError(
                f'The checkpoint was trained for {done} {unit}, but this schedule has {planned}: resume with at least '
                f'{done} {unit}, or start a new run in another --work-dir.'
            )
        schedulers = runner.param_schedulers
        if not isinstance(schedulers, list) or _course_apart(checkpoint['param_schedulers']) == _course_apart(
            [scheduler.state_dict() for scheduler in schedulers]
        ):
            return
        _advance(schedulers, epoch if by_epoch else 0, iteration)
        checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]
        names = {name for scheduler in schedulers for name in (scheduler.param_name, f'initial_{scheduler.param_name}')}
        # Schedulers of another optimiser do not fit; loading them reports that.
        groups = runner.optim_wrapper.optimizer.param_groups
        for saved, group in zip(checkpoint['optimizer']['param_groups'], groups, strict=False):
            saved.update({name: group[name] for name in names if name in group})
        runner.logger.info(
            f'The checkpoint is from a run with another schedule: from {unit[:-1]} {done + 1} on, the learning rate is '
            f'that of a fresh run of {planned} {unit}.'
        )


def _course_apart(states: list[dict]) -> list[dict]:
    return [{key: _plain(value) for key, value in state.items() if key not in COURSE} for state in states]


def _plain(value: object) -> object:
    # make_plain turns what a checkpoint holds into lists and dicts.
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _advance(schedulers: list, epochs: int, iterations: int) -> None:
    """Step new schedulers as MMEngine's ``ParamSchedulerHook`` does in the given number of epochs and iterations."""
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    with warnings.catch_warnings():
        # MMEngine expects an optimiser step before each scheduler step.
        warnings.filterwarnings('ignore', message='Detected call of `scheduler.step')
        for epoch in range(max(epochs, 1)):
            for _ in range(iterations // max(epochs, 1)):
                for scheduler in by_iteration:
                    scheduler.step()
            for scheduler in by_epoch if epoch < epochs else ():
                scheduler.step()
