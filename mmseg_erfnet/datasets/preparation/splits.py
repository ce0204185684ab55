"""Split frames into train, val and test: taken from the source, or else drawn."""

import csv
import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from mmseg_erfnet.datasets.preparation.sources import SourceFile, read_text
from mmseg_erfnet.datasets.split_lists import MAX_LIST, parse_split
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.images import IMAGE_SUFFIXES
from mmseg_erfnet.text import listed

# Other names of the splits.
SYNONYMS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'dev': 'val',
    'test': 'test',
    'testing': 'test',
}
PARTS = ('train', 'val', 'test')
SHARES = {'val': 0.15, 'test': 0.15}
SMALL = 20  # frames; with fewer, no test split is drawn
IMAGE_COLUMNS = ('image', 'filename', 'file', 'name', 'frame', 'path', 'file_name', 'image_name')
GROUP_COLUMNS = ('group', 'sequence', 'scene', 'video', 'recording', 'patient', 'site')
SPLIT_COLUMNS = ('split', 'subset', 'set')

Splits = dict[str, list[str]]


def resolve(line: str, names: Mapping[str, str]) -> str | None:
    """Return the frame that a line of a split list names, or None.

    A line is a frame's name, with or without folders and suffix; or two columns, the frame and its label, separated by
    blanks, a comma or a semicolon. Names with blanks may be in quotes.

    Args:
        line: The line.
        names: Frames by the names that lists may use; see `called`.
    """
    quoted = re.match(r'"([^"]+)"', line)
    if quoted:
        line = quoted[1]
    for candidate in _candidates(line):
        if candidate in names:
            return names[candidate]
    return None


def _candidates(line: str) -> Iterable[str]:
    # The whole line first: names may contain blanks.
    firsts = [line, *(line[: found.start()] for found in re.finditer(r'[\s,;]+', line))]
    for first in firsts[:40]:
        path = PurePosixPath(first.strip().replace('\\', '/').lstrip('/'))
        if path.suffix.lower() in IMAGE_SUFFIXES:
            path = path.with_suffix('')
        for start in range(len(path.parts)):
            yield '/'.join(path.parts[start:])


def called(names: Iterable[str]) -> dict[str, str]:
    """Return the frames by their names, and also by their names without folders if these are unique."""
    names = list(names)
    stems = Counter(PurePosixPath(name).name for name in names)
    short = {PurePosixPath(name).name: name for name in names if stems[PurePosixPath(name).name] == 1}
    return {**short, **{name: name for name in names}}


def listed_splits(files: Iterable[SourceFile], names: Iterable[str]) -> tuple[Splits, list[str]]:
    """Read the split lists of a source: `train.txt`, `valid.txt`, ...; see `split_column` for tables.

    Returns:
        The frames of each listed split, and the lines that do not name a frame.

    Raises:
        DataError: A list is not text, two lists contradict each other, or no line of a list names a frame.
    """
    known, splits, lost = called(names), {}, []
    lists: dict[str, SourceFile] = {}
    for file in files:
        part = SYNONYMS.get(file.path.stem.lower())
        if file.suffix != '.txt' or part is None or not _may_list(file.path):
            continue
        if part in lists and lists[part].read() != file.read():
            raise DataError(f'{lists[part].shown} and {file.shown} both list the {part} split; keep the right one.')
        lists[part] = file
    for part, file in lists.items():
        lines = parse_split(file.read(), file.shown)
        found = [resolve(line, known) for line in lines]
        if lines and not any(found):
            raise DataError(f'{file.shown} names no frame of the source ({listed(map(repr, lines), 2)}); correct it.')
        splits[part] = sorted({name for name in found if name is not None})
        lost += [line for line, name in zip(lines, found, strict=True) if name is None]
    twice = sorted(name for name, count in Counter(itertools.chain(*splits.values())).items() if count > 1)
    if twice:
        raise DataError(
            f'{listed((lists[part].shown for part in splits), 3)} name {listed(twice, 3)} more than once; keep each '
            'frame in one of them.'
        )
    return splits, lost


def _may_list(path: PurePosixPath) -> bool:
    # Pascal VOC also has lists for detection.
    return 'ImageSets' not in path.parts or 'Segmentation' in path.parts


def column(files: Iterable[SourceFile], names: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    """Return each frame's value in a column of the source's tables, `group` or `split` for instance.

    A table is a CSV file with a column of frame names (`image`, `filename`, ...) and one of `columns`.
    """
    known, found = called(names), {}
    for file in files:
        if file.suffix != '.csv':
            continue
        try:
            rows = list(csv.reader(io.StringIO(read_text(file, MAX_LIST))))
        except csv.Error:
            continue
        header = [cell.strip().lower() for cell in rows[0]] if rows else []
        image_at = next((header.index(name) for name in IMAGE_COLUMNS if name in header), None)
        value_at = next((header.index(name) for name in columns if name in header), None)
        if image_at is None or value_at is None or image_at == value_at:
            continue
        for row in rows[1:]:
            name = resolve(row[image_at], known) if len(row) > max(image_at, value_at) else None
            if name is not None and row[value_at].strip():
                found[name] = row[value_at].strip()
    return found


def split_column(files: Iterable[SourceFile], names: Iterable[str]) -> Splits:
    """Return the splits given by a table with a column `split`."""
    splits: Splits = {}
    for name, value in column(files, names, SPLIT_COLUMNS).items():
        part = SYNONYMS.get(value.lower())
        if part:
            splits.setdefault(part, []).append(name)
    return {part: sorted(members) for part, members in splits.items()}


def draw(
    names: Iterable[str], seed: int, groups: Mapping[str, str], parts: Mapping[str, float] | None = None
) -> Splits:
    """Draw a split, the same on every machine and for any order of the names.

    Groups are sorted by a hash instead of a random generator, whose stream may change with a library's version. All
    frames of a group are put into the same split: neighbours in a video are near copies and would inflate the scores.

    Args:
        names: The frames.
        seed: Another seed draws another split.
        groups: The group of each frame; a frame without one is a group of its own.
        parts: The share of each split except train. Default: 15 % each for val and test, or 20 % for val only if there
            are fewer than 20 frames or three groups.

    Raises:
        DataError: There are fewer than two groups.
    """
    names = sorted(names)
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(groups.get(name, f'frame {name}'), []).append(name)
    if len(members) < 2:
        what = 'one group' if len(names) > 1 else 'one frame'
        raise DataError(f'there is only {what}, which leaves nothing for validation; add more.')
    if parts is None:
        parts = SHARES if len(names) >= SMALL and len(members) >= 3 else {'val': 0.2}
    drawn = sorted(members, key=lambda group: hashlib.sha256(f'{seed}:{group}'.encode(errors='replace')).digest())
    splits: Splits = {}
    for part, share in parts.items():
        wanted, taken = max(1, round(share * len(names))), []
        while len(taken) < wanted and len(drawn) > len(parts) - len(splits):
            taken += members[drawn.pop(0)]
        splits[part] = sorted(taken)
    return {'train': sorted(name for group in drawn for name in members[group]), **splits}
