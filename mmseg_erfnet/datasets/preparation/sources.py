"""The files of a source: a folder, an archive, or a folder that contains archives.

Nothing is unpacked to disk: members of archives are read into memory, so an archive cannot write anywhere.
"""

import contextlib
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock

from mmseg_erfnet.datasets.split_lists import MAX_TEXT, decode_text
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.files import shown
from mmseg_erfnet.images import IMAGE_SUFFIXES

ARCHIVE_SUFFIXES = ('.zip', '.tar', '.tgz', '.tar.gz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz')
TEXT_SUFFIXES = ('.txt', '.csv', '.json')
MAX_BYTES = 1 << 28  # per file; a photo of 50 megapixels as PNG has half of that
MAX_FILES = 2_000_000
DRIVE = re.compile('[A-Za-z]:')
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    tarfile.TarError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    IndexError,
)


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        shown: Its name in messages.
        path: Its path relative to the source; for a member of an archive, it begins with the archive's name.
        read: Returns its content.
        archived: Whether it is a member of an archive.
    """

    shown: str
    path: PurePosixPath
    read: Callable[[], bytes]
    archived: bool = False

    @property
    def suffix(self) -> str:
        """The suffix in lower case."""
        return self.path.suffix.lower()

    @property
    def is_image(self) -> bool:
        """Whether it is an image, by its suffix."""
        return self.suffix in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether systems or tools leave files of this name behind: `._x`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith('.') or name in ('__MACOSX', 'Thumbs.db', '__pycache__')


def list_source(source: Path, skip: set[Path], archives: contextlib.ExitStack) -> list[SourceFile]:
    """List the images and texts of a source, files before members of archives.

    Links to folders are followed, but each real folder is entered only once. Anything but regular files (a pipe, a
    device) is left out.

    Args:
        source: A folder or an archive.
        skip: Real folders that are not entered.
        archives: The stack that closes the archives.

    Raises:
        DataError: The source does not exist or cannot be read, or an archive is damaged or unsafe.
    """
    if source.is_dir():
        return _in_folder(source, skip, archives)
    if source.is_file():
        return list(_members(source, archives))
    if source.exists():
        raise DataError(
            f'{source} is neither a folder nor a file; give the folder or the archive that contains the data.'
        )
    raise DataError(f'{source} does not exist; give the folder or the archive that contains the data.')


def _in_folder(source: Path, skip: set[Path], archives: contextlib.ExitStack) -> list[SourceFile]:
    found: list[SourceFile] = []
    packed: list[Path] = []
    for path in _walk(source, skip):
        if path.name.lower().endswith(ARCHIVE_SUFFIXES):
            packed.append(path)
        elif path.suffix.lower() in (*IMAGE_SUFFIXES, *TEXT_SUFFIXES):
            relative = PurePosixPath(path.relative_to(source).as_posix())
            found.append(SourceFile(shown(path), relative, partial(_read_file, path)))
        if len(found) > MAX_FILES:
            raise DataError(f'{source} contains more than {MAX_FILES} files; give the folder of one data set.')
    for path in packed:
        found += _members(path, archives)
    return found


def _walk(source: Path, skip: set[Path]) -> Iterator[Path]:
    """The regular files in a folder; links to folders are followed, each real folder is entered once."""
    seen, waiting = set(skip), [source]
    while waiting:
        folder = waiting.pop()
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f'{folder} cannot be read ({error.strerror}); allow reading it.') from error
        entries = [entry for entry in entries if not is_hidden(entry.name)]
        # Real folders first: if a link leads to a neighbouring folder, the folder's own name is used.
        folders = sorted((entry.is_symlink(), entry.path) for entry in entries if entry.is_dir())
        waiting += [Path(path) for _, path in reversed(folders)]
        yield from (Path(entry.path) for entry in entries if entry.is_file())


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f'{shown(path)} has {size} bytes, too many for an image; remove it from the source.')
        return path.read_bytes()
    except OSError as error:
        raise DataError(f'{shown(path)} cannot be read ({error.strerror}); restore it.') from error


def _members(archive: Path, archives: contextlib.ExitStack) -> Iterator[SourceFile]:
    try:
        zipped = zipfile.is_zipfile(archive)
        if not zipped and archive.suffix.lower() == '.zip':
            raise zipfile.BadZipFile('not a zip file')
        opened = archives.enter_context((zipfile.ZipFile if zipped else tarfile.open)(archive))
        members = (
            [(info.filename, info.file_size, info) for info in opened.infolist() if not info.is_dir()]
            if zipped
            # Links in an archive have no content of their own.
            else [(info.name, info.size, info) for info in opened.getmembers() if info.isreg()]
        )
    except ARCHIVE_ERRORS as error:
        raise DataError(f'{shown(archive)} is not an archive or is damaged ({error}); download it again.') from error
    lock = Lock()  # a tar file has a single read position
    for name, size, info in members:
        # Windows' own tools have written backslashes into zip files.
        path = PurePosixPath(name.replace('\\', '/'))
        if path.is_absolute() or '..' in path.parts or DRIVE.match(name):
            raise DataError(
                f'{shown(archive)} would write outside its folder ({name!r}), so it is not an export of a '
                'labelling tool; download it from its official address.'
            )
        if path.suffix.lower() in (*IMAGE_SUFFIXES, *TEXT_SUFFIXES) and not any(map(is_hidden, path.parts)):
            where = f'{shown(archive)}:{shown(path)}'
            read = partial(_read_zip if zipped else _read_tar, opened, info, size, where, lock)
            # The official LabeledApproved_full.zip contains no folder, so the archive's name is used as one.
            yield SourceFile(where, PurePosixPath(_stem(archive), *path.parts), read, archived=True)


def _stem(archive: Path) -> str:
    name = archive.name
    for suffix in sorted(ARCHIVE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] or name
    return name


def _check_size(size: int, shown: str) -> None:
    if size > MAX_BYTES:
        raise DataError(f'{shown} claims {size} bytes, too many for an image; download the archive again.')


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, shown: str, _: Lock) -> bytes:
    _check_size(size, shown)
    try:
        return archive.read(info)
    except ARCHIVE_ERRORS as error:
        raise DataError(f'{archive.filename} is damaged at {info.filename} ({error}); download it again.') from error


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, size: int, shown: str, lock: Lock) -> bytes:
    _check_size(size, shown)
    try:
        with lock:
            data = archive.extractfile(info).read(size)
    except ARCHIVE_ERRORS as error:
        raise DataError(f'{archive.name} is damaged at {info.name} ({error}); download it again.') from error
    if len(data) != size:
        raise DataError(f'{archive.name} is truncated at {info.name}; download it again.')
    return data


def read_text(file: SourceFile, limit: int = MAX_TEXT) -> str:
    """Read a text file of a source: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DataError: It cannot be read, is too large, or is not text.
    """
    return decode_text(file.read(), file.shown, limit)
