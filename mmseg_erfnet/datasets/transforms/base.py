"""The base of the random transforms: a probability, checks of their input, and their repr."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform


class RandomTransform(BaseTransform):
    """A transform that is applied with probability ``prob`` and never modifies its input arrays.

    All random numbers come from numpy's global generator, as in MMCV's transforms, so that MMEngine's seeding of
    workers applies. Subclasses draw them in one method decorated with ``cache_randomness``.

    Args:
        prob: Probability of applying the transform, 0 to 1.

    Raises:
        ValueError: If ``prob`` is not a probability.
    """

    def __init__(self, prob: float = 1.0) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be a probability, from 0 to 1, got {prob}.')
        self.prob = prob

    def happens(self) -> bool:
        return np.random.random() < self.prob

    def image(self, results: dict) -> np.ndarray:
        """Return ``results['img']``, uint8 of shape (H, W, 3).

        Raises:
            ValueError: It has another type or shape.
        """
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'{type(self).__name__} needs a uint8 colour image of shape (height, width, 3), got {image.dtype} of '
                f'shape {image.shape} ({results.get("img_path", "no path known")}). Load images with '
                "color_type='color' and to_float32=False, and put this transform before any that normalises."
            )
        return image

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items() if not name.startswith('_'))
        return f'{type(self).__name__}({arguments})'


def interval(name: str, value: Sequence[float], lowest: float, highest: float = float('inf')) -> tuple[float, float]:
    """Return ``value`` as a pair (low, high).

    Raises:
        ValueError: ``lowest <= low <= high <= highest`` does not hold.
    """
    if not isinstance(value, Sequence) or len(value) != 2 or not lowest <= value[0] <= value[1] <= highest:
        raise ValueError(f'{name} must be a pair (low, high) with {lowest} <= low <= high <= {highest}, got {value}.')
    return tuple(value)
