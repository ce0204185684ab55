"""The inputs of a prediction (images, clips and live sources) and the names of their results."""

import glob
import hashlib
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import shown
from mmseg_erfnet.images import IMAGE_SUFFIXES, image_format

VIDEO_SUFFIXES = (
    '.mp4',
    '.m4v',
    '.mov',
    '.avi',
    '.mkv',
    '.webm',
    '.mpg',
    '.mpeg',
    '.ts',
    '.mts',
    '.m2ts',
    '.wmv',
    '.flv',
    '.3gp',
    '.ogv',
    '.mjpg',
    '.mjpeg',
)
ADDRESS = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+://')
# Folders that other tools add; `__MACOSX` comes from the Finder's archives.
FOREIGN_FOLDERS = ('__MACOSX',)
MAX_CAMERA = 1000


@dataclass(frozen=True)
class Source:
    """One image, clip or live source.

    Attributes:
        place: File path, address, or camera number.
        name: Path of the results below the output folder, without suffix.
        kind: 'image', 'video', or 'live' for a camera or an address.
    """

    place: str
    name: str
    kind: str

    def __str__(self) -> str:
        """Return its name for messages, without the password of an address."""
        if self.kind == 'live':
            return f'camera {self.place}' if self.place.isdecimal() else _without_password(self.place)
        return shown(self.place)


def find_sources(
    inputs: Iterable[str], out: str | Path | None = None, is_result: Callable[[Path], bool] = lambda path: False
) -> list[Source]:
    """Return the images, clips and live sources that the inputs refer to, in order.

    Folders are searched recursively. Links to folders are followed, but each real folder is entered only once. Files
    and folders whose names begin with a dot are skipped, and so are those that only the Finder reads (`__MACOSX`). A
    source's name is its path below the folder or, for several inputs, below their common folder. If two names would be
    equal, both keep their suffix; two streams keep the query of their address.

    Args:
        inputs: Paths of images, folders and clips; patterns; addresses, such as rtsp://; camera numbers.
        out: The folder for results; it is skipped if it is inside an input.
        is_result: Whether a file below an input is the result of an earlier run, which is also skipped.

    Raises:
        UsageError: A file does not exist, an input contains neither images nor clips, or a camera or an address is
            given twice.
    """
    live, groups = [], []
    for text in map(os.fspath, inputs):
        found = _live(text)
        if found:
            live.append(found)
        else:
            groups.append(_files(text, out, is_result))
    roots = [root for root, _ in groups]
    common = os.path.commonpath(roots) if roots else ''
    kinds: dict[str, str] = {}
    for _, files in groups:
        kinds |= files
    named = _named(kinds, common)
    return named + _named_live(live, named)


def _live(text: str) -> Source | None:
    if ADDRESS.match(text):
        return Source(text, _stream_name(text), 'live')
    mode = _mode(text)
    if text.isdecimal() and text.isascii() and mode is None:
        if int(text) > MAX_CAMERA:
            raise UsageError(f'There is no camera {text}: give a number from 0 to {MAX_CAMERA}.')
        return Source(str(int(text)), f'camera{int(text)}', 'live')
    if mode is not None and stat.S_ISCHR(mode) and text.startswith('/dev/video'):
        return Source(text, Path(text).name, 'live')
    return None


def _stream_name(address: str, query: bool = False) -> str:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise UsageError(f'{shown(_without_password(address))} is not a valid address: correct it.') from error
    text = parts.netloc.rpartition('@')[2] + parts.path + (f'_{parts.query}' if query else '')
    return re.sub(r'[^\w.-]+', '_', text).strip('_.')[:100] or 'stream'


def _named_live(live: list[Source], files: list[Source]) -> list[Source]:
    """Cameras and streams with names of their own, which are neither a file's nor a folder's of files."""
    places = Counter(source.place for source in live)
    for source in live:
        if places[source.place] > 1:
            raise UsageError(f'{source} is given twice; give each camera and address once.')
    for rename in (_with_query, _with_hash):
        names = Counter(source.name for source in live)
        live = [replace(one, name=rename(one)) if names[one.name] > 1 else one for one in live]
    taken = {os.fspath(path) for source in files for path in (Path(source.name), *Path(source.name).parents)}
    return [replace(one, name=f'{one.name}.live') if one.name in taken else one for one in live]


def _with_query(source: Source) -> str:
    return _stream_name(source.place, query=True) if ADDRESS.match(source.place) else source.name


