"""Work dirs of runs: which checkpoint to test, where a test writes, and how failed writes are reported."""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from mmseg_erfnet.engine.checkpointing import LOCK, latest_checkpoint
from mmseg_erfnet.errors import UsageError, UserError
from mmseg_erfnet.files import check_targets, storage_error
from mmseg_erfnet.text import listed


def checkpoint_to_test(*paths: str | Path) -> str:
    """Return the checkpoint to test.

    Args:
        paths: A checkpoint, or the folder of a run, which stands for its best checkpoint (the latest if there are
            several), or its last checkpoint if none is named best. Several checkpoints in one folder, as when a shell
            expands ``best_*.pth``, stand for the latest of them.

    Raises:
        UsageError: There is no checkpoint, or several are in different folders.
    """
    files = [Path(path) for path in paths]
    if len(files) > 1 and len({file.parent for file in files}) > 1:
        raise UsageError(f'One checkpoint is tested at a time: got {listed(paths)}.')
    path = max(files, key=lambda file: (_step(file), file.name))
    if path.is_file():
        return str(path)
    if path.is_dir():
        best = max(path.glob('best_*.pth'), key=lambda file: (_step(file), file.name), default=None)
        found = str(best) if best else latest_checkpoint(path)
        if found:
            return found
    raise UsageError(
        f'There is no checkpoint {"in " if path.is_dir() else ""}{path}; give a .pth file or the folder of a run.'
    )


def _step(file: Path) -> int:
    """Return the epoch or iteration at the end of a checkpoint's name."""
    found = re.search(r'_(\d+)\.pth$', file.name)
    return int(found[1]) if found else -1


def is_run(folder: Path) -> bool:
    """Return whether a folder is the work dir of a training run."""
    return (folder / 'last_checkpoint').is_file() or any(folder.glob('*/vis_data/scalars.json'))


def check_own_files(work_dir: str | Path, config: str | None) -> None:
    """Refuse to train in a folder where the run would replace files that no run wrote.

    Args:
        work_dir: The run's folder.
        config: The config file, whose name its copy in the work dir gets.

    Raises:
        UsageError: There is such a file; the config itself may be one.
    """
    folder = Path(work_dir)
    if os.path.lexists(folder / LOCK) or is_run(folder):
        return
    names = ['curves.png', 'last_checkpoint', 'timelapse', *([Path(config).name] if config else [])]
    check_targets([folder / name for name in names], filter(None, [config]), lambda path: False, 'work-dir')


def are_metrics(path: Path) -> bool:
    """Return whether a file contains the metrics of a test."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and 'confusion_matrix' in found


def work_dir_of_test(cfg: Config, checkpoint: str | Path) -> str:
    """Return the default work dir of a test, which is never the folder of a run that it does not test.

    Args:
        cfg: The config, whose ``work_dir`` is that of its own training run.
        checkpoint: The checkpoint to test.

    Returns:
        The run's folder if the checkpoint belongs to a run; else the config's folder or, if that holds a run, a folder
        next to it named after the checkpoint.
    """
    folder, default = Path(checkpoint).parent, Path(cfg.work_dir)
    if is_run(folder):
        return str(folder)
    return f'{default}_{Path(checkpoint).stem}' if is_run(default) else str(default)


@contextmanager
def writing_reported(work_dir: str | Path) -> Iterator[None]:
    """Report a failed write to a work dir in one sentence, even if MMEngine or a logger was writing.

    Raises:
        StorageError: The disk is full, or a file in the work dir cannot be written.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        if full or (isinstance(error.filename, str) and _on_the_way(Path(error.filename), Path(work_dir))):
            raise storage_error(error.filename or work_dir, error) from error
        raise


def _on_the_way(path: Path, folder: Path) -> bool:
    path, folder = path.absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)
