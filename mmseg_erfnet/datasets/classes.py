"""Lists of classes as labelling tools write them: names, and the colours or values that represent them in labels."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.text import listed

MAX_CLASSES = 254  # 254 and 255 mark unknown and ignored pixels
MAX_NAME = 200
# labelme's name for pixels to ignore.
IGNORED_NAME = '__ignore__'
NAME_COLUMNS = ('name', 'class', 'class_name', 'classname', 'label', 'class name')
VALUE_COLUMNS = ('value', 'pixel value', 'pixel_value', 'index', 'id', 'class_id', 'label_id')
COLOUR_COLUMNS = (('r', 'g', 'b'), ('red', 'green', 'blue'))
OWN_NAME = 'classes.csv'

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Classes:
    """The classes of a set of labels.

    Attributes:
        names: Their names, in the order of their ids.
        colours: The RGB colour of each class in painted labels, or None if the list has no colours.
        values: The value of each class in index labels, or None if it is the position in the list.
        ignored_colours: RGB colours to ignore.
        ignored_values: Values to ignore, in addition to 255.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None
    values: tuple[int, ...] | None = None
    ignored_colours: tuple[Colour, ...] = ()
    ignored_values: tuple[int, ...] = ()

    @property
    def stored(self) -> tuple[int, ...]:
        """The value of each class in index labels."""
        return tuple(range(len(self.names))) if self.values is None else self.values

    @property
    def palette(self) -> list[list[int]]:
        """An RGB colour per class for drawing: its own, or one from Pascal VOC's colour map."""
        if self.colours is not None and len(set(self.colours)) == len(self.colours):
            return [list(colour) for colour in self.colours]
        return [list(colour) for colour in voc_colours(len(self.names))]


def voc_colours(number: int) -> list[Colour]:
    """Return the first colours of Pascal VOC's colour map: the bits of the index, distributed to red, green and blue.

    VOCcode/VOClabelcolormap.m of the development kit, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.
    """
    return [
        tuple(sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))
        for index in range(number)
    ]


def parse_table(text: str, shown: str) -> Classes:
    """Read a CSV table with a header: `name,r,g,b` (Kaggle's class_dict.csv), `Pixel Value, Class` (Roboflow), ours.

    Raises:
        DataError: It has no column of names, or a row does not match the header.
    """
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), strict=True)]
    except csv.Error as error:
        raise DataError(f'{shown} is not a CSV table ({error}); write it as name,r,g,b.') from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise DataError(f'{shown} is empty; write a header, name,r,g,b, and a row for each class.')
    header = [cell.lower() for cell in rows[0]]
    name_at = next((header.index(name) for name in NAME_COLUMNS if name in header), None)
    if name_at is None:
        raise DataError(f'{shown} has no column of names ({listed(header)}); call it name, as in name,r,g,b.')
    value_at = next((header.index(name) for name in VALUE_COLUMNS if name in header), None)
    colour_at = next((tuple(map(header.index, names)) for names in COLOUR_COLUMNS if set(names) <= set(header)), None)
    names, values, colours = [], [], []
    for number, row in enumerate(rows[1:], 2):
        where = f'{shown}, row {number}'
        if len(row) < len(header):
            raise DataError(f'{where}, has {len(row)} of {len(header)} columns; complete it.')
        names.append(row[name_at])
        if value_at is not None:
            values.append(_number(row[value_at], where))
        if colour_at is not None:
            colours.append(tuple(_number(row[place], where) for place in colour_at))
    return checked(names, colours if colour_at else None, values if value_at is not None else None, shown)


def parse_labelmap(text: str, shown: str) -> Classes:
    """Read CVAT's labelmap.txt: `name:r,g,b:parts:actions`, one class per line, # before comments.

    Raises:
        DataError: A line does not have that form.
    """
    names, colours = [], []
    for number, line in _lines(text):
        parts = line.rsplit(':', 3)
        colour = parts[1].split(',') if len(parts) == 4 else []
        if len(colour) != 3:
            raise DataError(f'{shown}, line {number}, is not of the form name:r,g,b:parts:actions ({line[:60]!r}).')
        names.append(parts[0].strip())
        colours.append(tuple(_number(part, f'{shown}, line {number}') for part in colour))
    return checked(names, colours, None, shown)


