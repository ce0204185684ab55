"""Read a frame and its label: decode both, turn both upright, and check that their sizes match."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from mmseg_erfnet.datasets.preparation import labelme
from mmseg_erfnet.datasets.preparation.orientation import UPRIGHT, take_orientation, turned
from mmseg_erfnet.datasets.preparation.pairs import Pair
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.images import (
    PNG_SIGNATURE,
    ImageHeader,
    check_frame,
    check_image,
    decode_index_labels,
    decode_rgb_labels,
)

JPEG_START = b'\xff\xd8'
# How the colours of a label's file are stored.
INDICES, GREY, COLOURS, SHAPES = 'indices', 'grey', 'colours', 'shapes'


@dataclass
class Frame:
    """An upright frame: its pixels, BGR uint8 of shape (H, W, 3), and the content and suffix of the file to write."""

    pixels: np.ndarray
    data: bytes
    suffix: str
    grey: bool

    @property
    def digest(self) -> str:
        """A hash of the pixels."""
        return hashlib.sha1(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()


@dataclass
class Label:
    """An upright label.

    Attributes:
        kind: `INDICES` of a palette, `GREY` values, `COLOURS` or labelme's `SHAPES`.
        values: The values of `INDICES` and `GREY`, uint8 of shape (H, W), or None.
        colours: The colours of `INDICES` and `COLOURS`, BGR uint8 of shape (H, W, 3), or None.
        shapes: labelme's annotation, or None.
        data: The content of the file, if it is a PNG and was not rotated.
    """

    kind: str
    values: np.ndarray | None = None
    colours: np.ndarray | None = None
    shapes: dict | None = None
    data: bytes | None = None


def read_pair(pair: Pair, orientation: str = 'auto') -> tuple[Frame, Label]:
    """Read a frame and its label.

    Args:
        pair: The files.
        orientation: If a frame has an EXIF orientation and its label has none, whether the label was drawn on the frame
            as it is `shown` or as it is `stored`; `auto` compares their sizes.

    Raises:
        DataError: A file is damaged or of the wrong kind, the two differ in size, or their sizes do not determine
            which way up the label was drawn.
    """
    frame_turn, frame_data = take_orientation(pair.frame.read())
    header, pixels, grey = _decode_frame(frame_data, pair.frame.shown)
    raw = pixels.shape[:2]
    if pair.label.suffix == '.json':
        annotation = labelme.parse(pair.label)
        # labelme shows frames upright and saves the size of the upright frame.
        stated = labelme.size_of(annotation, pair.label.shown) or turned(pixels[..., 0], frame_turn).shape
        label, label_turn, size = Label(SHAPES, shapes=annotation), UPRIGHT, stated
        orientation = 'shown' if orientation == 'auto' and (frame_turn < 5 or raw[0] == raw[1]) else orientation
    else:
        label_turn, label_data = take_orientation(pair.label.read())
        label = _decode_label(label_data, pair.label.shown)
        size = next(array.shape[:2] for array in (label.values, label.colours) if array is not None)
    frame_turn, label_turn = _turns(pair, orientation, (raw, frame_turn), (size, label_turn))
    if label.shapes is not None and label_turn != UPRIGHT:
        raise DataError(
            f'{pair.label.shown} was drawn on {pair.frame.shown} as it is stored, not as it is shown; open both in a '
            'recent labelme and save again.'
        )
    if label_turn != UPRIGHT:
        label = Label(
            label.kind,
            *(array if array is None else turned(array, label_turn) for array in (label.values, label.colours)),
        )
    pixels = turned(pixels, frame_turn) if frame_turn != UPRIGHT else pixels
    kept = frame_turn == UPRIGHT and not grey and header.kind == 'RGB'
    suffix = '.png' if frame_data.startswith(PNG_SIGNATURE) else '.jpg' if frame_data.startswith(JPEG_START) else ''
    if kept and suffix:
        return Frame(pixels, frame_data, suffix, grey), label
    return Frame(pixels, encode_png(pixels), '.png', grey), label


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode pixels, grey or BGR, as PNG."""
    return cv2.imencode('.png', pixels)[1].tobytes()


def _turns(
    pair: Pair, orientation: str, frame: tuple[tuple[int, int], int], label: tuple[tuple[int, int], int]
) -> tuple[int, int]:
    """The orientations by which to turn frame and label, each given as stored (height, width) and EXIF orientation."""
    (frame_size, frame_turn), (label_size, label_turn) = frame, label
    shown = _turned_size(frame_size, frame_turn) == _turned_size(label_size, label_turn)
    stored = frame_size == label_size
    if frame_turn == label_turn and shown:
        return frame_turn, label_turn
    if orientation == 'auto' and shown and stored:
        raise DataError(
            f'{pair.frame.shown} has EXIF orientation {frame_turn}, but its label {pair.label.shown} has {label_turn}: '
            'state what the label was drawn on with --orientation shown (labelling tools rotate frames) or stored.'
        )
    if shown and orientation != 'stored':
        return frame_turn, label_turn
    if stored and orientation != 'shown':
        return frame_turn, frame_turn
    raise DataError(
        '{} is {}x{}, but {} is {}x{}; restore the pair from the original data.'.format(
            pair.label.shown, *label_size[::-1], pair.frame.shown, *frame_size[::-1]
        )
    )


def _turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= 5 else tuple(size)


def _decode_frame(data: bytes, shown: str) -> tuple[ImageHeader, np.ndarray, bool]:
    header = check_image(data, shown)
    grey = header.kind in ('grey', 'grey with alpha')
    if header.bits > 8 or header.kind not in ('RGB', 'indexed', 'grey', 'RGBA', 'grey with alpha'):
        check_frame(data, shown)
    alpha = header.kind in ('RGBA', 'grey with alpha')
    pixels = _decode(data, cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR, shown)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if pixels.shape[2] == 4:
        if (pixels[..., 3] != 255).any():
            raise DataError(f'{shown} is transparent in places; convert it to 8-bit RGB.')
        pixels = np.ascontiguousarray(pixels[..., :3])
    return header, pixels, grey


def _decode(data: bytes, flags: int, shown: str) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:  # more pixels than OpenCV accepts
        raise DataError(f'{shown} cannot be decoded ({error.err}); make it smaller.') from error
    if pixels is None:
        raise DataError(f'{shown} is damaged and cannot be decoded; put the original file in its place.')
    return pixels


def _decode_label(data: bytes, shown: str) -> Label:
    if data.startswith(JPEG_START):
        raise DataError(f'{shown} is a JPEG, whose compression changes the values of labels; export labels as PNG.')
    header = check_image(data, shown)
    kept = data if data.startswith(PNG_SIGNATURE) else None
    if header.kind == 'grey' and header.bits == 1:  # black and white
        values = _decode(data, cv2.IMREAD_GRAYSCALE, shown)
        return Label(GREY, np.where(values > 0, 255, 0).astype(np.uint8))
    if header.kind == 'grey':
        return Label(GREY, decode_index_labels(data, shown))
    if header.kind == 'indexed':
        return Label(INDICES, decode_index_labels(data, shown), decode_rgb_labels(data, shown))
    if header.kind in ('RGBA', 'grey with alpha') and header.bits == 8:
        # Some tools write an opaque alpha channel.
        return Label(COLOURS, colours=_decode_frame(data, shown)[1])
    return Label(COLOURS, colours=decode_rgb_labels(data, shown), data=kept)
