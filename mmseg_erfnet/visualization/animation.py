"""Animated GIFs: timelapses of predictions. Needs NumPy, OpenCV and Pillow."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from mmseg_erfnet.visualization.painting import FONT

MAX_BYTES = 8 * 1000**2


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """Put a title above a BGR picture, uint8 (H, W, 3), in letters small enough to fit."""
    head = np.full((28, picture.shape[1], 3), 255, np.uint8)
    scale = min(0.6, 0.6 * (picture.shape[1] - 12) / cv2.getTextSize(title, FONT, 0.6, 1)[0][0])
    cv2.putText(head, title, (6, 20), FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([head, picture])


def animate(
    pictures: Sequence[np.ndarray], palette: Sequence[Sequence[int]], seconds: float = 12, max_bytes: int = MAX_BYTES
) -> bytes:
    """Make an animated GIF that pauses on its last picture.

    Args:
        pictures: BGR pictures of the same size, uint8 (H, W, 3). If a GIF of all of them would be too large, every
            second one is dropped, repeatedly if necessary; the last one stays.
        palette: RGB colours that must stay exact; the rest of the 256 colours is chosen to fit the first picture.
        seconds: Duration before the pause; no picture stays for more than half a second.
        max_bytes: The largest size of the file.

    Returns:
        The content of the file.
    """
    colours = _colours(pictures[0], palette)
    frames = [
        Image.fromarray(picture[..., ::-1]).quantize(palette=colours, dither=Image.Dither.NONE) for picture in pictures
    ]
    while True:
        duration = int(np.clip(1000 * seconds / len(frames), 40, 500))
        buffer = io.BytesIO()
        frames[0].save(
            buffer,
            'GIF',
            save_all=True,
            append_images=frames[1:],
            loop=0,
            optimize=False,
            duration=[duration] * (len(frames) - 1) + [2500],
        )
        if buffer.tell() <= max_bytes or len(frames) == 1:
            return buffer.getvalue()
        frames = frames[::-2][::-1]


def _colours(picture: np.ndarray, palette: Sequence[Sequence[int]]) -> Image.Image:
    fixed = np.array([[0, 0, 0], [255, 255, 255], *palette], np.uint8)
    free = 256 - len(fixed)
    chosen = Image.fromarray(picture[..., ::-1]).quantize(free).getpalette()[: 3 * free]
    image = Image.new('P', (1, 1))
    image.putpalette(fixed.ravel().tolist() + chosen)
    return image
