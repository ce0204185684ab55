"""The metadata of an exported model, and the checksum that covers all of its files. Needs only Python.

Every format stores the same JSON text, inside the model or in a file next to it. One of its entries is a SHA-256 of all
files of the model, computed with zeros in place of the checksum itself. It reveals a flipped byte anywhere, or weights
next to the description of other weights, before a library parses them.
"""

import hashlib
import json
import re
from pathlib import Path

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes

METADATA_KEY = 'mmseg_erfnet'
OUTPUTS = ('labels', 'logits', 'probabilities')
# The files of a model, by the suffix of the file that names it. That file comes first here and is written last.
FILES = {
    '.onnx': ('.onnx',),
    '.xml': ('.xml', '.bin'),
    '.param': ('.param', '.bin', '.json'),
    '.tflite': ('.tflite', '.json'),
}
MAX_CLASSES = 256  # labels are uint8
CHECKSUM = 'sha256-of-all-files:'
OPEN_CHECKSUM = CHECKSUM + 64 * '0'
_PATTERN = re.compile(CHECKSUM.encode() + b'[0-9a-f]{64}')
REMEDY = 'copy all of its files again, or export it again'


def files_of(path: Path) -> list[Path]:
    """Return the files of a model, starting with the one that names it."""
    return [path.with_suffix(suffix) for suffix in FILES[path.suffix]]


def read_files(path: Path) -> dict[str, bytes]:
    """Read all files of a model and return their contents by suffix.

    Raises:
        UsageError: A file is missing or cannot be read.
    """
    contents = {}
    for file in files_of(path):
        try:
            # Reading a pipe would block.
            if not file.is_file():
                raise UsageError(
                    f'There is no model {path}.'
                    if file == path
                    else f'{path} needs {file.name} next to it; copy all files of the model.'
                )
            contents[file.suffix] = file.read_bytes()
        except (OSError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            reason = getattr(error, 'strerror', None) or error
            raise UsageError(
                f'The model {file} cannot be read ({reason}): check its name and its permissions.'
            ) from error
    return contents


def checksum(contents: dict[str, bytes]) -> str:
    """Return the checksum of a model's files, regardless of the checksum that they contain."""
    digest = hashlib.sha256()
    for suffix, content in sorted(contents.items()):
        content = _PATTERN.sub(OPEN_CHECKSUM.encode(), content)
        digest.update(f'{suffix} {len(content)}\n'.encode() + content)
    return CHECKSUM + digest.hexdigest()


def is_part(path: Path) -> bool:
    """Return whether a file contains the checksum of an exported model; the weights of some formats do not."""
    try:
        return path.is_file() and _PATTERN.search(path.read_bytes()) is not None
    except (OSError, ValueError):
        return False


def seal(path: Path) -> None:
    """Write the checksum of a model's files into the file that holds the metadata.

    Args:
        path: A model whose metadata has ``checksum=OPEN_CHECKSUM``.

    Raises:
        StorageError: It cannot be written.
    """
    contents = read_files(path)
    found = checksum(contents).encode()
    for suffix, content in contents.items():
        if OPEN_CHECKSUM.encode() in content:
            write_bytes(path.with_suffix(suffix), content.replace(OPEN_CHECKSUM.encode(), found))


def check_seal(path: Path, contents: dict[str, bytes]) -> bool:
    """Compare the files of a model with the checksum that they contain.

    Returns:
        Whether they contain one.

    Raises:
        UsageError: The checksum does not match.
    """
    named = {match for content in contents.values() for match in _PATTERN.findall(content)}
    if not named:
        return False
    if named != {checksum(contents).encode()}:
        names = ' and '.join(file.name for file in files_of(path))
        mixed = f', or {names} are from different exports' if len(contents) > 1 else ''
        raise UsageError(f'{path} is damaged{mixed} (its checksum is wrong): {REMEDY}.')
    return True


def parse_metadata(text: str | bytes, path: str | Path) -> dict:
    """Read the metadata of a model.

    Returns:
        A dict with at least ``classes`` (names), ``palette`` (an RGB triple per class), ``output`` (one of
        :data:`OUTPUTS`), ``size`` ([height, width] or None) and ``batch`` (int or None).

    Raises:
        UsageError: The text is not what an export writes.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'The metadata of {path} are damaged (not JSON): {REMEDY}.') from error
    wrong = _wrong_entry(found)
    if wrong:
        raise UsageError(f'The metadata of {path} are damaged ({wrong}): {REMEDY}.')
    return found


def _wrong_entry(found: object) -> str | None:
    if not isinstance(found, dict):
        return 'not a JSON object'
    classes, palette, size, batch = (found.get(name) for name in ('classes', 'palette', 'size', 'batch'))
    right = dict(
        classes=isinstance(classes, list)
        and 0 < len(classes) <= MAX_CLASSES
        and all(isinstance(name, str) for name in classes),
        palette=isinstance(palette, list)
        and isinstance(classes, list)
        and len(palette) == len(classes)
        and all(_whole_numbers(colour, 3, 0, 255) for colour in palette),
        output=isinstance(found.get('output'), str) and found['output'] in OUTPUTS,
        size=size is None or _whole_numbers(size, 2, 1, 2**31),
        batch=batch is None or _whole_numbers([batch], 1, 1, 2**31),
    )
    return next((f'{name} is missing or wrong' for name, fine in right.items() if not fine), None)


def _whole_numbers(values: object, count: int, least: int, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) is int and least <= value <= most for value in values)
    )
