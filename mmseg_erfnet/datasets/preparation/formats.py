"""Recognise the labelling tool or public data set that a source comes from, by the file that lists its classes."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmseg_erfnet.datasets.classes import (
    OWN_NAME,
    Classes,
    checked,
    parse_label_colours,
    parse_labelmap,
    parse_names,
    parse_table,
)
from mmseg_erfnet.datasets.preparation import labelme
from mmseg_erfnet.datasets.preparation.pairs import Pairs, find_pairs
from mmseg_erfnet.datasets.preparation.sources import SourceFile, read_text
from mmseg_erfnet.errors import DataError, UserError
from mmseg_erfnet.text import listed

MAX_LIST = 1 << 20  # largest size of a list of classes, bytes
VOC_FOLDERS = {'SegmentationClass', 'SegmentationClassPNG'}
# By the name of the list of classes; the first one found is used.
LISTS: dict[str, tuple[str, Callable[[str, str], Classes]]] = {
    OWN_NAME: ('a folder with a classes.csv', parse_table),
    'labelmap.txt': ('CVAT, "Segmentation mask 1.1"', parse_labelmap),
    'label_colors.txt': ('CamVid with label_colors.txt, as CVAT\'s "CamVid 1.0"', parse_label_colours),
    '_classes.csv': ('Roboflow, "Semantic Segmentation Masks"', parse_table),
    'class_dict.csv': ('folders with a class_dict.csv, as on Kaggle', parse_table),
    'codes.txt': ('fast.ai, codes.txt', parse_names),
    'class_names.txt': ('Pascal VOC, as labelme2voc writes it', parse_names),
    'labels.txt': ('a folder with a labels.txt', parse_names),
    'classes.txt': ('a folder with a classes.txt', parse_names),
}


@dataclass
class Export:
    """A recognised source: its format in words, its frames, and its list of classes, if it has one."""

    form: str
    pairs: Pairs
    classes: Classes | None
    listed_in: str
    texts: list[SourceFile]


def recognise(files: Sequence[SourceFile], classes: str | None = None) -> Export:
    """Find the frames, labels and classes of a source.

    Args:
        files: All images and texts of the source.
        classes: Names separated by commas, or the path of a list, used instead of the source's own list.

    Raises:
        DataError: A frame occurs twice, a list is damaged, or two lists of the same name contradict each other.
    """
    images = [file for file in files if file.is_image]
    texts = [file for file in files if not file.is_image]
    form, found, listed_in = _list(texts)
    if classes is not None:
        found, listed_in = parse_option(classes), '--classes'
    annotations = {} if _has_label_folders(images) else _annotations(texts)
    if annotations:
        frames = {str(file.path): file for file in images}
        pairs = _labelme_pairs(annotations, frames)
        return Export('labelme, JSON', pairs, found, listed_in, texts)
    pairs = find_pairs(images)
    if form == LISTS['labels.txt'][0] and any(VOC_FOLDERS & set(pair.label.path.parts) for pair in pairs.pairs):
        form = LISTS['class_names.txt'][0]
    return Export(form or 'frames and masks in folders', pairs, found, listed_in, texts)


def parse_option(text: str) -> Classes:
    """Read `--classes`: names separated by commas, or the path of a list in one of the known formats.

    Raises:
        DataError: The list cannot be read.
    """
    path = Path(text)
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            file = SourceFile(str(path), PurePosixPath(path.name), path.read_bytes)
            parse = LISTS[path.name][1] if path.name in LISTS else parse_table if path.suffix == '.csv' else parse_names
            return parse(read_text(file, MAX_LIST), file.shown)
    if path.suffix in ('.csv', '.txt'):
        raise DataError(f'--classes {text} is not a file; give names separated by commas, or a file that lists them.')
    return checked([name.strip() for name in text.split(',')], None, None, '--classes')


def _list(texts: Sequence[SourceFile]) -> tuple[str, Classes | None, str]:
    for name, (form, parse) in LISTS.items():
        files = [file for file in texts if file.path.name == name]
        found = [(parse(read_text(file, MAX_LIST), file.shown), file) for file in files]
        for classes, file in found[1:]:
            if classes != found[0][0]:
                raise DataError(
                    f'{found[0][1].shown} and {file.shown} list different classes; prepare one export at a time.'
                )
        if found:
            return form, found[0][0], found[0][1].shown
    return '', None, ''


def _has_label_folders(images: Sequence[SourceFile]) -> bool:
    return any(VOC_FOLDERS & set(file.path.parts) for file in images)


def _annotations(texts: Sequence[SourceFile]) -> list[SourceFile]:
    found = []
    for file in texts:
        if file.suffix == '.json':
            with contextlib.suppress(UserError):  # a JSON file of another kind
                if labelme.is_labelme(read_text(file)):
                    found.append(file)
    return found


def _labelme_pairs(annotations: Sequence[SourceFile], frames: dict[str, SourceFile]) -> Pairs:
    """Pair labelme's files with the frames that they name, each under the name of its JSON file."""
    used, lost, labels = {}, [], []
    for file in annotations:
        frame = labelme.frame_of(file, labelme.parse(file), frames)
        if frame is None:
            lost.append(file.shown)
            continue
        labels.append(file)
        named = SourceFile(frame.shown, file.path.with_suffix(frame.path.suffix), frame.read, frame.archived)
        used[str(frame.path)] = named
    pairs = find_pairs(list(used.values()), labels)
    pairs.left_out = sorted([*pairs.left_out, *lost, *(frames[path].shown for path in frames.keys() - used.keys())])
    pairs.frames, pairs.labels = max(pairs.frames, len(frames)), len(annotations)
    return pairs


def describe_none(export: Export, source: object) -> str:
    """Return the message that a source has no frame with its label, and what it has instead."""
    pairs = export.pairs
    detail = f' ({listed(pairs.left_out, 3)})' if pairs.left_out else ''
    if pairs.labels and not pairs.frames:
        return (
            f'{source} contains {pairs.labels} labels but no frames{detail}; export again with the images ("Save '
            'images" in CVAT), or put them next to the labels in a folder images.'
        )
    return (
        f'{source} holds no frame with its label ({pairs.frames} frames and {pairs.labels} labels are there{detail}); '
        'give an export of a labelling tool, or folders images and masks with the same names.'
    )
