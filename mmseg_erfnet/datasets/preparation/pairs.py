"""Pair frames with their labels, and read splits from the names of folders.

The layouts of labelling tools and of public data sets differ only in names: `images/train`, `train/images`, `train`
with `train_labels` or `trainannot`, `JPEGImages` with `SegmentationClass`, `x.jpg` with `x_mask.png`. So one rule
covers all: folders with such names determine what their files are; other folders are part of the frame's name.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mmseg_erfnet.datasets.preparation.sources import SourceFile
from mmseg_erfnet.datasets.preparation.splits import SYNONYMS
from mmseg_erfnet.errors import DataError

FRAME, LABEL, SKIPPED = 'frame', 'label', 'skipped'
# Words that the names of folders consist of, in lower case.
FRAME_WORDS = """
images image imgs img jpegimages frames frame rgb photos photo pictures inputs input x stillsraw raw
"""
LABEL_WORDS = """
labels label masks mask annotations annotation ann anns annot annots gt groundtruth segmentationclass
segmentationclasspng segmentations segmentation seg targets target y labeledapproved
"""
SKIPPED_WORDS = """
segmentationobject segmentationobjectpng segmentationclassvisualization segmentationobjectvisualization
segmentationclassnpy segmentationobjectnpy visualization visualizations overlay overlays
"""
WORDS = {
    word: role
    for role, words in ((FRAME, FRAME_WORDS), (LABEL, LABEL_WORDS), (SKIPPED, SKIPPED_WORDS))
    for word in words.split()
}
NEUTRAL = {'dir', 'full', 'folder', '701', 'png', 'jpg', 'set', 'data'}
LABEL_ENDING = re.compile(r'[_-](L|P|masks?|labels?|gt|seg|segmentation|annotation|labelIds)$', re.IGNORECASE)
NAME_LIMIT = 200  # bytes per part of a name: 255 are possible, and suffixes and temporary names need some


@dataclass
class Pair:
    """A frame and its label; `name` is the frame's name in the prepared data set, without suffix."""

    name: str
    frame: SourceFile
    label: SourceFile


@dataclass
class Pairs:
    """The frames of a source.

    Attributes:
        pairs: The frames with labels, sorted by name.
        splits: The frames of each split, if folders name splits.
        groups: The group of each frame, if folders name groups.
        left_out: Images without a counterpart.
        frames: Number of frames, with and without label.
        labels: Number of labels.
    """

    pairs: list[Pair]
    splits: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    frames: int = 0
    labels: int = 0


@dataclass(frozen=True)
class _Place:
    role: str | None
    split: str | None
    name: str  # with the folders that have no role


def find_pairs(images: Sequence[SourceFile], labels: Sequence[SourceFile] = ()) -> Pairs:
    """Pair frames with labels.

    Args:
        images: Frames and labels, or only frames.
        labels: Labels that are not images. If there are any, all images are frames.

    Raises:
        DataError: A frame or a label occurs twice.
    """
    images, labels = _unpacked(images), _unpacked(labels)
    common = _common([file.path for file in [*images, *labels]])
    annotated = {_without_annot(part) for file in images for part in file.path.parts[:-1]} - {None}
    placed = [(file, _place(file.path, common, annotated)) for file in images]
    roles = {place.role for _, place in placed}
    frames: dict[tuple, SourceFile] = {}
    found: dict[tuple, SourceFile] = {}
    for file, place in placed:
        if place.role == SKIPPED:
            continue
        is_label = place.role == LABEL
        if LABEL not in roles and not labels:
            is_label = LABEL_ENDING.search(place.name) is not None
        _put(found if is_label else frames, place, file)
    for file in labels:
        _put(found, _place(file.path, common, annotated), file)
    return _matched(frames, found)


def _unpacked(files: Iterable[SourceFile]) -> list[SourceFile]:
    """Leave out members of archives that are also unpacked next to their archive."""
    files = list(files)
    plain = {file.path.parts for file in files if not file.archived}
    return [file for file in files if not file.archived or not {file.path.parts, file.path.parts[1:]} & plain]


def _common(paths: Sequence[PurePosixPath]) -> int:
    """The number of leading folders that all paths share, which do not tell frames and labels apart."""
    parents = [path.parts[:-1] for path in paths]
    number = 0
    while parents and all(len(parts) > number and parts[number] == parents[0][number] for parts in parents):
        number += 1
    return number


