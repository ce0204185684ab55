"""Photometric augmentation in uint8: brightness, contrast, blur and noise.

The default parameters are those of the TensorFlow project that started this one
(github.com/ronrest/erfnet_segmentation). Their meaning is that of Pillow's ``ImageEnhance``, which it used.
MMSegmentation's ``PhotoMetricDistortion`` differs: it adds to the brightness, scales contrast about zero, and draws
uniformly.
"""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness

from mmseg_erfnet.datasets.transforms.base import RandomTransform, interval
from mmseg_erfnet.registry import TRANSFORMS


class _RandomFactor(RandomTransform):
    def __init__(self, sd: float, limits: tuple[float, float], prob: float) -> None:
        super().__init__(prob)
        if not sd >= 0:
            raise ValueError(f'sd is a standard deviation and must be 0 or more, got {sd}.')
        self.sd = sd
        self.limits = interval('limits', limits, 0)

    @cache_randomness
    def draw(self) -> float | None:
        return np.clip(np.random.normal(1, self.sd), *self.limits) if self.happens() else None

    def pivot(self, image: np.ndarray) -> float:
        """Return the value that no factor changes."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        image = self.image(results)
        factor = self.draw()
        if factor is not None:
            pivot = self.pivot(image)
            table = np.rint(pivot + factor * (np.arange(256) - pivot)).clip(0, 255).astype(np.uint8)
            results['img'] = cv2.LUT(image, table)
        return results


@TRANSFORMS.register_module()
class RandomBrightness(_RandomFactor):
    """Multiply all values by one factor.

    Required and modified key: img.

    Args:
        sd: Standard deviation of the factor, which is normally distributed with mean 1.
        limits: Smallest and largest factor. Factors outside are clipped, so that with the default arguments a factor of
            exactly 0.5 has a probability of 0.16.
        prob: Probability of applying the transform.

    Raises:
        ValueError: An argument is out of its range, or the image is not uint8 of shape (H, W, 3).
    """

    def __init__(self, sd: float = 0.5, limits: tuple[float, float] = (0.5, 4.0), prob: float = 1.0) -> None:
        super().__init__(sd, limits, prob)

    def pivot(self, image: np.ndarray) -> float:
        return 0.0


@TRANSFORMS.register_module()
class RandomContrast(_RandomFactor):
    """Scale the difference of all values from the image's mean grey by one factor.

    The mean grey is the mean luma of the image, 0.299 R + 0.587 G + 0.114 B.

    Required and modified key: img.

    Args:
        sd: Standard deviation of the factor, which is normally distributed with mean 1.
        limits: Smallest and largest factor; factors outside are clipped.
        prob: Probability of applying the transform.

    Raises:
        ValueError: An argument is out of its range, or the image is not uint8 of shape (H, W, 3).
    """

    def __init__(self, sd: float = 0.5, limits: tuple[float, float] = (0.3, 5.0), prob: float = 1.0) -> None:
        super().__init__(sd, limits, prob)

    def pivot(self, image: np.ndarray) -> float:
        return float(np.dot(cv2.mean(image)[:3], (0.114, 0.587, 0.299)))


@TRANSFORMS.register_module()
class RandomBlur(RandomTransform):
    """Blur with a Gaussian.

    Required and modified key: img.

    Args:
        radius: Largest radius. As in Pillow's ``GaussianBlur``, the radius is the Gaussian's standard deviation in
            pixels. Radii are uniform in 0, 1, ..., radius, and 0 changes nothing.
        prob: Probability of applying the transform.

    Raises:
        ValueError: An argument is out of its range, or the image is not uint8 of shape (H, W, 3).
    """

    def __init__(self, radius: int = 1, prob: float = 1.0) -> None:
        super().__init__(prob)
        if not isinstance(radius, int) or radius < 0:
            raise ValueError(f'radius must be a whole number, 0 or more, got {radius}.')
        self.radius = radius

    @cache_randomness
    def draw(self) -> int:
        return np.random.randint(self.radius + 1) if self.happens() else 0

    def transform(self, results: dict) -> dict:
        image = self.image(results)
        radius = self.draw()
        if radius:
            results['img'] = cv2.GaussianBlur(image, (0, 0), radius)
        return results


@TRANSFORMS.register_module()
class RandomNoise(RandomTransform):
    """Add Gaussian noise to each value, rounded to whole numbers.

    The noise comes from OpenCV's generator, seeded for each image from numpy's: 0.6 ms for 256x256 pixels, a fifth of
    ``np.random.standard_normal``.

    Required and modified key: img.

    Args:
        sd: Largest standard deviation, in grey levels (0 to 255); that of an image is uniform in [0, sd].
        prob: Probability of applying the transform.

    Raises:
        ValueError: An argument is out of its range, or the image is not uint8 of shape (H, W, 3).
    """

    def __init__(self, sd: float = 10, prob: float = 1.0) -> None:
        super().__init__(prob)
        if not 0 <= sd <= 255:
            raise ValueError(f'sd is a standard deviation in grey levels and must lie within 0 and 255, got {sd}.')
        self.sd = sd

    @cache_randomness
    def draw(self) -> tuple[float, int] | None:
        """Return the standard deviation and the seed, or None."""
        return (np.random.uniform(0, self.sd), np.random.randint(2**31)) if self.happens() else None

    def transform(self, results: dict) -> dict:
        image = self.image(results)
        drawn = self.draw()
        if drawn is not None:
            sd, seed = drawn
            cv2.setRNGSeed(seed)
            # One channel, because OpenCV would apply a single sd only to the first of three channels.
            noise = cv2.randn(np.empty((image.shape[0], image.shape[1] * 3), np.int16), 0, sd).reshape(image.shape)
            results['img'] = cv2.add(image, noise, dtype=cv2.CV_8U)
        return results
