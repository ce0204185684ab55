"""Label maps as pictures: overlays, legends, and input, truth and prediction side by side. Needs NumPy and OpenCV.

Pictures are uint8 (H, W, 3) in OpenCV's channel order, BGR; palettes are lists of RGB triples, as in MMSegmentation.
"""

from collections.abc import Sequence

import cv2
import numpy as np

FONT, LINE = cv2.FONT_HERSHEY_SIMPLEX, 18


def colour_map(labels: np.ndarray, palette: Sequence[Sequence[int]], ignore_index: int = 255) -> np.ndarray:
    """Colour a label map.

    Args:
        labels: Class of each pixel, uint8 (H, W).
        palette: An RGB triple for each class.
        ignore_index: Pixels of this label become black.

    Returns:
        BGR picture, uint8 (H, W, 3).

    Raises:
        ValueError: A label is neither a class of the palette nor ``ignore_index``.
    """
    table = np.zeros((256, 3), np.uint8)
    table[:len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    table[ignore_index] = 0
    unknown = np.setdiff1d(np.unique(labels), [*range(len(palette)), ignore_index])
    if unknown.size:
        raise ValueError(f'labels {unknown.tolist()} have no colour in a palette of {len(palette)}')
    return table[labels]


def overlay(image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.6,
            ignore_index: int = 255) -> np.ndarray:
    """Blend the colours of a label map over its image; pixels of ``ignore_index`` stay as they are.

    Args:
        image: BGR, uint8 (H, W, 3).
        labels: uint8 (H, W).
        palette: An RGB triple for each class.
        opacity: Share of the colour, 0 to 1.
        ignore_index: Label of pixels to leave.

    Returns:
        BGR picture, uint8 (H, W, 3).
    """
    blended = cv2.addWeighted(colour_map(labels, palette, ignore_index), opacity, image, 1 - opacity, 0)
    return np.where((labels == ignore_index)[..., None], image, blended)


def legend(labels: Sequence[int], classes: Sequence[str], palette: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Draw a strip that names the given classes, each beside its colour, dark on white.

    Args:
        labels: The classes to name.
        classes: The names of all classes.
        palette: An RGB triple for each class.
        width: Width of the strip in pixels.

    Returns:
        BGR picture, uint8 (height, width, 3), as high as its lines need.
    """
    places, x, y = [], 4, 0
    for label in labels:
        text_width = cv2.getTextSize(classes[label], FONT, 0.42, 1)[0][0]
        step = LINE + text_width + 10
        if x > 4 and x + step > width:
            x, y = 4, y + LINE
        places.append((label, x, y))
        x += step
    strip = np.full((y + LINE + 4, width, 3), 255, np.uint8)
    for label, x, y in places:
        colour = tuple(int(value) for value in palette[label][::-1])
        cv2.rectangle(strip, (x, y + 5), (x + 11, y + 16), colour, -1)
        cv2.rectangle(strip, (x, y + 5), (x + 11, y + 16), (60, 60, 60), 1)
        cv2.putText(strip, classes[label], (x + 16, y + 15), FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def panel(pictures: dict[str, np.ndarray], strip: np.ndarray | None = None) -> np.ndarray:
    """Put pictures of one size beside one another, each under its title, and a legend below.

    Args:
        pictures: BGR pictures by title, all of one size.
        strip: A picture to put below, of the pictures' joint width.

    Returns:
        BGR picture, uint8.
    """
    columns = []
    for title, picture in pictures.items():
        head = np.full((LINE + 4, picture.shape[1], 3), 255, np.uint8)
        cv2.putText(head, title, (4, 16), FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        columns.append(np.vstack([head, picture]))
    picture = np.hstack(columns)
    return picture if strip is None else np.vstack([picture, strip])


def comparison(image: np.ndarray, prediction: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]],
               truth: np.ndarray | None = None, ignore_index: int = 255) -> np.ndarray:
    """Draw an image, its truth if there is one, and its prediction, with a legend of the classes in them.

    Args:
        image: BGR, uint8, of any size; it is resized to that of the prediction.
        prediction: uint8 (H, W).
        classes: The names of all classes.
        palette: An RGB triple for each class.
        truth: uint8 (H, W), or None.
        ignore_index: Label that is no class.

    Returns:
        BGR picture, uint8.
    """
    image = cv2.resize(image, prediction.shape[::-1], interpolation=cv2.INTER_AREA)
    maps = {'prediction': prediction} if truth is None else {'truth': truth, 'prediction': prediction}
    pictures = {'input': image} | {title: overlay(image, labels, palette, ignore_index=ignore_index)
                                   for title, labels in maps.items()}
    present = np.unique(np.concatenate([labels.ravel() for labels in maps.values()]))
    present = [int(label) for label in present if label != ignore_index]
    return panel(pictures, legend(present, classes, palette, width=image.shape[1] * len(pictures)))