def _without_annot(folder: str) -> str | None:
    # CVAT's "CamVid 1.0" and SegNet: `default` next to `defaultannot`, with any name instead of `default`.
    return folder[:-5] if folder.lower().endswith('annot') and len(folder) > 5 else None


def _place(path: PurePosixPath, common: int, annotated: set[str]) -> _Place:
    role = split = None
    kept = []
    for folder in path.parts[common:-1]:
        said = _meaning(folder, annotated)
        if said is None:
            kept.append(folder)
            continue
        role, split = said[0] or role, said[1] or split
        if role == SKIPPED:
            break
    return _Place(role, split, '/'.join([*kept, path.stem]))


def _meaning(folder: str, annotated: set[str]) -> tuple[str | None, str | None] | None:
    """The role and the split that a folder's name states, or None if it states neither."""
    if _without_annot(folder) is not None:
        return LABEL, SYNONYMS.get(_without_annot(folder).strip('_-').lower())
    if folder in annotated:
        return FRAME, SYNONYMS.get(folder.lower())
    words = [word for word in re.split(r'[_\-. ]+', folder.lower()) if word and word not in NEUTRAL]
    if not words or any(word not in WORDS and word not in SYNONYMS for word in words):
        return None
    roles = [WORDS[word] for word in words if word in WORDS]
    parts = [SYNONYMS[word] for word in words if word in SYNONYMS]
    # `label_images` are labels: the role FRAME is the weakest.
    role = next((role for role in (SKIPPED, LABEL, FRAME) if role in roles), None)
    return role, parts[0] if parts else None


def _put(where: dict[tuple, SourceFile], place: _Place, file: SourceFile) -> None:
    key = place.split, place.name
    kept = where.setdefault(key, file)
    if kept is not file and kept.archived == file.archived:
        raise DataError(f'{place.name} occurs twice, as {kept.shown} and as {file.shown}; keep the right one.')


def _matched(frames: dict[tuple, SourceFile], labels: dict[tuple, SourceFile]) -> Pairs:
    stems = {key: label for key, label in labels.items() if key not in frames}
    by_frame = {key: label for key, label in labels.items() if key in frames}
    names = Counter(name for _, name in frames)
    only = {name: (split, name) for split, name in frames if names[name] == 1}
    lost = []
    for (split, name), label in stems.items():
        bare = LABEL_ENDING.sub('', name)
        key = next(
            (key for key in ((split, bare), only.get(name), only.get(bare)) if key in frames and key not in by_frame),
            None,
        )
        if key is None:
            lost.append(label.shown)
        else:
            by_frame[key] = label
    lost += [file.shown for key, file in frames.items() if key not in by_frame]
    found = Pairs([], left_out=sorted(lost), frames=len(frames), labels=len(labels))
    # If names occur in several splits, the split becomes a folder of the name.
    repeated = any(count > 1 for count in names.values())
    taken: set[str] = set()
    for (split, name), frame in sorted(frames.items(), key=lambda item: (item[0][1], item[0][0] or '')):
        if (split, name) not in by_frame:
            continue
        proper = _unique(proper_name(f'{split}/{name}' if repeated and split else name), taken)
        found.pairs.append(Pair(proper, frame, by_frame[split, name]))
        if split:
            found.splits.setdefault(split, []).append(proper)
        if '/' in name:
            found.groups[proper] = name.rpartition('/')[0]
    return found


def proper_name(name: str) -> str:
    """Return a name that is valid as a line of a split list and as a file name on every system.

    Control characters and those that Windows forbids become _; leading and trailing blanks are removed, and each part
    is cut to `NAME_LIMIT` bytes.

    Args:
        name: The name, with folders separated by /.
    """
    parts = []
    for part in name.split('/'):
        text = part.encode(errors='surrogateescape').decode(errors='replace')
        text = ''.join(letter if letter.isprintable() and letter not in '\\:*?"<>|\ufffd' else '_' for letter in text)
        text = text.strip() or '_'
        text = f'_{text[1:]}' if text.startswith('.') else text
        # The cut may divide a character, whose rest is dropped, or leave a blank at the end.
        parts.append(text.encode()[:NAME_LIMIT].decode(errors='ignore').rstrip())
    return '/'.join(parts)


def _unique(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found.lower() in taken:  # the file systems of Windows and macOS ignore case
        found, number = f'{name}_{number}', number + 1
    taken.add(found.lower())
    return found
