"""Checkpoint files of a run: atomic writes, lookup, the lock of the work dir, checks on loading."""

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import BaseLoop, Runner

from mmseg_erfnet.engine import resuming
from mmseg_erfnet.engine.resuming import TEMPLATES, RunFiles, check_resumable
from mmseg_erfnet.errors import StorageError, UsageError
from mmseg_erfnet.files import TEMPORARY, is_regular, make_folder, remove_unfinished, storage_error, write_bytes
from mmseg_erfnet.models.building import check_pretrained, common_part, unwrapped
from mmseg_erfnet.models.checkpoints import check_fit, normalise

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = '.training.lock'


# --- Files ------------------------------------------------------------------------------------------------------------


class AtomicBackend(LocalBackend):
    """MMEngine's local file backend with atomic writes; see :mod:`mmseg_erfnet.files`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; on an error, the previous file is kept and nothing else is left behind."""
        write_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file in the same way."""
        self.put(obj.encode(encoding), filepath)


register_backend('atomic', AtomicBackend, force=True)


Run = str | os.PathLike | Config | Runner  # a run, by its work dir, its config or its runner


def run_checkpoints(run: Run) -> list[Path]:
    """Return the checkpoints of a run from which it can be resumed, the newest last.

    They are regular files named ``epoch_N.pth`` or ``iter_N.pth``, or by the checkpoint hook's ``filename_tmpl``. If
    several kinds exist, the kind that was written last counts as newer.
    """
    files = RunFiles.of(run)
    found = {pattern: [] for pattern in files.steps}
    try:
        for path in Path(files.folder).iterdir():
            for pattern, paths in found.items():
                if (match := pattern.fullmatch(path.name)) and is_regular(path):
                    paths.append((int(match[1]), path))
    except OSError:
        pass  # the folder does not exist or cannot be read
    kinds = sorted((max(paths)[1].lstat().st_mtime, sorted(paths)) for paths in found.values() if paths)
    return [path for _, paths in kinds for _, path in paths]


def best_checkpoints(run: Run) -> list[Path]:
    """Return the best checkpoints of a run: regular files named ``best_*.pth``."""
    return sorted(path for path in Path(RunFiles.of(run).folder).glob('best_*.pth') if is_regular(path))


def latest_checkpoint(run: Run) -> str | None:
    """Return the checkpoint from which a run resumes, or None if there is none.

    It is the file that ``last_checkpoint`` in the work dir names. Only the name counts, not the rest of the path, so
    that a copied or moved folder finds its own file rather than the original's. If ``last_checkpoint`` is damaged or
    names a missing file, it is the newest checkpoint.
    """
    found, named = run_checkpoints(run), _named_last(run)
    found += [path for path in found if path.name == named.name]
    return str(found[-1]) if found else None


def checkpoint_to_resume(run: Run) -> str | None:
    """Return :func:`latest_checkpoint`, or None if the run has not saved any.

    Raises:
        UsageError: ``last_checkpoint`` names a file that exists, but not where this config saves its checkpoints.
    """
    found, named = latest_checkpoint(run), _named_last(run)
    if found is None and named.suffix and is_regular(named):
        files = RunFiles.of(run)
        raise UsageError(
            f'The last checkpoint in {files.work_dir} is {named}, but this config saves checkpoints in {files.folder} '
            f'as {files.template or TEMPLATES[0]}: use the config of that run, resume with --resume '
            f'{named}, or choose another --work-dir.'
        )
    return found


def _named_last(run: Run) -> Path:
    """Return what ``last_checkpoint`` in the work dir names; an empty path if it is damaged or missing."""
    pointer = Path(RunFiles.of(run).work_dir, 'last_checkpoint')
    try:
        if is_regular(pointer):
            with pointer.open('rb') as file:
                return Path(file.read(8192).decode(errors='replace').strip())
    except OSError:
        pass
    return Path()


def state_of_run(run: Run) -> str:
    """Return a sentence that names the checkpoint from which a run can be resumed."""
    found = latest_checkpoint(run)
    return f'The last checkpoint is {found}.' if found else 'There is no checkpoint yet.'


@contextmanager
def full_disk_reported(run: Run) -> Iterator[None]:
    """Turn a disk-full error inside the context into one sentence that names the last checkpoint.

    Args:
        run: The run.

    Raises:
        StorageError: The disk is full, or the quota is exhausted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if not isinstance(error, StorageError):
            error = storage_error(error.filename or RunFiles.of(run).work_dir, error)
        found = StorageError(f'{error} {state_of_run(run)}')
        found.resumable = True
        raise found from error


