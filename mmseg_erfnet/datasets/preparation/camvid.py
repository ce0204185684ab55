"""Convert CamVid, in any of its usual forms, to the layout of the official archives.

The readers are shared with other data sets; only the classes, the splits and the layout are specific to CamVid.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from mmseg_erfnet.datasets.camvid import (
    CLASSES,
    CLASSES11,
    FRAMES,
    GROUPS,
    LABELS,
    PALETTE,
    random_split,
    standard_split,
)
from mmseg_erfnet.datasets.classes import Classes
from mmseg_erfnet.datasets.labels import IGNORE, UNKNOWN
from mmseg_erfnet.datasets.preparation.coding import Coding, Content, kinds_by_colour
from mmseg_erfnet.datasets.preparation.formats import recognise
from mmseg_erfnet.datasets.preparation.pairs import Pair, Pairs
from mmseg_erfnet.datasets.preparation.prepare import first_look
from mmseg_erfnet.datasets.preparation.reading import COLOURS, encode_png, read_pair
from mmseg_erfnet.datasets.preparation.sources import SourceFile, list_source
from mmseg_erfnet.datasets.preparation.splits import PARTS, Splits, listed_splits
from mmseg_erfnet.datasets.preparation.writing import Layout, Target, for_all, target
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.text import listed

SPLITS = ('auto', 'standard', 'random', 'source')
VOID = CLASSES.index('Void')
# SegNet's ids: 11 is unlabelled; later copies use 255 for it.
SEGNET_IDS = {place: CLASSES.index(names[0]) for place, names in enumerate(GROUPS.values())} | {11: VOID, 255: VOID}
CAMVID_COLOURS = {tuple(colour): place for place, colour in enumerate(PALETTE)}
CAMVID_LAYOUT = Layout(FRAMES, LABELS, '_L.png')


@dataclass(frozen=True)
class PreparedCamVid:
    """The result of `prepare_camvid`; `str` describes it to the user."""

    out: Path
    frames: int
    standard: int
    left_out: list[str]
    splits: Splits
    changed: bool
    notes: list[str]

    def __str__(self) -> str:
        lines = [
            f'{self.frames} frames in {self.out}, {self.standard} of them among the 701 of CamVid.'
            if self.changed
            else f'{self.out} is up to date with its {self.frames} frames; nothing was changed.'
        ]
        if self.standard < 701 and self.changed:
            lines.append('Frames are missing: the splits contain only the frames present.')
        if self.left_out:
            lines.append(
                f'{len(self.left_out)} images without a counterpart were left out: {listed(self.left_out, 3)}.'
            )
        lines += self.notes
        lines.append('Splits: ' + ', '.join(f'{split} {len(names)}' for split, names in self.splits.items()) + '.')
        absent = [split for split in ('train', 'val', 'test') if split not in self.splits]
        if absent:
            lines.append(f'There is no split {" or ".join(absent)}, because no frames of it are present.')
        return '\n'.join(lines)


def prepare_camvid(
    source: str | Path,
    out: str | Path,
    split: str = 'auto',
    seed: int = 0,
    unknown: str = 'error',
    orientation: str = 'auto',
) -> PreparedCamVid:
    """Check CamVid and write it in the layout of the official archives, with its splits.

    A second run changes nothing; an interrupted run leaves no `out` behind. If `out` contains the same frames already,
    only missing splits are written, so archives that were unpacked there by hand work, too.

    Args:
        source: A folder that contains, at any depth, the official archives, packed or unpacked; the folders `train
            train_labels val val_labels test test_labels`; SegNet's `train trainannot ...` with indexed labels; or
            fast.ai's `images labels codes.txt valid.txt`. Or a zip or tar archive of one of these.
        out: The folder to create.
        split: `standard`: SegNet's 367 / 101 / 233; `random`: 128 of 701 frames for validation and the others for
            training; `source`: given by the source's folders or lists; `auto`: that of the source if it has one, else
            SegNet's. Every split is limited to the frames present.
        seed: Seed of the random split.
        unknown: `error`, or `ignore` to accept labels with colours outside the palette. Such labels are kept unchanged
            and have to be loaded with `LoadSegLabels(unknown='ignore')`.
        orientation: See :func:`~mmseg_erfnet.datasets.preparation.prepare.prepare_dataset`.

    Returns:
        A summary of the prepared data.

    Raises:
        DataError: There is nothing to prepare, an archive or image is damaged or unsafe, a label differs in size from
            its frame or has a colour outside the palette, or `out` contains other data or another split.
        UsageError: There is no such split, or another process is preparing the same folder.
        StorageError: `out` cannot be written; it is left unchanged.
    """
    if split not in SPLITS:
        raise UsageError(f'split is one of {", ".join(SPLITS)}, not {split!r}.')
    source, out = Path(source), Path(out).resolve()
    with contextlib.ExitStack() as archives:
        skip = set() if source.resolve() == out else {out}
        export = recognise(list_source(source, skip, archives))
        pairs = _by_stem(export.pairs, source)
        names = [pair.name for pair in pairs]
        splits, notes = _splits(export.texts, export.pairs, names, split, seed)
        with target(out, CAMVID_LAYOUT) as made:
            contents = [look.content for look in first_look(pairs, orientation)]
            coding = _coding(contents, export.classes, export.listed_in)
            made.begin(names)
            _write_all(made, pairs, coding, unknown, orientation)
            made.put_splits(splits)
    standard = len(set(names) & {*standard_split('trainval'), *standard_split('test')})
    return PreparedCamVid(out, len(names), standard, export.pairs.left_out, splits, made.changed, notes)


def _by_stem(found: Pairs, source: Path) -> list[Pair]:
    """The pairs, named by file name without folders: CamVid's file names are unique."""
    if not found.pairs:
        raise DataError(
            f'{source} holds no frame with its label ({found.frames} frames and {found.labels} labels '
            f'are there); give a folder with {FRAMES}.zip and {LABELS}.zip, or what they unpack to.'
        )
    stems: dict[str, Pair] = {}
    for pair in found.pairs:
        stem = PurePosixPath(pair.name).name
        other = stems.setdefault(stem, Pair(stem, pair.frame, pair.label))
        if other.frame is not pair.frame:
            raise DataError(
                f'{source} has {stem} twice, {other.frame.shown} and {pair.frame.shown}; keep the right one.'
            )
    return [stems[stem] for stem in sorted(stems)]


