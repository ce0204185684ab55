"""Read the files of a work dir, which may be damaged, or come from somebody else and link to other files."""

import json
from pathlib import Path

import numpy as np

from mmseg_erfnet.errors import DataError

MAX_BYTES = 64 * 1000**2
MAX_CLASSES = 1024
COLOUR = [31, 111, 180]  # for classes without a colour


def is_inside(folder: Path, path: Path) -> bool:
    """Return whether a path, after following links, is a regular file inside a folder."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name with a null byte
        return False


def read_inside(folder: Path, path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file inside a folder.

    Args:
        folder: The folder.
        path: The file.
        limit: The largest size, in bytes.

    Raises:
        DataError: It is not a regular file, links out of the folder, is too large, or cannot be read.
    """
    if not is_inside(folder, path):
        raise DataError(f'{path} is not a file in {folder}; remove the reference to it.')
    try:
        if path.stat().st_size > limit:
            raise DataError(f'{path} is larger than {limit / 1000**2:.0f} MB; remove it.')
        return path.read_bytes()
    except OSError as error:
        raise DataError(f'{path} cannot be read ({error.strerror}); allow reading it, or remove it.') from error


def read_json(folder: Path, path: Path, kind: type) -> object:
    """Read a JSON file inside a folder.

    Args:
        folder: The folder.
        path: The file.
        kind: The type of its content: dict or list.

    Raises:
        DataError: As :func:`read_inside`, or it is not JSON of that type.
    """
    try:
        value = json.loads(read_inside(folder, path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path} is damaged ({error}); remove it, or write it again.') from error
    if not isinstance(value, kind):
        raise DataError(f'{path} is damaged (not a {kind.__name__}); remove it, or write it again.')
    return value


def read_plain_file(folder: Path, name: object) -> bytes:
    """Read a file directly in a folder, by its plain name as given in the folder's index.

    Raises:
        DataError: As :func:`read_inside`, or the name is not a plain file name.
    """
    if not isinstance(name, str) or not name or Path(name).name != name or '\\' in name or '\0' in name:
        raise DataError(f'{folder} lists {name!r}, which is not the name of a file in it; run the test again.')
    return read_inside(folder, folder / name)


def read_metrics(work_dir: Path) -> dict:
    """Read ``metrics.json``.

    Returns:
        Its content, with ``classes`` as a list of strings, ``confusion_matrix`` as int64 (classes, classes),
        ``palette`` as RGB triples, and ``IoU`` and ``Acc`` as float64 (classes,), NaN if undefined.

    Raises:
        DataError: It is damaged.
    """
    path = work_dir / 'metrics.json'
    metrics = read_json(work_dir, path, dict)
    try:
        classes = [str(name) for name in metrics['classes']]
        confusion = np.asarray(metrics['confusion_matrix'], np.int64)
        columns = {
            kind: np.array([metrics['per_class'][name][kind] for name in metrics['classes']], np.float64)
            for kind in ('IoU', 'Acc')
        }
        fits = 0 < len(classes) <= MAX_CLASSES and confusion.shape == (len(classes),) * 2 and confusion.min() >= 0
        if not fits or any(np.isinf(values).any() for values in columns.values()):
            raise ValueError('its numbers do not fit its classes')
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        reason = f'no {error}' if isinstance(error, KeyError) else error
        raise DataError(f'{path} is damaged ({reason}); test again with tools/test.py.') from error
    return (
        metrics
        | columns
        | dict(classes=classes, confusion_matrix=confusion, palette=read_palette(metrics.get('palette'), len(classes)))
    )


def read_palette(palette: object, count: int) -> list[list[int]]:
    """Return one RGB triple per class: the palette's, or the same colour for all if the palette is damaged."""
    try:
        colours = np.asarray(palette, np.int64)
    except (TypeError, ValueError, OverflowError):
        colours = np.zeros(0)
    if colours.shape != (count, 3) or colours.min() < 0 or colours.max() > 255:
        return [COLOUR] * count
    return colours.tolist()
