"""Class frequencies of a dataset, and class weights computed from them."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.datasets.labels import IGNORE, describe
from mmseg_erfnet.datasets.transforms.loading import LoadSegLabels
from mmseg_erfnet.datasets.wrappers import frames_of, inner_datasets
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.progress import progress


@dataclass(frozen=True)
class LabelStatistics:
    """Counts over a dataset's labels.

    Attributes:
        classes: Names of the classes.
        counts: Pixels of each class in each image, int64 of shape (images, classes).
        ignored: Number of ignored pixels.
        sizes: Number of labels of each (height, width).
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    ignored: int
    sizes: dict[tuple[int, int], int]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.counts)

    @property
    def pixels(self) -> np.ndarray:
        """Pixels of each class, int64 of shape (classes,)."""
        return self.counts.sum(0)

    @property
    def images(self) -> np.ndarray:
        """Number of images in which each class occurs, int64 of shape (classes,)."""
        return (self.counts > 0).sum(0)

    @property
    def pixels_where_present(self) -> np.ndarray:
        """Number of pixels, not ignored ones, in the images in which each class occurs; int64 of shape (classes,)."""
        return (self.counts > 0).T @ self.counts.sum(1)


def label_statistics(dataset: BaseSegDataset, workers: int | None = None) -> LabelStatistics:
    """Count a dataset's labels in one pass, at their original size and without loading the frames.

    Labels are loaded in the same way as by the dataset's pipeline.

    Args:
        dataset: A dataset with `classes` in its `metainfo` and a transform that loads labels in its pipeline; or a
            wrapper of such datasets: then each frame is counted once.
        workers: Number of threads; one per core if None.

    Returns:
        The counts.

    Raises:
        UsageError: The pipeline does not load labels.
        DataError: A label cannot be loaded, or contains an id without a class.
    """
    frames = frames_of(dataset)
    loaders = {id(inner): _label_step(inner) for inner in inner_datasets(dataset)}
    classes = tuple(dataset.metainfo['classes'])

    def count(frame: tuple[BaseSegDataset, int]) -> tuple[np.ndarray, tuple[int, int]]:
        inner, index = frame
        info = inner.get_data_info(index)
        labels = loaders[id(inner)].transform(info)['gt_seg_map']
        counts = np.bincount(labels.ravel(), minlength=256)
        if counts[len(classes) : 255].any():
            raise DataError(
                f'{info["seg_map_path"]} holds {describe(labels[(labels >= len(classes)) & (labels != IGNORE)])}, but '
                f'there are only {len(classes)} classes; check that the dataset fits its labels.'
            )
        return np.append(counts[: len(classes)], counts[255]), labels.shape

    rows, sizes = [], Counter()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress('Labels', len(frames), 'labels') as bar:
        for row, size in pool.map(count, frames):
            rows.append(row)
            sizes[size] += 1
            bar.update()
    counts = np.array(rows, np.int64).reshape(-1, len(classes) + 1)
    return LabelStatistics(classes, counts[:, :-1], int(counts[:, -1].sum()), dict(sizes))


def _label_step(dataset: BaseSegDataset) -> LoadSegLabels | LoadAnnotations:
    for step in dataset.pipeline.transforms:
        if isinstance(step, (LoadSegLabels, LoadAnnotations)):
            return step
    raise UsageError('the pipeline of the dataset loads no labels to count; add mmseg_erfnet.LoadSegLabels.')


def class_weights(pixels: Sequence[int], c: float = 1.10) -> np.ndarray:
    """Weights 1 / ln(c + p), where p is a class's share of the pixels (Paszke et al., 2016, ENet, section 5.2).

    Args:
        pixels: Pixels of each class.
        c: Bounds the weights: a class that never occurs has 1 / ln(c): 10.5 with 1.10, 50.5 with the paper's 1.02.

    Returns:
        float64 of shape (classes,).

    Raises:
        UsageError: c is not above 1, or no pixel was counted.
    """
    if c <= 1:
        raise UsageError(f'c must be above 1, else weights are infinite or negative; {c} is not.')
    return 1 / np.log(c + _shares(pixels))


def median_frequency_weights(statistics: LabelStatistics) -> np.ndarray:
    """Weights median(f) / f, where f is a class's share of the pixels of the images in which it occurs.

    Eigen and Fergus (2015), section 6.3.2; SegNet (Badrinarayanan et al., 2017) uses them to train on CamVid. A class
    that never occurs is left out of the median and has the weight 1.

    Returns:
        float64 of shape (classes,).

    Raises:
        UsageError: No pixel was counted.
    """
    _shares(statistics.pixels)
    present = statistics.pixels > 0
    shares = statistics.pixels[present] / statistics.pixels_where_present[present]
    weights = np.ones(len(present))
    weights[present] = np.median(shares) / shares
    return weights


def _shares(pixels: Sequence[int]) -> np.ndarray:
    pixels = np.asarray(pixels, np.float64)
    if not pixels.sum() > 0:
        raise UsageError('class weights need pixels of at least one class; all labels are ignored.')
    return pixels / pixels.sum()
