"""Geometric transforms: image and labels get the same motion, with bilinear and nearest interpolation."""

import math

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmseg_erfnet.datasets.transforms.base import RandomTransform, interval
from mmseg_erfnet.registry import TRANSFORMS


class _GeometricTransform(RandomTransform):
    def __init__(self, prob: float, pad_val: int, seg_pad_val: int) -> None:
        super().__init__(prob)
        for name, value in (('pad_val', pad_val), ('seg_pad_val', seg_pad_val)):
            if not 0 <= value <= 255:
                raise ValueError(f'{name} must lie within 0 and 255, as images and labels are uint8, got {value}.')
        self.pad_val = pad_val
        self.seg_pad_val = seg_pad_val

    def labels(self, results: dict) -> dict[str, np.ndarray]:
        """Return the label maps of ``results['seg_fields']``, each uint8 and as large as the image.

        Raises:
            ValueError: One has another type or size.
        """
        labels = {key: results[key] for key in results.get('seg_fields', [])}
        for key, label in labels.items():
            if label.dtype != np.uint8 or label.shape != results['img'].shape[:2]:
                raise ValueError(
                    f'{type(self).__name__} needs {key} to be uint8 and of the same size as the image, '
                    f'{results["img"].shape[:2]}, got {label.dtype} of shape {label.shape} '
                    f'({results.get("seg_map_path", "no path known")}). Resize both, or neither, before it.'
                )
        return labels