def _splits(
    texts: Sequence[SourceFile], pairs: Pairs, names: Sequence[str], split: str, seed: int
) -> tuple[Splits, list[str]]:
    """Return the splits, and notes on them for the user."""
    if split == 'random':
        train, val = random_split(names, max(1, round(len(names) * 128 / 701)), seed)
        return {'train': train, 'val': val, 'trainval': sorted(names)}, []
    own = {}
    if split in ('auto', 'source'):
        own = _own_splits(texts, pairs, names)
    present = set(names)
    standard = {part: [name for name in standard_split(part) if name in present] for part in PARTS}
    differ = any(set(own.get(part, ())) != set(members) for part, members in standard.items())
    if own and differ:
        note = "The split is the source's own, not SegNet's: results on it are not comparable with published ones"
        more = '; --split standard uses that of SegNet.' if any(standard.values()) else '.'
        splits = {part: sorted(own[part]) for part in PARTS if own.get(part)}
        return {**splits, 'trainval': sorted([*splits.get('train', []), *splits.get('val', [])])}, [note + more]
    if split == 'source' and not own:
        raise DataError('the source has no split of its own; use --split standard or random.')
    if not any(standard.values()):
        raise DataError(
            f"none of the {len(names)} frames ({listed(names, 3)}) has the name of one of CamVid's 701; "
            'give CamVid, or use --split random.'
        )
    standard['trainval'] = sorted([*standard['train'], *standard['val']])
    return {part: members for part, members in standard.items() if members}, []


