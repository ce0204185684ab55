"""What a run prints: one line of progress."""

import datetime
import re

import numpy as np
from mmengine.runner import EpochBasedTrainLoop, LogProcessor, Runner

from mmseg_erfnet.registry import LOG_PROCESSORS


@LOG_PROCESSORS.register_module()
class ProgressLogProcessor(LogProcessor):
    """mmengine's ``LogProcessor`` with lines for people.

    While it trains: epoch, iteration, loss, learning rate, images a second, the time that remains, validations
    included, and the best mIoU so far. After a validation: the means, without the metrics of the single classes, which
    stand in the metric's table. What goes to TensorBoard and the other loggers is the same as ever.
    """

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Return what mmengine's ``LogProcessor`` returns, with another line."""
        tag, _ = super().get_log_after_iter(runner, batch_idx, mode)
        return tag, self.progress_line(runner, batch_idx, mode)

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """Return what mmengine's ``LogProcessor`` returns, with a shorter line, and keep the best mIoU in mind."""
        tag, text = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        score = tag.get('val/mIoU', tag.get('mIoU'))
        if mode == 'val' and score is not None:
            hub = runner.message_hub
            hub.update_info('best_mIoU', float(np.fmax(score, hub.get_info('best_mIoU', np.nan))))
        return tag, re.sub(r'\S*(?:IoU|Acc)/[^:]+: \S+  ', '', text + '  ').rstrip()

    def progress_line(self, runner: Runner, batch_idx: int, mode: str) -> str:
        """Describe where a run is, after an iteration of 'train', 'val' or 'test'."""
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
        if 'best_mIoU' in hub.runtime_info:
            parts.append(f'best mIoU {hub.get_info("best_mIoU"):.2f}')
        if 'eta' in hub.runtime_info:
            parts.append(f'{_duration(hub.get_info("eta") + _validation_ahead(runner))} left')
        return '  '.join(parts)


def _pad(number: int, total: int) -> str:
    return str(number).rjust(len(str(total)))


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def _batch_size(runner: Runner) -> int:
    return runner.cfg.train_dataloader.batch_size * runner.world_size


def _epoch(runner: Runner) -> float:
    return (runner.iter + 1) * _batch_size(runner) / len(runner.train_dataloader.dataset)


def _validation_ahead(runner: Runner) -> float:
    """Seconds that the validations to come will take, once there has been one."""
    loop, times = runner.train_loop, runner.message_hub.log_scalars.get('val/time')
    if times is None or runner.val_loop is None:
        return 0.0
    left = loop.max_epochs - loop.epoch if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters - loop.iter
    return left // loop.val_interval * len(runner.val_dataloader) * times.mean()