@TRANSFORMS.register_module()
class RandomRotateCropResize(_GeometricTransform):
    """Rotate, crop and resize in one warp.

    This follows the TensorFlow project that started this one (github.com/ronrest/erfnet_segmentation): the canvas
    grows to contain the rotated image; the crop keeps a random part of the canvas's width and, drawn separately, of its
    height; the result is resized to ``size``. ``degree=0`` disables the rotation, ``crop=(1, 1)`` the crop.

    MMSegmentation's ``RandomRotate`` and ``RandomCrop`` cannot be combined to the same effect: the first adds another
    interpolation, the second crops to a size in pixels.

    Bilinear interpolation uses only two pixels per axis. So an image that shrinks by a factor of two or more is first
    halved by averaging, until the remaining factor is below two. Powers of two are OpenCV's fast case: 0.2 ms for
    960x720, compared with 0.9 ms for a third. Below a factor of two the result equals ``cv2.resize``.

    Required keys: img, and those listed in seg_fields. Modified: these, img_shape, scale.

    Args:
        degree: Largest angle, in degrees; angles are uniform in [-degree, degree].
        crop: Range of the part of each side that is kept, uniform.
        size: (width, height) of the result, as in MMCV's ``Pad``; None for the size of the image.
        auto_bound: Whether the canvas grows to contain the rotated image, as in MMSegmentation's ``RandomRotate``. With
            the default arguments, objects then keep their size on average (0.76 to 1.38), and 17 % of the result of a
            4:3 frame is uncovered; without, objects are magnified by 1.2 on average (1 to 1.5), and 3 % is uncovered.
        pad_val: Image value of pixels that rotation uncovers.
        seg_pad_val: Label of these pixels.
        prob: Probability of rotating and cropping; the image is always resized.

    Raises:
        ValueError: An argument is out of its range, image or labels are not uint8, or they differ in size.
    """

    def __init__(
        self,
        degree: float = 30,
        crop: tuple[float, float] = (0.66, 1.0),
        size: tuple[int, int] | None = None,
        auto_bound: bool = True,
        pad_val: int = 0,
        seg_pad_val: int = 255,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob, pad_val, seg_pad_val)
        if not 0 <= degree <= 180:
            raise ValueError(f'degree must lie within 0 and 180, got {degree}.')
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size must be (width, height) in pixels, or None for the image's own, got {size}.")
        self.degree = degree
        self.crop = interval('crop', crop, 0, 1)
        if self.crop[0] == 0:
            raise ValueError('crop must keep something of each side, got a lower bound of 0.')
        self.size = size and tuple(size)
        self.auto_bound = auto_bound

    @cache_randomness
    def draw(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the angle in degrees, the part kept of (width, height), and its position from 0 (left, top) to 1."""
        if not self.happens():
            return 0.0, np.ones(2), np.zeros(2)
        return np.random.uniform(-self.degree, self.degree), np.random.uniform(*self.crop, 2), np.random.random(2)

    def transform(self, results: dict) -> dict:
        image = self.image(results)
        labels = self.labels(results)
        source = np.array(image.shape[1::-1])
        size = self.size or tuple(source.tolist())
        angle, part, place = self.draw()

        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        canvas = np.abs([[cos, sin], [sin, cos]]) @ source if self.auto_bound else source
        step = part * canvas / size
        rotation = np.array([[cos, -sin], [sin, cos]])
        # Maps the centre of a pixel of the result to the source, with (0, 0) at the corner of a pixel.
        linear = rotation * step
        offset = linear @ (0.5, 0.5) + rotation @ (place * (1 - part) * canvas - canvas / 2) + source / 2 - 0.5

        for key, label in labels.items():
            results[key] = _warp(label, linear, offset, size, cv2.INTER_NEAREST, self.seg_pad_val)
        shrink = 2 ** max(0, int(math.log2(step.min())))
        if shrink > 1:
            image = cv2.resize(image, tuple((-(-source // shrink)).tolist()), interpolation=cv2.INTER_AREA)
            ratio = image.shape[1::-1] / source
            linear, offset = linear * ratio[:, None], (offset + 0.5) * ratio - 0.5
        results['img'] = _warp(image, linear, offset, size, cv2.INTER_LINEAR, self.pad_val)
        results['img_shape'] = results['img'].shape[:2]
        results['scale'] = size
        return results


def _warp(
    array: np.ndarray, linear: np.ndarray, offset: np.ndarray, size: tuple[int, int], interpolation: int, fill: int
) -> np.ndarray:
    return cv2.warpAffine(
        array,
        np.column_stack([linear, offset]),
        size,
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill,) * 3,
    )


@TRANSFORMS.register_module()
class RandomTranslate(_GeometricTransform):
    """Shift by whole pixels along both axes.

    Together with a horizontal flip, this is the ERFNet authors' augmentation on Cityscapes: translations of 0 to 2
    pixels (paper; README of github.com/Eromera/erfnet, ``--augment``), here in both directions along each axis.

    Required keys: img, and those listed in seg_fields. Modified: these.

    Args:
        offset: Largest shift, in pixels; shifts are uniform in -offset, ..., offset.
        pad_val: Image value of pixels that the shift uncovers.
        seg_pad_val: Label of these pixels.
        prob: Probability of applying the transform.

    Raises:
        ValueError: An argument is out of its range, image or labels are not uint8, or they differ in size.
    """

    def __init__(self, offset: int = 2, pad_val: int = 0, seg_pad_val: int = 255, prob: float = 1.0) -> None:
        super().__init__(prob, pad_val, seg_pad_val)
        if not isinstance(offset, int) or offset < 0:
            raise ValueError(f'offset must be a whole number of pixels, 0 or more, got {offset}.')
        self.offset = offset

    @cache_randomness
    def draw(self) -> tuple[int, int] | None:
        """Return the shift (right, down) in pixels, or None."""
        if not self.happens():
            return None
        return tuple(np.random.randint(-self.offset, self.offset + 1, 2).tolist())

    def transform(self, results: dict) -> dict:
        image = self.image(results)
        labels = self.labels(results)
        shift = self.draw()
        if shift is not None:
            results['img'] = _shift(image, shift, self.pad_val)
            for key, label in labels.items():
                results[key] = _shift(label, shift, self.seg_pad_val)
        return results


@TRANSFORMS.register_module()
class ReduceLabels(BaseTransform):
    """Reduce the labels, not the image, to 1/factor of their size, the size of an encoder's features.

    ERFNet's authors train the encoder alone on labels at 1/8 (paper, IV-A). Each reduced label is that of the pixel
    nearest to the centre of the area it covers.

    Required keys: those listed in seg_fields. Modified: these.

    Args:
        factor: Reduction factor, 1 or more.

    Raises:
        ValueError: The factor is below 1, or a side of a label is not divisible by it.
    """

    def __init__(self, factor: int = 8) -> None:
        if not isinstance(factor, int) or factor < 1:
            raise ValueError(f'factor must be a whole number, 1 or more, got {factor}.')
        self.factor = factor

    def transform(self, results: dict) -> dict:
        for key in results.get('seg_fields', []):
            height, width = results[key].shape
            if height % self.factor or width % self.factor:
                raise ValueError(
                    f'ReduceLabels cannot reduce {key} of {width}x{height} to 1/{self.factor}: crop or '
                    f'resize to a multiple of {self.factor} before it.'
                )
            size = (width // self.factor, height // self.factor)
            results[key] = cv2.resize(results[key], size, interpolation=cv2.INTER_NEAREST_EXACT)
        return results


def _shift(array: np.ndarray, shift: tuple[int, int], fill: int) -> np.ndarray:
    height, width = array.shape[:2]
    right, down = shift
    shifted = np.full_like(array, fill)
    shifted[max(down, 0) : height + down, max(right, 0) : width + right] = array[
        max(-down, 0) : height - down, max(-right, 0) : width - right
    ]
    return shifted
