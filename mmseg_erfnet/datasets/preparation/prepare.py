"""Convert the export of a labelling tool to a data set: read it, check it, and write it in one layout."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmseg_erfnet.datasets.classes import OWN_NAME, Classes, table_text
from mmseg_erfnet.datasets.labels import IGNORE, UNKNOWN
from mmseg_erfnet.datasets.preparation.coding import Coding, Content, content, decide
from mmseg_erfnet.datasets.preparation.formats import Export, describe_none, recognise
from mmseg_erfnet.datasets.preparation.pairs import Pair
from mmseg_erfnet.datasets.preparation.reading import encode_png, read_pair
from mmseg_erfnet.datasets.preparation.sources import list_source
from mmseg_erfnet.datasets.preparation.splits import (
    GROUP_COLUMNS,
    Splits,
    column,
    draw,
    listed_splits,
    split_column,
)
from mmseg_erfnet.datasets.preparation.writing import Layout, Target, for_all, target
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.text import listed

ORIENTATIONS = ('auto', 'shown', 'stored')


@dataclass(frozen=True)
class Prepared:
    """The result of preparing a data set; `str` describes it to the user.

    Attributes:
        out: The folder.
        form: The kind of source, in words.
        classes: The classes.
        splits: Names of the frames in each split.
        pixels: Number of pixels of each class in the training frames, int64 of shape (classes,).
        sizes: (height, width) of each frame.
        changed: Whether anything was written.
        notes: Further remarks for the user.
    """

    out: Path
    form: str
    classes: Classes
    splits: Splits
    pixels: np.ndarray
    sizes: list[tuple[int, int]]
    changed: bool
    notes: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.sizes)

    def __str__(self) -> str:
        counts = f'{self.frames} frames of {len(self.classes.names)} classes ({listed(self.classes.names, 6)})'
        if self.changed:
            first = f'{self.form}: {counts} in {self.out}.'
        else:
            first = f'{self.out} is up to date with its {counts}; nothing was changed.'
        parts = ', '.join(f'{part} {len(names)}' for part, names in self.splits.items())
        return '\n'.join([first, *self.notes, f'Splits: {parts}.'])


@dataclass(frozen=True)
class Look:
    """The result of the first reading of a pair."""

    content: Content
    size: tuple[int, int]
    digest: str
    grey: bool


def prepare_dataset(
    source: str | Path,
    out: str | Path,
    classes: str | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
    unknown: str = 'error',
    orientation: str = 'auto',
    duplicates: str = 'error',
    check: Callable[[Classes], None] | None = None,
) -> Prepared:
    """Read the export of a labelling tool, check it, and write it as `images/ labels/ classes.csv splits/`.

    Labels become PNG files of class ids, with 255 for ignored pixels. A second run changes nothing; an interrupted run
    leaves nothing behind.

    Args:
        source: A folder or an archive with the frames and their labels, in one of the formats of `formats.LISTS`, with
            labelme's JSON, or in folders `images` and `masks`.
        out: The folder to create.
        classes: The classes, as names separated by commas or as the path of a list; those of the source if None.
        ignore: Names of classes to ignore.
        seed: Seed of the split, if it has to be drawn.
        unknown: `error`, or `ignore` to write values and colours without a class as 255.
        orientation: Whether labels were drawn on frames as `shown` or as `stored`, if frames have an EXIF orientation;
            or `auto`.
        duplicates: `error`, or `drop` to remove frames from train that are also in val or test, and frames that are in
            both val and test from the larger of the two (from test if they have the same number of pictures).
        check: Called with the classes before anything is written; what it raises ends the preparation.

    Raises:
        DataError: A file, a pair, a list or a split is invalid, or there is only one class; the message names it.
        UsageError: An argument is wrong, or another process is preparing the same folder.
        StorageError: `out` cannot be written; it is left unchanged.
    """
    for name, value, allowed in (
        ('unknown', unknown, ('error', 'ignore')),
        ('orientation', orientation, ORIENTATIONS),
        ('duplicates', duplicates, ('error', 'drop')),
    ):
        if value not in allowed:
            raise UsageError(f'{name} is one of {", ".join(allowed)}, not {value!r}.')
    source, out = Path(source), Path(out).resolve()
    with contextlib.ExitStack() as archives:
        skip = set() if source.resolve() == out else {out}
        export = recognise(list_source(source, skip, archives), classes)
        pairs = export.pairs.pairs
        if not pairs:
            raise DataError(describe_none(export, source))
        with target(out, Layout()) as made:
            looks = first_look(pairs, orientation)
            coding = decide([look.content for look in looks], export.classes, export.listed_in)
            coding = _without(coding, ignore, export.listed_in)
            if check is not None:
                check(coding.classes)
            digests = {pair.name: look.digest for pair, look in zip(pairs, looks, strict=True)}
            splits, notes = choose_splits(export, digests, seed)
            splits, dropped = without_duplicates(splits, digests, duplicates)
            kept = [pair for pair in pairs if pair.name in set(itertools.chain(*splits.values()))]
            made.begin([pair.name for pair in kept])

            counts, left = write_all(made, kept, coding, export.listed_in, unknown, orientation)
            made.put(OWN_NAME, table_text(coding.classes).encode(), export.listed_in or 'the classes of the source')
            made.put_splits(splits)
            pixels = sum(counts[name] for name in splits['train'])[: len(coding.classes.names)]
            notes = [
                *coding.notes,
                *counted_notes(export, looks, left),
                *absent_notes(coding.classes, pixels),
                *dropped,
                *notes,
            ]
    sizes = [look.size for pair, look in zip(pairs, looks, strict=True) if pair.name in counts]
    return Prepared(out, export.form, coding.classes, splits, pixels, sizes, made.changed, notes)


def write_all(
    made: Target, pairs: Sequence[Pair], coding: Coding, listed_in: str, unknown: str, orientation: str
) -> tuple[dict[str, np.ndarray], int]:
    """Write the frames, and their labels as class ids.

    Returns:
        The histogram of each label by name, int64 of shape (256,); and the number of pixels without a class.

    Raises:
        DataError: A label contains a value without a class, and `unknown` is `error`.
    """

    def write(pair: Pair) -> tuple[np.ndarray, int]:
        frame, label = read_pair(pair, orientation)
        ids, odd = coding.ids(label, frame.pixels.shape[:2], pair.label.shown)
        if odd and unknown == 'error':
            raise DataError(unknown_said(pair, odd, listed_in))
        left = int((ids == UNKNOWN).sum())
        ids[ids == UNKNOWN] = IGNORE
        made.put(made.layout.frame(pair.name, frame.suffix), frame.data, pair.frame.shown)
        made.put(made.layout.label(pair.name), encode_png(ids), pair.label.shown)
        return np.bincount(ids.ravel(), minlength=256), left

    written = for_all('Frames', write, pairs)
    counts = {pair.name: counted for pair, (counted, _) in zip(pairs, written, strict=True)}
    return counts, sum(left for _, left in written)


def first_look(pairs: Sequence[Pair], orientation: str) -> list[Look]:
    """Read all pairs once: check that they are intact and match in size, and collect what the labels contain."""

    def look(pair: Pair) -> Look:
        frame, label = read_pair(pair, orientation)
        return Look(content(label, pair.label.shown), frame.pixels.shape[:2], frame.digest, frame.grey)

    return for_all('Checking', look, pairs)


def unknown_said(pair: Pair, odd: str, listed_in: str) -> str:
    """Return the message that a label contains values without a class."""
    return (
        f'{pair.label.shown} contains values without a class{f" in {listed_in}" if listed_in else ""}: {odd}; correct '
        'the label or the list of classes, or use --unknown ignore to ignore such pixels.'
    )


def _without(coding: Coding, ignore: Sequence[str], listed_in: str) -> Coding:
    """Return a coding in which some classes are ignored.

    Raises:
        DataError: The source has a single class.
        UsageError: `ignore` names something else, or leaves fewer than two classes.
    """
    strange = [name for name in ignore if name not in coding.classes.names]
    if strange:
        raise UsageError(
            f'--ignore names {listed(strange)}, which is not a class; the classes are '
            f'{listed(coding.classes.names, 20)}.'
        )
    if len(coding.classes.names) < 2:
        raise DataError(
            f'{listed_in or "the source"} has a single class, {coding.classes.names[0]}, but training needs at least '
            'two; add a class for all other pixels, such as background.'
        )
    if not ignore:
        return coding
    kept = [place for place, name in enumerate(coding.classes.names) if name not in ignore]
    if len(kept) < 2:
        left = f'only the class {coding.classes.names[kept[0]]}' if kept else 'no class'
        raise UsageError(f'--ignore leaves {left}, but training needs at least two classes; ignore fewer.')
    new = {old: place for place, old in enumerate(kept)}
    palette = coding.classes.palette

    def mapped(table: dict) -> dict:
        return {key: new.get(number, IGNORE) for key, number in table.items()}

    classes = Classes(
        tuple(coding.classes.names[place] for place in kept), tuple(tuple(palette[place]) for place in kept)
    )
    return Coding(
        classes, mapped(coding.values), mapped(coding.colours), mapped(coding.names), coding.by_colour, coding.notes
    )


def choose_splits(export: Export, digests: dict[str, str], seed: int) -> tuple[Splits, list[str]]:
    """Return the splits, taken from the source or else drawn, and notes on them for the user."""
    names = list(digests)
    splits, lost = listed_splits(export.texts, names)
    where = 'lists'
    if not splits:
        splits, where = split_column(export.texts, names), 'column'
    if not splits:
        present = set(names)
        splits = {part: [name for name in found if name in present] for part, found in export.pairs.splits.items()}
        where = 'folders'
    notes = []
    if lost:
        notes.append(f'{len(lost)} lines of the split lists name no frame with a label and were left out.')
    rest = sorted(set(names) - set(itertools.chain(*splits.values())))
    if splits and rest and 'train' not in splits:
        splits['train'], rest = rest, []  # fast.ai lists only the validation frames
    elif splits and rest:
        notes.append(f'{len(rest)} frames that are in no split were left out: {listed(rest, 3)}.')
    groups = _groups(export, names, digests)
    grouped = len(set(groups.values())) < len(names)
    how = f'with seed {seed}' + (f' by {len(set(groups.values()))} groups' if grouped else '')
    if not splits:
        return draw(names, seed, groups), [*notes, f'The split was drawn {how}.']
    if not splits.get('train'):
        raise DataError(
            f'the {where} of the source leave no frames for training ({", ".join(splits)}); add a train split.'
        )
    if not splits.get('val'):
        drawn = draw(splits['train'], seed, groups, {'val': 0.2})
        splits = {**splits, **drawn}
        notes.append(f'The source has no validation split, so a fifth of train was drawn {how}.')
    else:
        notes.append(f'The split was taken from the source ({where}).')
    return {part: splits[part] for part in ('train', 'val', 'test') if splits.get(part)}, notes


def _groups(export: Export, names: Sequence[str], digests: dict[str, str]) -> dict[str, str]:
    """The group of each frame, given by a column or folder; frames with the same pixels are in the same group."""
    named = column(export.texts, names, GROUP_COLUMNS) or export.pairs.groups
    if len(set(named.values())) < 2:
        named = {}
    groups = {name: named.get(name, f'frame {name}') for name in names}
    first: dict[str, str] = {}
    merged: dict[str, str] = {}

    def root(group: str) -> str:
        while group in merged:
            group = merged[group]
        return group

    for name in names:
        mine, other = root(groups[name]), root(first.setdefault(digests[name], groups[name]))
        if mine != other:
            merged[mine] = other
    return {name: root(group) for name, group in groups.items()}


def without_duplicates(splits: Splits, digests: dict[str, str], duplicates: str) -> tuple[Splits, list[str]]:
    """Check that no picture is in two splits.

    Frames are removed from train if they are also in val or test. Frames in both val and test are removed from the
    split with more pictures, or from test if both have the same number: so val never becomes empty.

    Returns:
        The splits, without duplicates if `duplicates` is `drop`, and notes on them for the user.

    Raises:
        DataError: A picture is in two splits, and `duplicates` is `error`; or all of train is in val or test.
    """
    pictures = {part: {digests[name] for name in splits.get(part, ())} for part in ('val', 'test')}
    smaller, larger = sorted(pictures, key=lambda part: len(pictures[part]))  # val, test if both are equally large
    kept, said = dict(splits), []
    for part, others in (('train', ('val', 'test')), (larger, (smaller,))):
        held = {digests[name]: (other, name) for other in others for name in splits.get(other, ())}
        twins = {name: held[digests[name]] for name in splits.get(part, ()) if digests[name] in held}
        if twins and duplicates == 'error':
            name, (other, twin) = next(iter(twins.items()))
            raise DataError(
                f'{name} in {part} and {twin} in {other} are the same picture ({len(twins)} such pairs), which '
                f'inflates the scores; remove them from one split, or use --duplicates drop to remove them from {part}.'
            )
        if twins:
            kept[part] = [name for name in splits[part] if name not in twins]
            found = ' or '.join(other for other in others if any(digests[name] in pictures[other] for name in twins))
            said.append(f'{len(twins)} frames were removed from {part}, because they are also in {found}.')
    if not kept.get('train'):
        raise DataError('all frames of train are also in val or test; make another split.')
    if 'test' in kept and not kept['test']:
        said.append('No frames are left for test, so the config tests on val.')
    return {part: names for part, names in kept.items() if names}, said


def counted_notes(export: Export, looks: Sequence[Look], unknown: int) -> list[str]:
    """Return notes on what was left out or converted."""
    notes = []
    left_out = export.pairs.left_out
    if left_out:
        notes.append(f'{len(left_out)} images without a counterpart were left out: {listed(left_out, 3)}.')
    grey = sum(look.grey for look in looks)
    if grey:
        notes.append(f'{grey} grey frames were written as RGB.')
    if unknown:
        notes.append(f'{unknown} pixels without a class are ignored (255).')
    return notes


def absent_notes(classes: Classes, counts: np.ndarray) -> list[str]:
    """Return a note on classes that no training frame contains.

    Raises:
        DataError: All pixels are ignored.
    """
    absent = [name for name, count in zip(classes.names, counts, strict=True) if not count]
    if len(absent) == len(classes.names):
        raise DataError('all pixels of the training frames are ignored; check the masks and the list of classes.')
    return [f'No frame of train contains {listed(absent, 8)}.'] if absent else []
