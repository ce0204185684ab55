"""Write files atomically, so that each exists completely or not at all. All code of the project that does so is here.

A file is written under a temporary name in the same folder as its target, synced, and renamed. Temporary names are
unique across processes, hosts and containers, start with a dot, and are removed if writing fails.

Pictures and videos contain a record of what made them, by which a later run distinguishes its own results from a user's
files: :func:`check_targets` refuses to overwrite anything else.
"""

import errno
import json
import os
import secrets
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmseg_erfnet.errors import StorageError, UsageError

try:
    import fcntl
except ImportError:  # Windows has neither fcntl nor another lock that is released when a process is killed
    fcntl = None

TEMPORARY = '.unfinished-'
WAITS, WAIT = 100, 0.05  # times and seconds to wait for a lock that is held for moments only
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


# The key of the record in a file.
RECORD_KEY = b'mmseg_erfnet'
RECORD_ROOM = 4096  # bytes at the start of a PNG or at the end of a video that can contain the record
PNG_START = 33  # bytes of signature and header


def storage_error(path: str | Path, error: OSError) -> StorageError:
    """Return a :class:`StorageError` that states in one sentence what cannot be written, why, and the remedy."""
    remedy = REMEDIES.get(error.errno, 'check the disk, or choose another folder')
    found = StorageError(f'{shown(path)} cannot be written ({error.strerror or error}): {remedy}.')
    found.errno = error.errno
    return found


def is_regular(path: str | Path) -> bool:
    """Return whether a path is itself a regular file, not a symbolic link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def shown(path: str | os.PathLike) -> str:
    """Return a path as one line of printable text: newlines, escape sequences and bytes that are not UTF-8 become
    ``\\n``, ``\\x1b`` and ``\\xNN``.
    """
    return ''.join(letter if letter.isprintable() else _escaped(letter) for letter in os.fsdecode(path))


def _escaped(letter: str) -> str:
    code = ord(letter)
    # Python decodes a byte that is not UTF-8 as a surrogate.
    return f'\\x{code - 0xDC00:02x}' if 0xDC80 <= code <= 0xDCFF else letter.encode('unicode_escape').decode()


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents.

    Raises:
        StorageError: It cannot be created.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return Path(path)


@contextmanager
def folder_for(path: str | Path) -> Iterator[Path]:
    """Create a folder, as :func:`make_folder` does; if the body fails and has written nothing, remove it again.

    Raises:
        StorageError: It cannot be created.
    """
    path = Path(path)
    new = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        yield make_folder(path)
    except BaseException:
        with suppress(OSError):  # a folder that is not empty stays
            for folder in new:
                folder.rmdir()
        raise


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the suffix of ``path``, for a writer that needs a file name; rename it at the end.

    Args:
        path: The target; its folder is created if it does not exist. If the body raises, the target is not changed.

    Raises:
        StorageError: The target cannot be written.
    """
    path = Path(path)
    # Short, so that even a target with the longest possible name (255 bytes) can have a temporary name.
    temporary = path.with_name(f'{TEMPORARY}{secrets.token_hex(8)}{path.suffix[:16]}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except StorageError as error:
        raise renamed(error, temporary, path) from error
    except OSError as error:
        raise storage_error(path, error) from error


def renamed(error: StorageError, temporary: str | Path, path: str | Path) -> StorageError:
    """Return an error that names the final path instead of a temporary one, which the user does not know."""
    found = StorageError(str(error).replace(shown(temporary), shown(path)))
    found.errno, found.resumable = error.errno, error.resumable
    return found


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: str | Path, said: str) -> Iterator[None]:
    """Hold an exclusive lock, which the system releases however the process ends.

    Args:
        path: An existing folder, which is locked itself, or the path of a lock file, which is created and then removed.
        said: The error message if another process holds the lock.

    Raises:
        UsageError: Another process holds the lock.
        StorageError: The lock file cannot be created.
    """
    path = Path(path)
    try:
        descriptor = _lock(path)
    except BlockingIOError as error:
        raise UsageError(said) from error
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        # Removed while still locked, so that no other process can lock a file that is about to disappear.
        if not path.is_dir():
            path.unlink(missing_ok=True)
        _unlock(descriptor)


