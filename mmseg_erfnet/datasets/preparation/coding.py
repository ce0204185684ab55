"""The meaning of the values and colours of a source's labels, determined once for all labels, never file by file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmseg_erfnet.datasets.classes import Classes, Colour, from_values
from mmseg_erfnet.datasets.labels import IGNORE, UNKNOWN, describe
from mmseg_erfnet.datasets.preparation import labelme
from mmseg_erfnet.datasets.preparation.reading import COLOURS, GREY, INDICES, SHAPES, Label
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.text import listed

MAX_COLOURS = 64  # without a list of classes, more colours than this are not taken for classes
BINARY = {0, 255}
CLASSES_REMEDY = 'write a classes.csv with the header name,r,g,b (or name,value) into the source, or give --classes'


@dataclass(frozen=True)
class Content:
    """What a label contains: `values` if it has any (colour images that are all grey have), `colours` as 0xRRGGBB."""

    kind: str
    shown: str
    values: frozenset[int] | None = None
    colours: frozenset[int] | None = None
    names: frozenset[str] = frozenset()


@dataclass
class Coding:
    """The class id of each value, of each colour and of each name of a shape.

    Attributes:
        classes: The classes.
        values: Value -> id; 255 means ignored.
        colours: RGB colour -> id.
        names: Label of a shape -> id.
        by_colour: The kinds of labels that are read by their colours.
        notes: Notes for the user.
    """

    classes: Classes
    values: dict[int, int] = field(default_factory=dict)
    colours: dict[Colour, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    by_colour: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    def ids(self, label: Label, size: tuple[int, int], shown: str) -> tuple[np.ndarray, str]:
        """Return a label's class ids, uint8 of shape (H, W), and a description of its unknown values or colours.

        Unknown pixels become 254.
        """
        if label.shapes is not None:
            return labelme.draw(label.shapes, size, self.names, shown), ''
        if label.kind in self.by_colour:
            stored = _painted(label)
            ids = _by_code(_codes(stored), {_code(colour): number for colour, number in self.colours.items()})
        else:
            stored = label.colours[..., 0] if label.values is None else label.values
            table = np.full(256, UNKNOWN, np.uint8)
            table[list(self.values)] = list(self.values.values())
            ids = table[stored]
            if label.values is None:  # painted in grey; coloured pixels are unknown
                ids[np.ptp(label.colours, axis=2) > 0] = UNKNOWN
                stored = label.colours if (ids == UNKNOWN).any() else stored
        unknown = ids == UNKNOWN
        return ids, describe(stored[unknown]) if unknown.any() else ''


def content(label: Label, shown: str) -> Content:
    """Return what a label contains."""
    if label.shapes is not None:
        return Content(SHAPES, shown, names=frozenset(labelme.names_of(label.shapes)))
    colours = frozenset(_distinct(_codes(_painted(label))).tolist())
    if label.values is not None:
        values = frozenset(_distinct(label.values).tolist())
    elif all(code == (code & 255) * 0x010101 for code in colours):
        values = frozenset(code & 255 for code in colours)
    else:
        values = None
    return Content(label.kind, shown, values, colours)


def decide(contents: Sequence[Content], classes: Classes | None, listed_in: str) -> Coding:
    """Determine what labels mean.

    Args:
        contents: What the labels contain.
        classes: The listed classes, if there is a list.
        listed_in: The list's name.

    Raises:
        DataError: The labels do not match the list, or there is no list and the classes are ambiguous.
    """
    if any(found.kind == SHAPES for found in contents):
        return _by_names(contents, classes)
    coding = _inferred(contents) if classes is None else _listed(contents, classes, listed_in)
    coding.colours |= dict.fromkeys(coding.classes.ignored_colours, IGNORE)
    coding.values |= dict.fromkeys(coding.classes.ignored_values, IGNORE)
    return coding


def kinds_by_colour(contents: Iterable[Content], colours: Iterable[Colour], values: Iterable[int]) -> frozenset[str]:
    """Return the kinds of labels that are read by their colours rather than by their values.

    Labels with a palette and grey labels are read by colour if all their colours are those of classes, else by value.
    """
    contents, codes, values = list(contents), set(map(_code, colours)), {*values, IGNORE}
    kinds = set()
    for kind in (COLOURS, INDICES, GREY):
        found = [item for item in contents if item.kind == kind]
        fit = codes and all(item.colours <= codes for item in found)
        valued = all(item.values is not None and item.values <= values for item in found)
        if fit or (kind == COLOURS and not valued):
            kinds.add(kind)
    return frozenset(kinds)


def _by_names(contents: Sequence[Content], classes: Classes | None) -> Coding:
    other = next((found for found in contents if found.kind != SHAPES), None)
    if other is not None:
        raise DataError(f'{other.shown} is an image among the JSON files of labelme; keep one kind of labels.')
    if classes is None:
        named = sorted({name for found in contents for name in found.names} - {labelme.BACKGROUND})
        if not named:
            raise DataError('the JSON files of labelme have no shapes; label something first.')
        classes = Classes((labelme.BACKGROUND, *named))
    ids = {name: number for number, name in enumerate(classes.names)}
    notes = []
    if labelme.BACKGROUND not in ids and 'background' in ids:
        ids[labelme.BACKGROUND] = ids['background']
    if labelme.BACKGROUND not in ids:
        notes.append('No class is called _background_, so pixels outside all shapes are ignored (255).')
    return Coding(classes, names={**ids, '__ignore__': IGNORE}, notes=notes)


def _listed(contents: Sequence[Content], classes: Classes, listed_in: str) -> Coding:
    colours = dict(zip(classes.colours or (), range(len(classes.names)), strict=False))
    by_colour = kinds_by_colour(contents, [*colours, *classes.ignored_colours], classes.stored)
    if COLOURS in by_colour and not colours:
        painted = next(found for found in contents if found.kind == COLOURS)
        raise DataError(f'{painted.shown} is painted in colours, but {listed_in} names no colours; {CLASSES_REMEDY}.')
    rest = [found for found in contents if found.kind not in by_colour]
    seen = frozenset().union(*(found.values or () for found in rest))
    notes = []
    if seen and seen <= BINARY and IGNORE in seen and IGNORE not in classes.stored:
        classes, note = _binary_classes(classes, rest[0], listed_in)
        notes.append(note)
    elif len(classes.names) == 1 and seen == {0, 1}:
        classes = Classes(('background', *classes.names))
        notes.append(f'{listed_in} names one class, so value 0 is background and value 1 is {classes.names[1]}.')
    values = {IGNORE: IGNORE, **{value: number for number, value in enumerate(classes.stored)}}
    return Coding(classes, values, colours, by_colour=by_colour, notes=notes)


def _binary_classes(classes: Classes, example: Content, listed_in: str) -> tuple[Classes, str]:
    """The classes of masks that contain only 0 and 255."""
    names = classes.names if len(classes.names) == 2 else ('background', *classes.names)
    if len(names) != 2:
        raise DataError(
            f'{example.shown} and all other masks contain only 0 and 255, but {listed_in} names {len(classes.names)} '
            f'classes; export masks with a value or a colour for each class, or {CLASSES_REMEDY}.'
        )
    note = f'The masks contain 0 and 255: 0 is read as {names[0]}, 255 as {names[1]}.'
    return Classes(names, None, (0, 255)), note


def _inferred(contents: Sequence[Content]) -> Coding:
    """Classes of labels without a list of them."""
    if any(found.values is None for found in contents):
        return _inferred_from_colours(contents)
    seen = sorted(frozenset().union(*(found.values for found in contents)))
    if set(seen) == BINARY:
        classes, note = _binary_classes(Classes(('background', 'foreground')), contents[0], '')
        return Coding(classes, {0: 0, 255: 1}, notes=[note])
    kept = [value for value in seen if value != IGNORE]
    if len(kept) < 2:
        raise DataError(
            f'all labels contain only the value {seen[0]} ({contents[0].shown}, ...), which leaves nothing to learn; '
            f'check the export.'
        )
    gaps = kept[-1] - kept[0] >= len(kept)
    if gaps and (IGNORE in seen or kept[-1] > MAX_COLOURS):
        raise DataError(
            f'the labels contain the values {listed(seen, 8)}, and no list names their classes; {CLASSES_REMEDY}.'
        )
    classes = from_values(np.array(kept))
    notes = [f'No list names the classes, so they are called {listed(classes.names, 3)}; --classes names them.']
    if IGNORE in seen:
        notes.append('The value 255 is ignored.')
    if gaps:
        notes.append(f'The values {listed(kept, 8)} become 0 to {len(kept) - 1}.')
    return Coding(classes, {IGNORE: IGNORE, **{value: number for number, value in enumerate(kept)}}, notes=notes)


def _inferred_from_colours(contents: Sequence[Content]) -> Coding:
    codes = sorted(frozenset().union(*(found.colours for found in contents)))
    if len(codes) > MAX_COLOURS:
        many = max(contents, key=lambda found: len(found.colours))
        raise DataError(
            f'the labels contain {len(codes)} colours, {many.shown} alone {len(many.colours)}, and no list says which '
            f'are classes; export masks without smooth edges, or {CLASSES_REMEDY}.'
        )
    colours = [(code >> 16, code >> 8 & 255, code & 255) for code in codes]
    classes = Classes(tuple('colour_{}_{}_{}'.format(*colour) for colour in colours), tuple(colours))
    note = f'No list names the classes, so they are named after their colours ({listed(classes.names, 2)}).'
    return Coding(
        classes,
        colours={colour: number for number, colour in enumerate(colours)},
        by_colour=frozenset((COLOURS, INDICES, GREY)),
        notes=[note],
    )


def _painted(label: Label) -> np.ndarray:
    return np.repeat(label.values[..., None], 3, 2) if label.colours is None else label.colours


def _codes(pixels: np.ndarray) -> np.ndarray:
    blue, green, red = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _distinct(array: np.ndarray) -> np.ndarray:
    """Unique values, fast for labels: most neighbours are equal, so one value per run is enough."""
    flat = array.ravel()
    starts = np.empty(len(flat), bool)
    starts[:1] = True
    np.not_equal(flat[1:], flat[:-1], out=starts[1:])
    return np.unique(flat[starts])


def _by_code(codes: np.ndarray, ids: Mapping[int, int]) -> np.ndarray:
    known = np.array(sorted(ids), np.uint32)
    targets = np.array([ids[code] for code in known.tolist()], np.uint8)
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    return np.where(known[place] == codes, targets[place], np.uint8(UNKNOWN))
