"""Writing files so that each is there whole or not at all. The only code of the project that does so.

A file is written under a temporary name beside its target, synced, and renamed. Temporary names are unique across
processes, hosts and containers, begin with a dot, and are removed when writing fails.
"""

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmseg_erfnet.errors import StorageError, UsageError

TEMPORARY = '.unfinished-'
REMEDIES = {
    errno.ENOSPC: 'make room',
    errno.EDQUOT: 'make room in the quota',
    errno.EACCES: 'allow writing there, or choose another folder',
    errno.EPERM: 'allow writing there, or choose another folder',
    errno.EROFS: 'choose a folder on a file system that can be written',
    errno.ENAMETOOLONG: 'shorten the name',
    errno.ENOTDIR: 'part of the path is a file; choose another folder',
    errno.EEXIST: 'part of the path is a file; choose another folder',
    errno.EISDIR: 'it is a folder; give the name of a file',
    errno.ELOOP: 'its symbolic links form a loop; remove them',
}


def storage_error(path: str | Path, error: OSError) -> StorageError:
    """Return a :class:`StorageError` with one sentence: what cannot be written, why, and the remedy."""
    remedy = REMEDIES.get(error.errno, 'check the disk, or choose another folder')
    found = StorageError(f'{path} cannot be written ({error.strerror or error}): {remedy}.')
    found.errno = error.errno
    return found


def is_regular(path: str | Path) -> bool:
    """Return whether a path is a regular file itself, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def make_folder(path: str | Path) -> Path:
    """Make a folder and its parents.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return Path(path)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the suffix of ``path``, for a writer that needs a name; rename it at the end.

    Args:
        path: The target; its folder is made if need be. Where the body raises, the target stays as it was.

    Raises:
        StorageError: The target cannot be written.
    """
    path = Path(path)
    # Short, so that a name at the limit of the file system (255 bytes) still has a temporary one.
    temporary = path.with_name(f'{TEMPORARY}{secrets.token_hex(8)}{path.suffix[:16]}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file; its folder is made if need be.

    Raises:
        StorageError: It cannot be written; what was there stays.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def check_new(path: str | Path, data: bytes) -> None:
    """Refuse to replace a file with another content, so that a target which is the input, or a user's own, is kept.

    Raises:
        UsageError: There is something else of this name.
    """
    path = Path(path)
    try:
        same = is_regular(path) and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        same = False
    if os.path.lexists(path) and not same:
        raise UsageError(f'{path} exists and is not what would be written: remove it, or give another name.')


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8; see :func:`write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: object) -> None:
    """Write a JSON file; a float that is not finite becomes null, since JSON has none. See :func:`write_bytes`."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Return what :func:`write_json` writes."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not float('-inf') < value < float('inf'):
        return None
    return value
