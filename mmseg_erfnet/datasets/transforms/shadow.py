"""Synthetic shadows: blotches like those under trees, and shapes like those of walls and poles."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness

from mmseg_erfnet.datasets.transforms.base import RandomTransform, interval
from mmseg_erfnet.registry import TRANSFORMS

# Patterns are drawn at this size and stretched to the size of the image: cheap, and their edges stay soft.
SIDE = 128


@TRANSFORMS.register_module()
class RandomShadow(RandomTransform):
    """Darken parts of the image, with soft edges.

    The TensorFlow project that started this one (github.com/ronrest/erfnet_segmentation) cut its shadows out of a
    photograph. Here each shadow is drawn: blotches or shapes with equal probability, and inverted with probability
    0.5. MMSegmentation and MMCV have no such transform.

    Required and modified key: img.

    Args:
        darkening: Range of the share of light that is removed where the shadow is deepest, uniform.
        prob: Probability of applying the transform.

    Raises:
        ValueError: An argument is out of its range, or the image is not uint8 of shape (H, W, 3).
    """

    def __init__(self, darkening: tuple[float, float] = (0.01, 0.8), prob: float = 1.0) -> None:
        super().__init__(prob)
        self.darkening = interval('darkening', darkening, 0, 1)

    @cache_randomness
    def draw(self) -> np.ndarray | None:
        """Return the light that remains, 255 for all of it, as uint8 of shape (SIDE, SIDE); or None."""
        if not self.happens():
            return None
        pattern = _blotches() if np.random.random() < 0.5 else _shapes()
        if np.random.random() < 0.5:
            pattern = 1 - pattern
        pattern = cv2.GaussianBlur(pattern, (0, 0), np.random.uniform(1, 3))
        return np.rint(255 * (1 - np.random.uniform(*self.darkening) * pattern)).astype(np.uint8)

    def transform(self, results: dict) -> dict:
        image = self.image(results)
        light = self.draw()
        if light is not None:
            light = cv2.resize(light, image.shape[1::-1])
            results['img'] = cv2.multiply(image, cv2.merge([light] * 3), scale=1 / 255)
        return results


def _blotches() -> np.ndarray:
    """Return smooth noise, amplified about a random level and clipped to 0 and 1: float32 of shape (SIDE, SIDE)."""
    cells = np.random.randint(3, 16, 2)
    noise = cv2.resize(np.random.random(cells).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    level, steepness = np.random.uniform((0.3, 2), (0.7, 10))
    return (0.5 + steepness * (noise - level)).clip(0, 1)


def _shapes() -> np.ndarray:
    """Return one to five polygons, ellipses and bars, 1 on a background of 0: float32 of shape (SIDE, SIDE)."""
    pattern = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(np.random.randint(1, 6)):
        kind = np.random.randint(3)
        points = np.random.randint(-SIDE // 4, SIDE + SIDE // 4, (4, 2))
        if kind == 0:
            cv2.fillConvexPoly(pattern, cv2.convexHull(points.astype(np.int32)), 1)
        elif kind == 1:
            axes = np.random.randint(SIDE // 16, SIDE // 3, 2).tolist()
            cv2.ellipse(pattern, points[0].tolist(), axes, np.random.randint(180), 0, 360, 1, cv2.FILLED)
        else:
            cv2.line(pattern, points[0].tolist(), points[1].tolist(), 1, np.random.randint(2, SIDE // 8))
    return pattern
