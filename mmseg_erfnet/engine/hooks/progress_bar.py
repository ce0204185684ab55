"""The line of progress, live on a terminal."""

import logging
import shutil
import time
from collections.abc import Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.engine.log_processor import ProgressLogProcessor
from mmseg_erfnet.registry import HOOKS


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

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | Sequence | None = None,
        mode: str = 'train',
    ) -> None:
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