def _lock(path: Path) -> int:
    while True:
        flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
        descriptor = os.open(path, flags, 0o666)
        try:
            _flock(descriptor, exclusive=True)
        except OSError:
            os.close(descriptor)
            raise
        # Another process may have removed the file between the two calls.
        try:
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _flock(descriptor: int, exclusive: bool) -> bool:
    """Lock without waiting.

    Returns:
        Whether there is a lock. Some network file systems have none, or none for folders; working without one is better
        than not working at all.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL):
            raise
        return False
    return True


def _unlock(descriptor: int) -> None:
    # Said explicitly, because a forked process may have inherited the descriptor and keep it open.
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def writing_together(folder: str | Path, subfolders: Iterable[str] = ()) -> Iterator[None]:
    """Let several processes write into a folder; the first one removes what killed processes left unfinished.

    Args:
        folder: An existing folder.
        subfolders: Its subfolders that are written to as well, with all that they contain.

    Raises:
        StorageError: The folder cannot be opened.
    """
    folder = Path(folder)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        with suppress(BlockingIOError):
            if _flock(descriptor, exclusive=True):  # nobody else writes here
                remove_unfinished(folder.glob(f'{TEMPORARY}*'))
                for name in subfolders:
                    remove_unfinished((folder / name).rglob(f'{TEMPORARY}*'))
        for _ in range(WAITS):  # another process may be removing files right now
            try:
                _flock(descriptor, exclusive=False)
                break
            except BlockingIOError:
                time.sleep(WAIT)
        yield
    finally:
        _unlock(descriptor)


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Remove the unfinished files, and folders of files, of killed processes; symbolic links are left alone."""
    for path in list(paths):
        with suppress(OSError):
            if is_regular(path):
                path.unlink()
            elif path.is_dir() and not path.is_symlink():
                remove_unfinished(path.iterdir())
                path.rmdir()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file; its folder is created if it does not exist.

    Raises:
        StorageError: It cannot be written; an existing file is not changed.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_if_absent(path: str | Path, data: bytes) -> bool:
    """Write a file unless it exists. If several processes do this at once, only one succeeds.

    Returns:
        Whether this call wrote it.

    Raises:
        StorageError: It cannot be written.
    """
    path = Path(path)
    if path.exists():
        return False
    linked = path.with_name(f'{TEMPORARY}{secrets.token_hex(8)}')
    try:
        write_bytes(linked, data)
        try:
            os.link(linked, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            os.replace(linked, path)
        return True
    except OSError as error:
        raise storage_error(path, OSError(error.errno, os.strerror(error.errno or 0))) from error
    finally:
        with suppress(OSError):
            linked.unlink(missing_ok=True)


def check_new(path: str | Path, data: bytes) -> None:
    """Refuse to replace a file that has different content, to protect the input and the user's own files.

    Raises:
        UsageError: A different file of this name exists.
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
    """Write a JSON file; NaN and infinity, which JSON does not have, become null. See :func:`write_bytes`."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Return the text that :func:`write_json` writes."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not float('-inf') < value < float('inf'):
        return None
    return value


# --- Whose file it is -------------------------------------------------------------------------------------------------


def png_chunk(name: bytes, body: bytes | memoryview) -> bytes:
    """Return a chunk of a PNG, with its length and checksum."""
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(body, zlib.crc32(name)))


def with_record(png: bytes, record: dict) -> bytes:
    """Return a PNG with a record, as a text chunk that viewers and decoders ignore."""
    return png[:PNG_START] + png_chunk(b'tEXt', _packed(record)) + png[PNG_START:]


def append_record(path: str | Path, record: dict) -> None:
    """Append a record to an MP4 or WebM file, as an element that players ignore: a free box, or EBML's Void."""
    body = _packed(record)
    with Path(path).open('r+b') as file:
        webm = file.read(4) == b'\x1a\x45\xdf\xa3'
        file.seek(0, os.SEEK_END)
        file.write(
            b'\xec' + struct.pack('>Q', 1 << 56 | len(body)) if webm else struct.pack('>I', 8 + len(body)) + b'free'
        )
        file.write(body)


def _packed(record: dict) -> bytes:
    return RECORD_KEY + b'\0' + json.dumps(record).encode()


def read_record(path: str | Path) -> dict | None:
    """Return the record in a PNG, MP4 or WebM file; None if there is no record or no such file."""
    try:
        with open(path, 'rb', opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a device may have no end
                return None
            room = file.read(RECORD_ROOM)
            if not room.startswith(b'\x89PNG'):
                file.seek(-min(RECORD_ROOM, file.seek(0, os.SEEK_END)), os.SEEK_END)
                room = file.read()
    except (OSError, ValueError):
        return None
    start = room.rfind(RECORD_KEY + b'\0{')
    if start < 0:
        return None
    try:
        # Binary data follows the record of a PNG.
        record, _ = json.JSONDecoder().raw_decode(room[start + len(RECORD_KEY) + 1 :].decode('ascii', 'replace'))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe would block forever.
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def check_targets(
    targets: Iterable[str | Path],
    inputs: Iterable[str | Path] = (),
    ours: Callable[[Path], bool] = lambda path: read_record(path) is not None,
    option: str = 'out',
) -> None:
    """Before writing, refuse to overwrite any file that is not a result of ours.

    Args:
        targets: The files to be written.
        inputs: The files from which they are made.
        ours: Whether an existing file may be replaced; by default, whether it contains our record.
        option: The option that names the folder or file, for the error message.

    Raises:
        UsageError: A target is one of the inputs (by any path), is named twice, or exists and is not ours.
    """
    seen, read = set(), None
    for target in map(Path, targets):
        if target in seen:
            raise UsageError(f'Two results would be written to {shown(target)}; rename an input, or run them apart.')
        seen.add(target)
        found = _identity(target)
        if found is None:
            continue
        if read is None:
            read = {_identity(path) for path in inputs}
        if found in read:
            raise UsageError(
                f'{shown(target)} is an input, and would be replaced by a result; choose another --{option}.'
            )
        if not ours(target):
            raise UsageError(
                f'{shown(target)} exists, and is not a result of an earlier run; choose another --{option}, or remove '
                'it.'
            )


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
