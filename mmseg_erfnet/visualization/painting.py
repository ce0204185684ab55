"""Label maps as pictures: overlays, legends, and input, ground truth and prediction side by side.

Needs NumPy and OpenCV.

Pictures are uint8 (H, W, 3) in OpenCV's channel order, BGR; palettes are lists of RGB triples, as in MMSegmentation.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from mmseg_erfnet.errors import UsageError

FONT, LINE = cv2.FONT_HERSHEY_SIMPLEX, 18
IGNORED = 255, 255, 255  # white, because CamVid's Void is black


def colour_map(labels: np.ndarray, palette: Sequence[Sequence[int]], ignore_index: int = 255) -> np.ndarray:
    """Colour a label map.

    Args:
        labels: Class of each pixel, uint8 (H, W).
        palette: An RGB triple for each class.
        ignore_index: Pixels of this label become white.

    Returns:
        BGR picture, uint8 (H, W, 3).

    Raises:
        ValueError: A label is neither a class of the palette nor ``ignore_index``.
    """
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(palette), 0] = np.asarray(palette, np.uint8)[:, ::-1]
    table[ignore_index] = IGNORED
    if labels.size and labels.max() >= len(palette):
        unknown = np.setdiff1d(np.unique(labels), [*range(len(palette)), ignore_index])
        if unknown.size:
            raise ValueError(f'labels {unknown.tolist()} have no colour in a palette of {len(palette)}')
    # 0.2 ms for 360x480; table[labels] takes 2 ms.
    return cv2.applyColorMap(np.ascontiguousarray(labels), table)


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[Sequence[int]],
    opacity: float = 0.6,
    ignore_index: int = 255,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Blend the colours of a label map over its image.

    Pixels of ``ignore_index`` stay unchanged, and so do those of black classes, such as the background in many
    palettes: blending black would darken the picture.

    Args:
        image: BGR, uint8 (H, W, 3).
        labels: uint8 (H, W).
        palette: An RGB triple for each class.
        opacity: Share of the colour, 0 to 1.
        ignore_index: Label of pixels to leave unchanged.
        out: Array to write into, uint8 (H, W, 3).

    Returns:
        BGR picture, uint8 (H, W, 3); ``out`` if it is given.
    """
    blended = cv2.addWeighted(colour_map(labels, palette, ignore_index), opacity, image, 1 - opacity, 0, dst=out)
    bare = np.zeros(256, np.uint8)
    bare[[index for index, colour in enumerate(palette) if not any(colour)]] = bare[ignore_index] = 255
    if bare[: len(palette)].any() or labels.max(initial=0) >= len(palette):
        cv2.copyTo(image, cv2.LUT(np.ascontiguousarray(labels), bare), blended)
    return blended


def error_map(
    image: np.ndarray, prediction: np.ndarray, ground_truth: np.ndarray, ignore_index: int = 255
) -> np.ndarray:
    """Paint wrong pixels red over a pale grey version of the image; pixels that are not scored become white.

    Args:
        image: BGR, uint8 (H, W, 3).
        prediction: uint8 (H, W).
        ground_truth: uint8 (H, W).
        ignore_index: Ground-truth label of pixels that are not scored.

    Returns:
        BGR picture, uint8 (H, W, 3).
    """
    picture = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) // 2 + 96
    picture[prediction != ground_truth] = (40, 20, 220)
    picture[ground_truth == ignore_index] = IGNORED
    return picture


