"""labelme's JSON: polygons and other shapes, drawn as label images.

Format: the files of https://github.com/wkentaro/labelme, versions 3 to 5: `shapes`, each with `label`, `points`,
`shape_type`; `imagePath`, `imageData`, `imageHeight`, `imageWidth`. Shapes are drawn in their order, later ones on top.
"""

import base64
import binascii
import json
import math
from pathlib import PurePosixPath

import cv2
import numpy as np

from mmseg_erfnet.datasets.classes import IGNORED_NAME
from mmseg_erfnet.datasets.preparation.sources import SourceFile, read_text
from mmseg_erfnet.errors import DataError

BACKGROUND = '_background_'  # labelme's name for pixels outside all shapes
MAX_SIDE = 1 << 15
MAX_PIXELS = 1 << 28
SUBPIXEL = 4  # fractional bits of the coordinates for cv2.fillPoly
LINE_WIDTH = 10  # pixels; labelme's default for lines
POINT_RADIUS = 5


def is_labelme(text: str) -> bool:
    """Whether the text of a JSON file looks like labelme's."""
    return '"shapes"' in text and ('"imagePath"' in text or '"imageData"' in text)


def parse(file: SourceFile) -> dict:
    """Read an annotation and check the parts that are used.

    Raises:
        DataError: It is not a JSON file of labelme.
    """
    try:
        found = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f'{file.shown} is not valid JSON ({error}); save it again in labelme.') from error
    shapes = found.get('shapes') if isinstance(found, dict) else None
    if not isinstance(shapes, list):
        raise DataError(
            f'{file.shown} is not an annotation of labelme: it has no list of shapes; save it again in labelme.'
        )
    for number, shape in enumerate(shapes, 1):
        if not isinstance(shape, dict) or not isinstance(shape.get('label'), str) or not _are_points(shape):
            raise DataError(f'{file.shown}: shape {number} has no label or no points; correct it in labelme.')
    return found


def _are_points(shape: dict) -> bool:
    points = shape.get('points')
    return isinstance(points, list) and all(
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 1e6 for value in point)
        for point in points
    )


def frame_of(file: SourceFile, annotation: dict, frames: dict[str, SourceFile]) -> SourceFile | None:
    """Return the frame of an annotation: the file that it names, a file of its own name, or the embedded image."""
    folder = file.path.parent
    named = annotation.get('imagePath')
    if isinstance(named, str) and named:
        parts = [part for part in named.replace('\\', '/').split('/') if part not in ('', '.')]
        for candidate in (_joined(folder, parts), folder / parts[-1] if parts else None):
            if candidate is not None and str(candidate) in frames:
                return frames[str(candidate)]
    stem = str(file.path.with_suffix(''))
    same = next((frame for path, frame in frames.items() if path.rpartition('.')[0] == stem), None)
    data = annotation.get('imageData')
    if same is not None or not isinstance(data, str):
        return same
    suffix = PurePosixPath(named).suffix if isinstance(named, str) else ''
    return SourceFile(f'{file.shown}, imageData', file.path.with_suffix(suffix or '.png'), lambda: _decoded(data, file))


def _joined(folder: PurePosixPath, parts: list[str]) -> PurePosixPath:
    place = list(folder.parts)
    for part in parts:
        if part == '..':
            place = place[:-1]
        else:
            place.append(part)
    return PurePosixPath(*place)


def _decoded(data: str, file: SourceFile) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise DataError(
            f'{file.shown} contains an image that cannot be decoded ({error}); put the image next to it.'
        ) from error


def names_of(annotation: dict) -> set[str]:
    """Return the labels of an annotation's shapes."""
    return {shape['label'].strip() for shape in annotation['shapes']} - {IGNORED_NAME}


def size_of(annotation: dict, shown: str) -> tuple[int, int] | None:
    """Return the (height, width) that an annotation states, or None.

    Raises:
        DataError: The size is impossible for an image.
    """
    size = annotation.get('imageHeight'), annotation.get('imageWidth')
    if size == (None, None):
        return None
    if not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in size) or math.prod(size) > MAX_PIXELS:
        raise DataError(f'{shown} states a size of {size[1]}x{size[0]}, which no image has; save it again in labelme.')
    return size


def draw(annotation: dict, size: tuple[int, int], ids: dict[str, int], shown: str) -> np.ndarray:
    """Draw an annotation's shapes.

    Args:
        annotation: From `parse`.
        size: Height and width.
        ids: The value of each label, 255 to ignore it. Pixels outside all shapes get that of `BACKGROUND`.
        shown: The name of the file in messages.

    Returns:
        uint8 of shape (H, W).

    Raises:
        DataError: A label is not in `ids`, or a shape has an unsupported type or too few points.
    """
    canvas = np.full(size, ids.get(BACKGROUND, 255), np.uint8)
    for number, shape in enumerate(annotation['shapes'], 1):
        name = shape['label'].strip()
        if name not in ids:
            raise DataError(
                f'{shown}: shape {number} has the label {name!r}, which is not a class; add it to the classes.'
            )
        _draw_shape(canvas, shape, ids[name], f'{shown}: shape {number} ({name})')
    return canvas


def _draw_shape(canvas: np.ndarray, shape: dict, value: int, shown: str) -> None:
    kind = shape.get('shape_type') or 'polygon'
    points = np.array(shape['points'], np.float64).reshape(-1, 2)
    fixed = np.round(points * (1 << SUBPIXEL)).astype(np.int32)
    needed = {'polygon': 3, 'rectangle': 2, 'circle': 2, 'line': 2, 'linestrip': 2, 'point': 1, 'mask': 2}
    if kind not in needed:
        raise DataError(f'{shown} is a {kind}, which is not supported; draw it as a polygon in labelme.')
    if len(points) < needed[kind]:
        raise DataError(f'{shown} has {len(points)} points, too few for a {kind}; correct it in labelme.')
    if kind == 'polygon':
        cv2.fillPoly(canvas, [fixed], value, shift=SUBPIXEL)
    elif kind == 'rectangle':
        cv2.rectangle(canvas, tuple(fixed[0].tolist()), tuple(fixed[1].tolist()), value, -1, shift=SUBPIXEL)
    elif kind == 'circle':
        radius = round(math.dist(*points[:2]) * (1 << SUBPIXEL))
        cv2.circle(canvas, tuple(fixed[0].tolist()), radius, value, -1, shift=SUBPIXEL)
    elif kind in ('line', 'linestrip'):
        cv2.polylines(canvas, [fixed], False, value, LINE_WIDTH, shift=SUBPIXEL)
    elif kind == 'point':
        cv2.circle(canvas, tuple(np.round(points[0]).astype(int).tolist()), POINT_RADIUS, value, -1)
    else:
        _draw_mask(canvas, shape, points, value, shown)


def _draw_mask(canvas: np.ndarray, shape: dict, points: np.ndarray, value: int, shown: str) -> None:
    """Draw a mask: a base64 PNG of the area between two corners."""
    try:
        data = np.frombuffer(base64.b64decode(shape.get('mask') or '', validate=True), np.uint8)
        mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    except (binascii.Error, TypeError, ValueError, cv2.error):  # OpenCV also raises an error for an empty array
        mask = None
    if mask is None:
        raise DataError(f'{shown} has a mask that cannot be decoded; draw it again in labelme.')
    left, top = np.floor(points.min(0)).astype(int).tolist()
    if left < 0 or top < 0 or left >= canvas.shape[1] or top >= canvas.shape[0]:
        raise DataError(f'{shown} has a mask outside the image; draw it again in labelme.')
    area = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    area[mask[: area.shape[0], : area.shape[1]] > 0] = value