# --- One training run per folder --------------------------------------------------------------------------------------


def check_new_run(run: Run, resume: bool | str | os.PathLike | None) -> None:
    """Refuse to start a run in a folder that holds the checkpoints of another.

    Args:
        run: The run.
        resume: Whether the run is continued, or the checkpoint from which it is continued.

    Raises:
        UsageError: It would mix two runs.
    """
    files = RunFiles.of(run)
    if isinstance(resume, (str, os.PathLike)):
        resume = Path(resume).parent.resolve() == Path(files.folder).resolve()
    found = [] if resume else [*best_checkpoints(run), *run_checkpoints(run)]
    if found:
        raise UsageError(
            f'{files.folder} holds {found[-1].name} of an earlier run: continue that run with --resume, or start '
            'another in a folder of its own with --work-dir.'
        )


class WorkDirLock:
    """A lock on a work dir, so that only one run at a time trains there; with a launcher, its first process holds it.

    The kernel holds the lock and releases it however the process ends. It is a POSIX lock: NFS supports those, and the
    workers of data loaders do not inherit them, so a worker that outlives a killed run does not hold the lock. On a
    file system without locks, training runs without one.
    """

    held = {}  # maps (device, inode) of the lock file to the open file; the process holds the lock, not an object

    def __init__(self, work_dir: str | Path) -> None:
        self.work_dir, self.key = work_dir, None

    def acquire(self) -> None:
        """Acquire the lock unless this process already holds it, and remove the unfinished files of a killed run.

        Raises:
            UsageError: Another process is training in the folder.
            StorageError: The folder cannot be written.
        """
        if fcntl is None or '://' in str(self.work_dir):
            return
        path = make_folder(self.work_dir) / LOCK
        try:
            status = path.stat() if path.exists() else None
            # Opening and closing the file again would release the lock.
            if status and (status.st_dev, status.st_ino) in self.held:
                return
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = re.sub(r'[^\x20-\x7e]', '', os.read(descriptor, 200).decode(errors='replace'))
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return
            raise UsageError(
                f'Another training run is using {self.work_dir}{f" ({owner})" if owner else ""}: wait for it, stop it, '
                'or choose another folder with --work-dir.'
            ) from error
        status = os.fstat(descriptor)
        if not path.exists() or not os.path.samestat(path.stat(), status):  # its holder has just removed it
            os.close(descriptor)
            self.acquire()
            return
        self.key = status.st_dev, status.st_ino
        self.held[self.key] = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f'process {os.getpid()} on {socket.gethostname()}'.encode(), 0)
        except OSError:  # a full disk; the name of the owner is only for information
            pass
        # Only the run that holds the lock writes checkpoints here.
        remove_unfinished(Path(self.work_dir).glob(f'{TEMPORARY}*.pth'))

    def forget_if_alone(self) -> None:
        """Remove the lock file if this object acquired it and nothing else is in the folder."""
        with contextlib.suppress(OSError):
            if self.key is not None and os.listdir(self.work_dir) == [LOCK]:  # noqa: PTH208 (names are enough)
                Path(self.work_dir, LOCK).unlink()

    def release(self) -> None:
        """Release the lock if this object acquired it."""
        if self.key is not None:
            os.close(self.held.pop(self.key))
            self.key = None


