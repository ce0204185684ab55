"""Write a data set atomically: into a temporary folder next to its target, renamed at the end.

Only one process at a time prepares a folder. In an existing folder only missing splits are written; everything else
must equal what would be written.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from mmseg_erfnet.datasets.preparation.splits import Splits
from mmseg_erfnet.errors import DataError, StorageError, UserError
from mmseg_erfnet.files import locked, make_folder, renamed, storage_error, write_text
from mmseg_erfnet.progress import progress
from mmseg_erfnet.text import listed

THREADS = 4
SPLIT_FILES = ('train', 'val', 'test', 'trainval')
Item = TypeVar('Item')
Result = TypeVar('Result')


@dataclass(frozen=True)
class Layout:
    """The folders of frames and labels in a data set, and the suffix of labels; frames keep their own suffix."""

    frames: str = 'images'
    labels: str = 'labels'
    label_suffix: str = '.png'

    def frame(self, name: str, suffix: str) -> str:
        """The path of a frame in the data set's folder."""
        return f'{self.frames}/{name}{suffix}'

    def label(self, name: str) -> str:
        """The path of a label in the data set's folder."""
        return f'{self.labels}/{name}{self.label_suffix}'


class Target:
    """A data set's folder, new or existing; `changed` is whether anything was written.

    Args:
        out: The folder.
        layout: The layout of its files.
    """

    def __init__(self, out: Path, layout: Layout) -> None:
        self.out, self.layout = out, layout
        self.fresh = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        self.making = out.with_name(f'.{out.name}.preparing')
        self.changed = self.fresh

    def begin(self, names: Sequence[str]) -> None:
        """Create the folders for the frames of these names, or check that an existing folder contains no others."""
        if self.fresh:
            for name in {'', *(name.rpartition('/')[0] for name in names)}:
                make_folder(self.making / self.layout.frames / name)
                make_folder(self.making / self.layout.labels / name)
            return
        folder = self.out / self.layout.frames
        there = {path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*') if path.is_file()}
        others = sorted(there - set(names))
        if others:
            raise DataError(
                f'{self.out} contains frames that the source lacks ({listed(others, 3)}); remove it or choose another '
                'folder.'
            )

    def put(self, path: str, data: bytes, shown: str) -> None:
        """Write a file, or check that the existing one is the same.

        Raises:
            DataError: The folder existed, and the file in it is missing or differs.
        """
        if self.fresh:
            (self.making / path).write_bytes(data)
            return
        there = self.out / path
        old = there.read_bytes() if there.is_file() else b''
        if data != old and not (old and _same_pixels(old, data)):
            raise DataError(f'{there} is missing or differs from {shown}; remove {self.out} or choose another folder.')

    def put_splits(self, splits: Splits) -> None:
        """Write the lists of the splits.

        Raises:
            DataError: The folder existed with another split.
        """
        wanted = {part: ''.join(f'{name}\n' for name in names) for part, names in splits.items()}
        folder = (self.making if self.fresh else self.out) / 'splits'
        paths = {part: folder / f'{part}.txt' for part in SPLIT_FILES}
        there = {part: path.read_bytes() for part, path in paths.items() if path.is_file()}
        if any(text.split() != wanted.get(part, '').encode().split() for part, text in there.items()):
            counts = ', '.join(f'{part} {len(text.splitlines())}' for part, text in there.items())
            raise DataError(
                f'{self.out} contains another split ({counts}), which is kept; ask for that split, choose another '
                f'--out, or remove {folder} first.'
            )
        for part in wanted.keys() - there.keys():
            write_text(paths[part], wanted[part])
            self.changed = True

    def finish(self) -> None:
        """Rename the folder to its final name."""
        if self.fresh:
            self.making.rename(self.out)


@contextmanager
def target(out: Path, layout: Layout) -> Iterator[Target]:
    """Yield the target; on exit it is complete, or unchanged after an error.

    Raises:
        UsageError: Another process is preparing the same folder.
        DataError: `out` is a file.
        StorageError: It cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f'{out} is a file; choose another folder.')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    said = f'{out} is being prepared by another process; wait for it, or choose another --out.'
    lock = out.with_name(f'.{out.name}.lock')
    try:
        with locked(lock, said):
            made = Target(out, layout)
            try:
                shutil.rmtree(made.making, ignore_errors=True)
                yield made
                made.finish()
            finally:
                shutil.rmtree(made.making, ignore_errors=True)
    except StorageError as error:
        raise renamed(error, lock, out) from error
    except UserError:
        raise
    except OSError as error:
        raise storage_error(out, error) from error


def for_all(what: str, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Run a task for all items in several threads, with a progress bar.

    Raises:
        DataError: A task failed; the message describes one failure and counts the others.
    """
    errors: list[str] = []

    def attempt(item: Item) -> Result | None:
        try:
            return task(item)
        except DataError as error:
            errors.append(str(error))
            return None

    results = []
    with ThreadPoolExecutor(THREADS) as pool, progress(what, len(items), 'frames') as bar:
        try:
            for result in pool.map(attempt, items):
                results.append(result)
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if errors:
        more = f' And {len(errors) - 1} more errors of this kind.' if len(errors) > 1 else ''
        raise DataError(min(errors) + more)
    return results


def _same_pixels(old: bytes, new: bytes) -> bool:
    first, second = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in (old, new))
    return first is not None and second is not None and np.array_equal(first, second)
