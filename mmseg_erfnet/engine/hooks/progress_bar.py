"""Console output of a run: one line per epoch and per validation, and a live progress bar on a terminal."""

import logging
import re
import shutil
import time
from collections.abc import Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.engine.log_processor import ProgressLogProcessor, validations_ahead
from mmseg_erfnet.progress import bar_line
from mmseg_erfnet.registry import HOOKS

STATES = ('epoch ', 'iteration ', 'val [', 'test [')  # the beginnings of the lines that the bar shows
# Lines that go to the log file but not to the console.
ASIDES = re.compile(r'Saving checkpoint at|The previous best checkpoint|\d+ training frames without augmentation')
PATIENCE = 60.0  # longest time in seconds without a line where the output is not a terminal
# Seconds of training after which the rest is estimated, and the length from which the estimate is worth a line.
MEASURED, LONG = 20.0, 600.0


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Keep console output short: one line per epoch and per validation. The log file has all lines.

    On a terminal, the line of :class:`ProgressLogProcessor` is updated in place, with a progress bar. Elsewhere, a line
    is printed within an epoch whenever none has appeared for a minute. After the first seconds of a long run, a line
    states its expected duration on this machine.
    """

    # After the logging hook.
    priority = 'VERY_LOW'
    interval = 0.1  # seconds between two updates

    def __init__(self) -> None:
        self.console: logging.StreamHandler | None = None
        self.live = False
        self.drawn_at = self.spoke_at = 0.0
        self.begun_at: float | None = None

    def before_train(self, runner: Runner) -> None:
        self.begun_at = time.monotonic()

    def before_run(self, runner: Runner) -> None:
        if not is_main_process() or not isinstance(runner.log_processor, ProgressLogProcessor):
            return
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler:
                self.console, self.live = handler, handler.stream.isatty()
                self.spoke_at = time.monotonic()
                handler.addFilter(self._is_shown)

    def after_run(self, runner: Runner) -> None:
        if self.console is not None:
            if self.live:
                self._print('')
            self.console.removeFilter(self._is_shown)
            self.console = None

    def after_train_epoch(self, runner: Runner) -> None:
        if self.console is None or not runner.log_processor.by_epoch:
            return
        line = runner.log_processor.progress_line(runner, len(runner.train_dataloader) - 1, 'train')
        line = re.sub(r' \[(\d+)/\1\]', '', line)
        if self.live:
            self._last(line)
        else:
            logger = runner.logger
            self.spoke_at = 0.0
            self.console.handle(logger.makeRecord(logger.name, logging.INFO, '', 0, line, (), None))

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | Sequence | None = None,
        mode: str = 'train',
    ) -> None:
        if mode == 'train':
            self._announce(runner)
        if self.console is None or not self.live:
            return
        if time.monotonic() - self.drawn_at < self.interval:
            return
        self.drawn_at = time.monotonic()
        done, total = batch_idx + 1, runner.log_processor._get_dataloader_size(runner, mode)
        if mode == 'train' and not runner.log_processor.by_epoch:
            done, total = runner.iter + 1, runner.max_iters
        line = self._fitted(runner.log_processor.progress_line(runner, batch_idx, mode))
        self._print(bar_line(done, total, line, _columns()))

    def _announce(self, runner: Runner) -> None:
        if self.begun_at is None or time.monotonic() - self.begun_at < MEASURED:
            return
        self.begun_at = None
        left = runner.message_hub.runtime_info.get('eta', 0)
        if left >= LONG:
            ahead = validations_ahead(runner)
            more = f', plus {ahead} validations' if ahead else ''
            runner.logger.info(f'Expected duration on this machine: about {_rounded(left)}{more}.')

    def _is_shown(self, record: logging.LogRecord) -> bool:
        """Console filter: clear the bar before other messages, and drop the lines that the bar already shows."""
        message = record.getMessage()
        if ASIDES.match(message):
            return False
        if self.live:
            self._print('')
            if message.startswith('val ') and not message.startswith('val ['):
                self._last(message)
                return False
            return not message.startswith(STATES)
        if message.startswith(STATES) and time.monotonic() - self.spoke_at < PATIENCE:
            return False
        self.spoke_at = time.monotonic()
        return True

    def _fitted(self, line: str) -> str:
        # A line longer than the terminal's width wraps, and could then not be overwritten.
        return line if len(line) <= _columns() else line.replace('  ', ' ')

    def _last(self, line: str) -> None:
        """Replace the bar by a final line, without its last parts if the terminal is too narrow for them."""
        parts = line.split('  ')
        while len(self._fitted('  '.join(parts))) > _columns() and len(parts) > 1:
            parts.pop()
        self._print(f'{self._fitted("  ".join(parts))}\n')

    def _print(self, text: str) -> None:
        # Leave the cursor at the start of the line, so that the next output overwrites it.
        self.console.stream.write(f'\r\x1b[K{text}\r')
        self.console.stream.flush()


def _rounded(seconds: float) -> str:
    return f'{seconds / 60:.0f} minutes' if seconds < 2 * 3600 else f'{seconds / 3600:.1f} hours'


def _columns() -> int:
    return shutil.get_terminal_size().columns - 1
