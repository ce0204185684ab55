"""Console lines of a run: progress within an epoch, and the metrics of each validation."""

import datetime
import math

from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, LogProcessor, Runner

from mmseg_erfnet.registry import LOG_PROCESSORS

# Key in the message hub for the name, value and step of the best validation so far.
BEST = 'best_so_far'


@LOG_PROCESSORS.register_module()
class ProgressLogProcessor(LogProcessor):
    """mmengine's ``LogProcessor`` with more readable lines.

    During training: epoch, iteration, loss, learning rate, images per second, remaining time including validations, and
    the best score so far. After a validation: the score that selects the best checkpoint, its best value so far, and
    the other mean metrics, without per-class metrics. TensorBoard and the other loggers receive the same values as
    with mmengine's.
    """

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Return what mmengine's ``LogProcessor`` returns, with our own line."""
        tag, _ = super().get_log_after_iter(runner, batch_idx, mode)
        return tag, self.progress_line(runner, batch_idx, mode)

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """Return what mmengine's ``LogProcessor`` returns, with our own line, and record the best score."""
        tag, text = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        values = {name.removeprefix(f'{mode}/'): value for name, value in tag.items()}
        means = {
            name: float(value)
            for name, value in values.items()
            if '/' not in name and name not in ('time', 'data_time') and isinstance(value, (int, float))
        }
        return tag, self._scores_line(runner, means, mode) if means else text

    def _scores_line(self, runner: Runner, means: dict[str, float], mode: str) -> str:
        parts = {name: f'{name} {value:.{decimals(name)}f}' for name, value in means.items()}
        if mode != 'val':
            return f'{mode}: {"  ".join(parts.values())}'
        unit, step = step_of(runner)
        chooser, less = chosen_by(runner, means)
        best = runner.message_hub.runtime_info.get(BEST)
        value = means[chooser]
        if best is None or best[0] != chooser or math.isnan(best[1]) or (value < best[1] if less else value > best[1]):
            best = [chooser, value, step]
            runner.message_hub.update_info(BEST, best)
        first = f'{parts.pop(chooser)} (best {best[1]:.{decimals(chooser)}f}, {unit} {best[2]})'
        order = sorted(parts, key=lambda name: ('loss' not in name, name.startswith('mIoU')))
        return f'val {unit} {step}: {"  ".join([first, *(parts[name] for name in order)])}'

    def progress_line(self, runner: Runner, batch_idx: int, mode: str) -> str:
        """Return the progress line after an iteration of 'train', 'val' or 'test'."""
        hub = runner.message_hub
        done, total = batch_idx + 1, self._get_dataloader_size(runner, mode)
        if mode != 'train':
            return f'{mode} [{_pad(done, total)}/{total}]  {_duration(hub.get_info("eta", 0))} left'
        if self.by_epoch:
            parts = [f'epoch {runner.epoch + 1}/{runner.max_epochs} [{_pad(done, total)}/{total}]']
        else:
            done, total = runner.iter + 1, runner.max_iters
            parts = [f'iteration {_pad(done, total)}/{total} (epoch {_epoch(runner):.1f})']
        scalars = hub.log_scalars
        if 'train/loss' in scalars:
            parts.append(f'loss {scalars["train/loss"].mean(self.window_size):.4f}')
        if 'train/lr' in scalars:
            parts.append(f'lr {scalars["train/lr"].current():.1e}')
        if 'train/time' in scalars:
            rate = _batch_size(runner) / scalars['train/time'].mean(self.window_size)
            parts.append(f'{rate:.3g} img/s')
        if BEST in hub.runtime_info:
            name, value, _ = hub.get_info(BEST)
            parts.append(f'best {name} {value:.{decimals(name)}f}')
        if 'eta' in hub.runtime_info:
            parts.append(f'{_duration(hub.get_info("eta") + _time_of_validations(runner))} left')
        return '  '.join(parts)


def decimals(metric: str) -> int:
    """Return the number of decimals to show for a metric: two for percentages, four for losses."""
    return 4 if 'loss' in metric.lower() else 2


def step_of(runner: Runner) -> tuple[str, int]:
    """Return the unit of a run, 'epoch' or 'iteration', and how many are completed; 0 if it only validates."""
    loop = runner._train_loop
    if isinstance(loop, dict) or loop is None:
        return 'epoch', 0
    return ('epoch', runner.epoch) if isinstance(loop, EpochBasedTrainLoop) else ('iteration', runner.iter)


def chosen_by(runner: Runner, means: dict[str, float]) -> tuple[str, bool]:
    """Return the metric that selects the best checkpoint, else mIoU or the first metric; and whether less is better."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            for metric, rule in zip(hook.key_indicators, hook.rules, strict=False):
                if metric in means:
                    return metric, rule == 'less'
    metric = 'mIoU' if 'mIoU' in means else next(iter(means))
    return metric, 'loss' in metric.lower()


def _pad(number: int, total: int) -> str:
    return str(number).rjust(len(str(total)))


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def _batch_size(runner: Runner) -> int:
    return runner.cfg.train_dataloader.batch_size * runner.world_size


def _epoch(runner: Runner) -> float:
    return (runner.iter + 1) * _batch_size(runner) / len(runner.train_dataloader.dataset)


def validations_ahead(runner: Runner) -> int:
    """Return the number of validations that a training run has still to make."""
    if runner.val_loop is None:
        return 0
    loop = runner.train_loop
    left = loop.max_epochs - loop.epoch if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters - loop.iter
    return left // loop.val_interval


def _time_of_validations(runner: Runner) -> float:
    """Return the estimated seconds of the remaining validations, based on those so far."""
    times = runner.message_hub.log_scalars.get('val/time')
    return 0.0 if times is None else validations_ahead(runner) * len(runner.val_dataloader) * times.mean()