def _own_splits(texts: Sequence[SourceFile], pairs: Pairs, names: Sequence[str]) -> Splits:
    """The source's own splits, if it has a training split and at least one other."""
    known = set(names)
    own, _ = listed_splits(texts, names)
    if own and 'train' not in own:
        own['train'] = sorted(known - set().union(*own.values()))
    if not own:
        own = {part: [name for name in map(_stem, members) if name in known] for part, members in pairs.splits.items()}
    return own if own.get('train') and (own.get('val') or own.get('test')) else {}


def _stem(name: str) -> str:
    return PurePosixPath(name).name


def _coding(contents: Sequence[Content], classes: Classes | None, listed_in: str) -> Coding:
    """The ids of CamVid's 32 classes: by their colours, by the source's own list, or by SegNet's ids."""
    colours = CAMVID_COLOURS
    values = SEGNET_IDS
    if classes is not None:
        ids = _ids_of(classes, listed_in)
        if classes.colours is not None:
            colours = dict(zip(classes.colours, ids, strict=True))
        values = {IGNORE: VOID, **dict(zip(classes.stored, ids, strict=True))}
    by_colour = kinds_by_colour(contents, colours, values)
    return Coding(Classes(CLASSES, tuple(colours)), values, colours, by_colour=by_colour)


def _ids_of(classes: Classes, listed_in: str) -> list[int]:
    """The CamVid class id of each name in a list; a name of SegNet's 11 classes stands for its first member."""
    ids = {name.lower(): place for place, name in enumerate(CLASSES)}
    ids |= {name.lower(): CLASSES.index(GROUPS[name][0]) for name in CLASSES11 if name.lower() not in ids}
    ids |= dict.fromkeys(('unlabelled', 'unlabeled', 'background', '_background_', 'ignore'), VOID)
    strange = [name for name in classes.names if name.lower() not in ids]
    if strange:
        raise DataError(
            f"{listed_in} has classes that are not CamVid's ({listed(strange)}); prepare the data with "
            'tools/prepare_dataset.py.'
        )
    return [ids[name.lower()] for name in classes.names]


def _write_all(made: Target, pairs: Sequence[Pair], coding: Coding, unknown: str, orientation: str) -> None:
    palette = np.array(PALETTE, np.uint8)[:, ::-1]

    def write(pair: Pair) -> None:
        frame, label = read_pair(pair, orientation)
        ids, odd = coding.ids(label, frame.pixels.shape[:2], pair.label.shown)
        if odd and (unknown == 'error' or label.kind not in coding.by_colour):
            raise DataError(_unknown_said(pair, odd, label.kind in coding.by_colour))
        if label.kind in coding.by_colour and coding.colours == CAMVID_COLOURS:
            # Painted in CamVid's colours: kept unchanged, including unknown colours.
            data = label.data if label.kind == COLOURS and label.data else encode_png(label.colours)
        else:
            ids[ids == UNKNOWN] = VOID
            data = encode_png(palette[ids])
        # CamVid's layout requires PNG frames.
        data_frame = frame.data if frame.suffix == '.png' else encode_png(frame.pixels)
        made.put(made.layout.frame(pair.name, '.png'), data_frame, pair.frame.shown)
        made.put(made.layout.label(pair.name), data, pair.label.shown)

    for_all('Frames', write, pairs)


def _unknown_said(pair: Pair, odd: str, by_colour: bool) -> str:
    if by_colour:
        return (
            f"{pair.label.shown} has colours that are not CamVid's: {odd}; put the original file in its place, accept "
            'them with --unknown ignore, or load labels with colours of their own with LoadSegLabels(palette=...).'
        )
    return (
        f"{pair.label.shown} has ids that are not SegNet's: {odd}; 0 to 10 are the classes and 11 is unlabelled: give "
        'the labels in colours, or a codes.txt that names the classes in their order.'
    )
