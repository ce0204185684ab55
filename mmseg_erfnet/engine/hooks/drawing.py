"""Base class of the hooks that draw: a failure to draw never ends a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.hooks import Hook
from mmengine.runner import Runner


class DrawingHook(Hook):
    """Base class of hooks that draw optional pictures."""

    @contextmanager
    def harmless(self, runner: Runner, what: str) -> Iterator[None]:
        """Log any error raised inside the context as a one-line warning.

        Args:
            runner: The runner that logs it.
            what: What could not be drawn: the subject of the warning.
        """
        try:
            yield
        except Exception as error:  # drawing can raise anything: a full disk, a damaged file, a bug in a library
            reason = next(iter(str(error).splitlines()), '') or type(error).__name__
            runner.logger.warning(f'{what} cannot be drawn; the run continues without it: {reason}')
