"""Files of a run: written whole or not at all, found again, and what a full disk leaves."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import BaseLoop, Runner

from mmseg_erfnet.errors import CheckpointError, StorageError
from mmseg_erfnet.files import storage_error, write_bytes
from mmseg_erfnet.models.building import unwrapped
from mmseg_erfnet.models.checkpoints import check_fit


class AtomicBackend(LocalBackend):
    """MMEngine's local files, each whole or not there; see :mod:`mmseg_erfnet.files`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; on an error its predecessor stays, and nothing else."""
        write_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file in the same way."""
        self.put(obj.encode(encoding), filepath)


register_backend('atomic', AtomicBackend, force=True)


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint that ``last_checkpoint`` in a work dir names, or None if there is none.

    A folder that was moved, or is looked at from elsewhere, still finds its own; and where ``last_checkpoint`` is empty
    or names a file that is gone, the newest one named ``epoch_N.pth`` or ``iter_N.pth`` is taken.
    """
    folder = Path(work_dir)
    pointer = folder / 'last_checkpoint'
    name = pointer.read_text().strip() if pointer.is_file() else ''
    for path in (Path(name), folder / Path(name).name):
        if path.is_file():
            return str(path)
    files = [path for pattern in ('epoch_*.pth', 'iter_*.pth') for path in folder.glob(pattern)]
    return str(max(files, key=lambda path: path.stat().st_mtime)) if files else None


def state_of_run(work_dir: str | Path) -> str:
    """Say, in a sentence, from which checkpoint a run can go on."""
    last = latest_checkpoint(work_dir)
    return f'The last checkpoint is {last}.' if last else 'There is no checkpoint yet.'


@contextmanager
def full_disk_reported(work_dir: str | Path) -> Iterator[None]:
    """Have a full disk end what is done here with a sentence that names the last checkpoint.

    Args:
        work_dir: The run's folder.

    Raises:
        StorageError: There is no room, or the quota is exhausted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if not isinstance(error, StorageError):
            error = storage_error(error.filename or work_dir, error)
        found = StorageError(f'{error} {state_of_run(work_dir)}')
        found.resumable = True
        raise found from error


def purpose_of_loading(runner: Runner) -> str:
    """Return what a runner loads a checkpoint for.

    Returns:
        ``resume``: to continue the run that saved it. ``start``: for a training run to start from. ``test``: to score.
    """
    if runner._resume:
        return 'resume'
    return 'start' if isinstance(runner._train_loop, BaseLoop) else 'test'


def check_loaded(runner: Runner, checkpoint: dict) -> None:
    """Check a checkpoint that a runner has loaded, before anything of it is used.

    Args:
        runner: MMEngine's or ours.
        checkpoint: As in a hook's ``after_load_checkpoint``; its stored config, which MMEngine would execute, is
            removed.

    Raises:
        CheckpointError: It does not fit the model, or holds no state to resume from.
    """
    purpose = purpose_of_loading(runner)
    if purpose != 'start':
        check_fit(unwrapped(runner.model), checkpoint)
    if purpose == 'resume' and not {'meta', 'message_hub', 'optimizer'} <= checkpoint.keys():
        raise CheckpointError(
            'The checkpoint holds weights, but not the state of a run: the best one is of that kind. Resume from '
            'last_checkpoint, or start a new run from its weights with --cfg-options load_from=FILE.'
        )
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    checkpoint.pop('cfg', None)