def legend(labels: Sequence[int], classes: Sequence[str], palette: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Draw a legend: a strip with the names of the given classes next to their colours, black on white.

    Args:
        labels: The classes to name.
        classes: The names of all classes.
        palette: An RGB triple for each class.
        width: Width of the strip in pixels; wide strips have larger letters.

    Returns:
        BGR picture, uint8 (height, width, 3), as high as its lines require.

    Raises:
        UsageError: A name cannot be drawn, see :func:`check_names`.
    """
    check_names([classes[label] for label in labels])
    scale = _scale(width)
    line, margin = round(LINE * scale), round(4 * scale)
    places, x, y = [], margin, 0
    for label in labels:
        step = line + _text_width(classes[label], scale) + round(12 * scale)
        if x > margin and x + step > width:
            x, y = margin, y + line
        places.append((label, x, y))
        x += step
    strip = np.full((y + line + margin, width, 3), 255, np.uint8)
    for label, x, y in places:
        colour = tuple(int(value) for value in palette[label][::-1])
        box = (x, y + round(5 * scale)), (x + round(11 * scale), y + round(16 * scale))
        cv2.rectangle(strip, *box, colour, -1)
        cv2.rectangle(strip, *box, (60, 60, 60), 1)
        _write(strip, classes[label], (x + round(16 * scale), y + round(15 * scale)), scale)
    return strip


def panel(pictures: dict[str, np.ndarray], strip: np.ndarray | None = None) -> np.ndarray:
    """Put pictures side by side, each under its title, with a legend below.

    Args:
        pictures: BGR pictures by title, all of the same size.
        strip: A picture to put below, as wide as the pictures together.

    Returns:
        BGR picture, uint8.
    """
    scale = _scale(sum(picture.shape[1] for picture in pictures.values()))
    columns = []
    for title, picture in pictures.items():
        head = np.full((round((LINE + 4) * scale), picture.shape[1], 3), 255, np.uint8)
        _write(head, title, (round(4 * scale), round(16 * scale)), scale)
        columns.append(np.vstack([head, picture]))
    picture = np.hstack(columns)
    return picture if strip is None else np.vstack([picture, strip])


def comparison(
    image: np.ndarray,
    prediction: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    ground_truth: np.ndarray | None = None,
    ignore_index: int = 255,
) -> np.ndarray:
    """Draw an image, its ground truth if there is one, and its prediction, with a legend of the classes that occur.

    Args:
        image: BGR, uint8, of any size; it is resized to the size of the prediction.
        prediction: uint8 (H, W).
        classes: The names of all classes.
        palette: An RGB triple for each class.
        ground_truth: uint8 (H, W), or None.
        ignore_index: Label of pixels without a class.

    Returns:
        BGR picture, uint8.
    """
    image = cv2.resize(image, prediction.shape[::-1], interpolation=cv2.INTER_AREA)
    maps = (
        {'prediction': prediction} if ground_truth is None else {'ground truth': ground_truth, 'prediction': prediction}
    )
    pictures = {'input': image} | {
        title: overlay(image, labels, palette, ignore_index=ignore_index) for title, labels in maps.items()
    }
    present = np.unique(np.concatenate([labels.ravel() for labels in maps.values()]))
    present = [int(label) for label in present if label != ignore_index]
    return panel(pictures, legend(present, classes, palette, width=image.shape[1] * len(pictures)))


def check_names(classes: Sequence[str]) -> None:
    """Refuse names of classes that would be drawn incorrectly, as question marks for instance.

    OpenCV 5 includes fonts for Latin, Greek, Cyrillic, Chinese, Japanese and Korean, and only writes from left to
    right; OpenCV 4 only draws ASCII.

    Raises:
        UsageError: A name has letters that OpenCV cannot draw.
    """
    for name in classes:
        if name.isascii() and name.isprintable():
            continue
        if int(cv2.__version__.split('.')[0]) < 5:
            raise UsageError(
                f'The class name {name!r} cannot be drawn by OpenCV {cv2.__version__}: pip install "opencv-python>=5", '
                'or give it a name in ASCII.'
            )
        if not all(map(_has_glyph, unicodedata.normalize('NFC', name))):
            raise UsageError(
                f'The class name {name!r} has letters that OpenCV cannot draw: give it a name in other letters.'
            )


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    # Combining marks would be drawn next to their letter. A lone surrogate, which is not printable, crashes OpenCV with
    # a segmentation fault.
    if not letter.isprintable() or unicodedata.combining(letter) or unicodedata.bidirectional(letter) in ('R', 'AL'):
        return False
    return letter in ' ?' or not np.array_equal(
        _drawn(letter), _drawn('?')
    )  # OpenCV 5 draws ? for letters without a font


def _drawn(letter: str) -> np.ndarray:
    picture = np.full((64, 64, 3), 255, np.uint8)
    _write(picture, letter, (8, 44), 2)
    return picture


def _scale(width: int) -> float:
    """Scale of letters: 1 up to 1200 pixels, about the width of a page; then larger, to stay legible when shrunk."""
    return max(1.0, width / 1200)


def _text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(unicodedata.normalize('NFC', text), FONT, 0.42 * scale, max(1, int(scale)))[0][0]


def _write(picture: np.ndarray, text: str, place: tuple[int, int], scale: float) -> None:
    text = unicodedata.normalize('NFC', text)
    cv2.putText(picture, text, place, FONT, 0.42 * scale, (0, 0, 0), max(1, int(scale)), cv2.LINE_AA)
