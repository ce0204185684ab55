"""What hooks share that draw: their failure never ends a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.hooks import Hook
from mmengine.runner import Runner


class DrawingHook(Hook):
    """Base of hooks whose pictures a run can do without."""

    @contextmanager
    def harmless(self, runner: Runner, what: str) -> Iterator[None]:
        """Turn any error of what is done inside into one warning line of the log.

        Args:
            runner: The runner, which logs it.
            what: What is missing then, as the sentence's subject.
        """
        try:
            yield
        except Exception as error:  # whatever a drawing can raise: a full disk, a damaged file, a library's bug
            reason = next(iter(str(error).splitlines()), '') or type(error).__name__
            runner.logger.warning(f'{what} cannot be drawn, which the run does without: {reason}')