def parse_label_colours(text: str, shown: str) -> Classes:
    """Read CamVid's label_colors.txt: `r g b name`, one class per line; or only names, which CVAT accepts, too.

    Raises:
        DataError: A line does not have that form.
    """
    names, colours = [], []
    for number, line in _lines(text):
        found = re.fullmatch(r'(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s+(.+)', line)
        where = f'{shown}, line {number}'
        if found:
            names.append(found[4].strip())
            colours.append(tuple(_number(part, where) for part in found.groups()[:3]))
        elif colours:
            raise DataError(f'{where}, is not of the form r g b name ({line[:60]!r}); complete it.')
        else:
            names.append(line)
    if colours and len(colours) != len(names):
        raise DataError(f'{shown} has colours for {len(colours)} of {len(names)} classes; complete it.')
    return checked(names, colours or None, None, shown)


def parse_names(text: str, shown: str) -> Classes:
    """Read a list with one name per line; the position of a name is its value in the labels.

    This covers fast.ai's codes.txt, labelme2voc's class_names.txt, and labelme's labels.txt. The last begins with
    `__ignore__`, which has no value.
    """
    names = [line for _, line in _lines(text)]
    if names and names[0] == IGNORED_NAME:
        names = names[1:]
    return checked(names, None, None, shown)


def _lines(text: str) -> list[tuple[int, str]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line and not line.startswith('#')]


def _number(text: str, where: str) -> int:
    try:
        value = int(text.strip())
    except ValueError as error:
        raise DataError(f'{where}: {text[:60]!r} is not a whole number from 0 to 255; correct it.') from error
    if not 0 <= value <= 255:
        raise DataError(f'{where}: {value} is not a whole number from 0 to 255; correct it.')
    return value


def checked(
    names: Sequence[str], colours: Sequence[Colour] | None, values: Sequence[int] | None, shown: str
) -> Classes:
    """Return the classes of a list, without `__ignore__`.

    Raises:
        DataError: A name, colour or value occurs twice, a name is empty or not printable, or there are no or too many
            classes.
    """
    wrong = [name for name in names if not name or len(name) > MAX_NAME or not name.isprintable()]
    if wrong:
        raise DataError(f'{shown} has a class without a valid name ({wrong[0][:60]!r}); give each class one.')
    what = {'names': names, 'colours': colours, 'values': values}
    for kind, items in what.items():
        twice = sorted({item for item in items or () if list(items).count(item) > 1}) if len(names) < 1000 else []
        if twice:
            raise DataError(f'{shown} has {kind} that stand for two classes ({listed(twice, 3)}); give each its own.')
    kept = [place for place, name in enumerate(names) if name != IGNORED_NAME]
    left = [place for place, name in enumerate(names) if name == IGNORED_NAME]
    if not kept or len(kept) > MAX_CLASSES:
        raise DataError(f'{shown} names {len(kept)} classes; 1 to {MAX_CLASSES} are possible.')

    def of(items: Sequence | None, places: list[int]) -> tuple | None:
        return None if items is None else tuple(items[place] for place in places)

    if values is None and left:
        values = list(range(len(names)))
    return Classes(
        of(names, kept), of(colours, kept), of(values, kept), of(colours, left) or (), of(values, left) or ()
    )


def table_text(classes: Classes) -> str:
    """Return the content of `classes.csv` for labels that contain the positions of the classes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(['name', 'r', 'g', 'b'])
    writer.writerows([name, *colour] for name, colour in zip(classes.names, classes.palette, strict=True))
    return buffer.getvalue()


def from_values(values: np.ndarray) -> Classes:
    """Name classes after the values in the labels: `class_3`."""
    return Classes(tuple(f'class_{value}' for value in values.tolist()), None, tuple(values.tolist()))
