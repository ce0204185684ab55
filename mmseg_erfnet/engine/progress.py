"""What a run prints: one line of progress, live on a terminal."""

import datetime
import logging
import re
import shutil
import time
from collections.abc import Sequence

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import EpochBasedTrainLoop, LogProcessor, Runner

from mmseg_erfnet.registry import HOOKS, LOG_PROCESSORS

# What mmengine tells of itself, some 700 lines before the first iteration.
DETAILS = re.compile(
    r'\n-+\nSystem environment|Config:\n|Hooks will be executed|Distributed training is not used|paramwise_options -- |'
    r'Exp name: |The prefix is not set|"FileClient" will be|"HardDiskBackend" is')


class QuietRunner(Runner):
    """mmengine's ``Runner``, with its details in the log file alone and not on the console, too, and a log of its own.

    mmengine names a run, and its logger, by config and second: a second run of that second in one process would write
    in the first's log.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Do what mmengine's ``Runner`` does, and give the run a time stamp that no logger of this process has."""
        super().setup_env(env_cfg)
        second, number = self._timestamp, 1
        while any(name.endswith(self._timestamp) for name in MMLogger._instance_dict):
            number += 1
            self._timestamp = f'{second}_{number}'

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build what mmengine's ``Runner`` builds, and say where its file is."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_no_detail)
        logger.info(f'Config, environment and more: {logger.log_file}')
        return logger


def _is_no_detail(record: logging.LogRecord) -> bool:
    return not DETAILS.match(record.getMessage())


@LOG_PROCESSORS.register_module()
class ProgressLogProcessor(LogProcessor):
    """mmengine's ``LogProcessor`` with lines for people.

    While it trains: epoch, iteration, loss, learning rate, images a second, the time that remains, validations
    included, and the best mIoU so far. After a validation: the means, without the figures of the single classes, which
    stand in the metric's table. What goes to TensorBoard and the other loggers is the same as ever.
    """

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Return what mmengine's ``LogProcessor`` returns, with another line."""
        tag, _ = super().get_log_after_iter(runner, batch_idx, mode)
        return tag, self.progress_line(runner, batch_idx, mode)

    def get_log_after_epoch(self, runner: Runner, batch_idx: int, mode: str,
                            with_non_scalar: bool = False) -> tuple[dict, str]:
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


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Keep the line of :class:`ProgressLogProcessor` in place, with a bar, where the log goes to a terminal.

    The lines that it shows are then not printed as well; the log file has them. Elsewhere it does nothing.
    """

    # After the hook that logs.
    priority = 'VERY_LOW'
    interval = 0.1  # seconds between two drawings

    def __init__(self) -> None:
        self.console: logging.StreamHandler | None = None
        self.drawn_at = 0.0

    def before_run(self, runner: Runner) -> None:
        if not is_main_process() or not isinstance(runner.log_processor, ProgressLogProcessor):
            return
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler and handler.stream.isatty():
                self.console = handler
                handler.addFilter(self._make_way)

    def after_run(self, runner: Runner) -> None:
        if self.console is not None:
            self._print('')
            self.console.removeFilter(self._make_way)
            self.console = None

    def _after_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                    outputs: dict | Sequence | None = None, mode: str = 'train') -> None:
        if self.console is None:
            return
        if time.monotonic() - self.drawn_at < self.interval:
            return
        self.drawn_at = time.monotonic()
        done, total = batch_idx + 1, runner.log_processor._get_dataloader_size(runner, mode)
        if mode == 'train' and not runner.log_processor.by_epoch:
            done, total = runner.iter + 1, runner.max_iters
        # What is written beyond the terminal's width could not be taken back.
        room = shutil.get_terminal_size().columns - 1
        line = runner.log_processor.progress_line(runner, batch_idx, mode)
        line = line if len(line) <= room else line.replace('  ', ' ')
        width = min(room - len(line) - 3, 20)
        self._print(f'|{"=" * (width * done // total):{width}}| {line}' if width > 3 else line[:room])

    def _make_way(self, record: logging.LogRecord) -> bool:
        """Filter of the console: clear the bar before another message; withhold the line that the bar shows."""
        self._print('')
        return not record.getMessage().startswith(('epoch ', 'iteration ', 'val [', 'test ['))

    def _print(self, text: str) -> None:
        # The cursor ends at the line's start, so that whoever prints next prints over it.
        self.console.stream.write(f'\r\x1b[K{text}\r')
        self.console.stream.flush()


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
