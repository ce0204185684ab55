"""What the hooks that draw and score share: a failure to draw never ends a run, and not every validation is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.loops import BaseLoop


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


def is_due(runner: Runner, interval: int | None, times: int) -> bool:
    """Return whether the current validation is one of those that a hook uses.

    Args:
        runner: The runner.
        interval: Use every ``interval``-th validation; None for about ``times`` per run.
        times: See ``interval``.

    Returns:
        True for these validations, for the last one of a run, and in a run without training.
    """
    loop = runner._train_loop  # not the property, which would build a loop for a run without training
    if not isinstance(loop, BaseLoop):
        return True
    done, end = position(runner, loop)
    every = loop.val_interval * (interval or max(1, round(end / loop.val_interval / times)))
    return done % every == 0 or done + loop.val_interval > end


def position(runner: Runner, loop: BaseLoop) -> tuple[int, int]:
    """Return the progress and the length of a run, in epochs or iterations as its loop counts."""
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    return (runner.epoch, loop.max_epochs) if by_epoch else (runner.iter, loop.max_iters)