@contextmanager
def own_work_dir(run: Run, resume: bool | str | os.PathLike | None, launcher: str = 'none') -> Iterator[None]:
    """Hold the lock of a work dir while training in it: see :class:`WorkDirLock` and :func:`check_new_run`.

    Args:
        run: The run, whose folder is created if it does not exist.
        resume: Whether the run is continued, or the checkpoint from which it is continued.
        launcher: What started the processes; only the first process takes the lock.

    Raises:
        UsageError: The folder is in use, or holds the checkpoints of an earlier run.
        StorageError: The folder cannot be written.
    """
    lock = WorkDirLock(RunFiles.of(run).work_dir)
    if _is_first(launcher):
        lock.acquire()
    try:
        check_new_run(run, resume)
        yield
    except BaseException:
        lock.forget_if_alone()
        raise
    finally:
        lock.release()


def _is_first(launcher: str) -> bool:
    """Return whether this is the first of a launcher's processes, even before they form a process group."""
    names = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
    if launcher not in names or is_distributed():
        return is_main_process()
    return os.environ.get(names[launcher], '0') == '0'


# --- Loading ----------------------------------------------------------------------------------------------------------


def purpose_of_loading(runner: Runner) -> str:
    """Return the purpose for which a runner loads a checkpoint.

    Returns:
        ``resume``: to continue the run that saved it. ``start``: to start a training run from. ``test``: to score.
    """
    if runner._resume:
        return 'resume'
    return 'start' if isinstance(runner._train_loop, BaseLoop) else 'test'


def prepare_loading(runner: Runner) -> None:
    """Check the files that a runner is about to load: the checkpoint to resume from, and each ``init_cfg``'s weights.

    MMEngine resumes from any path that ``last_checkpoint`` contains. This function makes it resume from the run's own
    file or, if there is none, start a new run.

    Args:
        runner: MMEngine's or ours, before it initialises its model.

    Raises:
        CheckpointError: An ``init_cfg`` names weights that cannot be loaded or do not fit.
    """
    if runner._resume and runner._load_from is None:
        runner._load_from = checkpoint_to_resume(runner)
        if runner._load_from is None:
            runner._resume = False
            runner.logger.info(f'There is no checkpoint in {runner.work_dir} to resume from: starting a new run.')
    if not runner._resume and isinstance(runner._train_loop, BaseLoop):
        for line in check_pretrained(runner.model):
            runner.logger.info(f'{line}.')


def check_loaded(runner: Runner, checkpoint: dict) -> None:
    """Check a checkpoint that a runner has loaded, before any part of it is used.

    Args:
        runner: MMEngine's or ours.
        checkpoint: As in a hook's ``after_load_checkpoint``; changed in place. It is brought into the form of
            :func:`~mmseg_erfnet.models.checkpoints.normalise`. Its stored config, which MMEngine would execute, is
            removed, and so are the paths and environment facts of another run.

    Raises:
        CheckpointError: It does not fit the model, or this run cannot be resumed from its state.
    """
    normalise(checkpoint)
    purpose, model = purpose_of_loading(runner), unwrapped(runner.model)
    if purpose == 'start':
        common_part(model, checkpoint)
    else:
        check_fit(model, checkpoint)
    if purpose == 'resume':
        check_resumable(runner, checkpoint)
    for name in ('config', 'cfg'):
        checkpoint.get('meta', {}).pop(name, None)
        checkpoint.pop(name, None)


def check_schedules(runner: Runner, checkpoint: dict) -> None:
    """Check that the checkpoint to resume from has the same schedules as the runner's config.

    MMEngine restores the stored schedules regardless of the config: if their length differs, training may continue with
    a learning rate of 0.

    Args:
        runner: MMEngine's or ours.
        checkpoint: After :func:`check_loaded`.

    Raises:
        CheckpointError: They differ.
    """
    if purpose_of_loading(runner) == 'resume':
        resuming.check_schedules(runner.param_schedulers, checkpoint.get('param_schedulers'))
