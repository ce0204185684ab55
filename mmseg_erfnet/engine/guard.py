"""How a run ends that does not come to its end: told to stop, out of disk space, or with a loss that is no number."""

import errno
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.errors import DivergenceError, Interrupted, StorageError
from mmseg_erfnet.registry import HOOKS

from .checkpointing import latest_checkpoint


@contextmanager
def guarded(work_dir: str | Path) -> Iterator[None]:
    """Have SIGTERM, SIGINT and a full disk end what is done here with a sentence that names the last checkpoint.

    Nothing is saved on the way out: a state between two epochs could not be continued exactly. In other threads than
    the main one, signals are left alone, as Python demands.

    Args:
        work_dir: The run's folder.

    Raises:
        Interrupted: On SIGTERM or SIGINT.
        StorageError: On a full disk or an exhausted quota.
    """
    owner = os.getpid()

    def stop(number: int, frame) -> None:
        if os.getpid() != owner:
            # A data loader's worker, which inherits this. Ctrl-C reaches it, too, but to end it is its owner's part.
            if number == signal.SIGTERM:
                os._exit(0)
            return
        raise Interrupted(f'Stopped by {signal.Signals(number).name}. {_state(work_dir)}', number)

    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageError(
            f'There is no room left to write {error.filename or f"to {work_dir}"} ({error.strerror}). '
            f'{_state(work_dir)} Make room first.') from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _state(work_dir: str | Path) -> str:
    last = latest_checkpoint(work_dir)
    return f'The last checkpoint is {last}, which is whole.' if last else 'There is no checkpoint yet.'


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a run whose loss is NaN or infinite, before a checkpoint is spoiled.

    It looks at every iteration. That costs a GPU nothing more: MMEngine's ``RuntimeInfoHook`` has fetched the number by
    then, for the log.

    Raises:
        DivergenceError: It names the iteration and the files of the batch. With several processes, those of the process
            that met it.
    """

    priority = 'HIGH'  # after RuntimeInfoHook, before whatever saves

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        loss = runner.message_hub.get_scalar('train/loss').current()
        if not math.isfinite(loss):
            files = ', '.join(sample.img_path for sample in data_batch['data_samples'])
            raise DivergenceError(
                f'The loss is {loss} at iteration {runner.iter + 1} (epoch {runner.epoch + 1}) on {files}. Nothing has '
                f'been saved since. {_state(runner.work_dir)} If these files and their labels are in order, '
                'lower the learning rate (optim_wrapper.optimizer.lr) or clip the gradient (optim_wrapper.clip_grad).')