def _with_hash(source: Source) -> str:
    # Of the address, not a number, so that a stream's name does not depend on the order.
    return f'{source.name}_{hashlib.blake2b(os.fsencode(source.place), digest_size=4).hexdigest()}'


def _without_password(address: str) -> str:
    return re.sub(r'//[^/?#]*@', '//', address)


def _mode(path: str) -> int | None:
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return None


def _files(text: str, out: str | Path | None, is_result: Callable[[Path], bool]) -> tuple[str, dict[str, str]]:
    """The folder that names are relative to, and the files that an input refers to, with their kinds."""
    path, mode = os.path.abspath(text), _mode(text)  # noqa: PTH100 (links keep their names)
    if mode is None:
        files = _matching(text, out, is_result)
        return os.path.commonpath([Path(file).parent for file in files]), files
    if stat.S_ISDIR(mode):
        files = _below(path, out, is_result)
        _refuse_none(files, text)
        return path, files
    if not stat.S_ISREG(mode):
        raise UsageError(f'{shown(text)} is not a regular file; give an image, a folder or a video.')
    return str(Path(path).parent), _listed(path) or {path: _kind_by_content(path)}


def _matching(pattern: str, out: str | Path | None, is_result: Callable[[Path], bool]) -> dict[str, str]:
    """The images and clips that a pattern matches, including those below matching folders."""
    matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207
    if not matches:
        raise UsageError(
            f'There is no {shown(pattern)}: give an image, a folder, a pattern, a video, an address or the number of '
            'a camera.'
        )
    literal = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)).resolve()
    results = Path(out).resolve() if out is not None else None
    inside = results is not None and results != literal and results.is_relative_to(literal)
    files: dict[str, str] = {}
    for match in map(os.path.abspath, matches):
        path = Path(match)
        if stat.S_ISDIR(_mode(match) or 0):
            files |= _below(match, out, is_result)
        elif not (
            is_result(path)
            or (inside and path.resolve().is_relative_to(results))
            or set(path.parts) & set(FOREIGN_FOLDERS)
        ):
            files |= _listed(match)
    _refuse_none(files, pattern)
    return files


def _kind_by_content(path: str) -> str:
    # Anything else is left to the video reader, which knows more formats than there are suffixes.
    try:
        with Path(path).open('rb') as file:
            return 'image' if image_format(file.read(16)) else 'video'
    except OSError:
        return 'image'  # the image reader reports the reason


def _refuse_none(files: dict, text: str) -> None:
    if not files:
        raise UsageError(
            f'{shown(text)} holds no image ({", ".join(IMAGE_SUFFIXES)}) and no video ({", ".join(VIDEO_SUFFIXES)}).'
        )


def _listed(path: str) -> dict[str, str]:
    suffix = Path(path).suffix.lower()
    kind = 'image' if suffix in IMAGE_SUFFIXES else 'video' if suffix in VIDEO_SUFFIXES else None
    return {path: kind} if kind else {}


def _below(folder: str, out: str | Path | None, is_result: Callable[[Path], bool]) -> dict[str, str]:
    """The images and clips below a folder."""
    left_out = (
        {os.path.realpath(out)} if out is not None and os.path.realpath(out) != os.path.realpath(folder) else set()
    )
    entered, found = set(left_out), {}

    def note(error: OSError) -> None:
        # A folder that cannot be listed is reported with the files that cannot be read.
        found[error.filename] = 'image'

    for place, folders, names in os.walk(folder, onerror=note, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith('.') and name not in FOREIGN_FOLDERS)
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        for name in sorted(names):
            path = os.path.join(place, name)
            if not name.startswith('.') and (kind := _listed(path)) and not is_result(Path(path)):
                found |= kind
    return dict(sorted(found.items()))


def _named(kinds: dict[str, str], root: str) -> list[Source]:
    """Sources with unique names. A clip's results go into a folder of its name, so no image may be in that folder."""
    whole = {path: os.path.relpath(path, root) for path in kinds}
    short = {path: str(Path(name).with_suffix('')) for path, name in whole.items()}
    names = dict(short)
    while clashing := set(_clashing(names, kinds)) - {path for path in names if names[path] != short[path]}:
        names |= {path: whole[path] for path in clashing}
    return [Source(path, names[path], kind) for path, kind in kinds.items()]


def _clashing(names: dict[str, str], kinds: dict[str, str]) -> Iterator[str]:
    count = Counter(names.values())
    folders = {os.fspath(parent) for name in names.values() for parent in Path(name).parents}
    for path, name in names.items():
        if count[name] > 1 or (kinds[path] == 'video' and name in folders):
            yield path
