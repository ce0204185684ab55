"""Models in int8, each scored on the validation set before and after its quantisation.

:mod:`mmseg_erfnet.export.quantize` and :mod:`mmseg_erfnet.export.fixed` have the quantisers of the formats.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import DataError, QuantizationError, UsageError
from mmseg_erfnet.evaluation import confusion_matrix, scores, scoring_arguments
from mmseg_erfnet.export.graph import FrameResize, frame_resize
from mmseg_erfnet.export.parity import read_frame
from mmseg_erfnet.progress import progress

# NNCF's default for calibration.
CALIBRATION_FRAMES = 300


class ScoredImages(Sequence):
    """The validation images of a config: frames, uint8 (H, W, 3), and labels, uint8 (H, W), at the size of scoring.

    Args:
        cfg: The config. Labels that its evaluator ignores become 255.
        options: Options of the dataset.
    """

    def __init__(self, cfg: Config, **options) -> None:
        self.dataset = build_dataset(cfg, 'val', **options)
        self.ignore_index = scoring_arguments(cfg.get('val_evaluator')).get('ignore_index', 255)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        frame, labels = scored_sample(self.dataset, index)
        return frame, np.where(labels == self.ignore_index, np.uint8(255), labels)


def scored_sample(dataset: BaseSegDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame and its labels, both at the size at which the config scores.

    This is the image's own size if the labels have it, else the size to which the pipeline resizes both.
    """
    data = dataset[index]
    labels = data['data_samples'].gt_sem_seg.data[0].numpy()
    path = dataset.get_data_info(index)['img_path']
    for frame in (read_frame(path), data['inputs'].permute(1, 2, 0).numpy()):
        if frame.shape[:2] == labels.shape:
            return np.ascontiguousarray(frame), labels
    raise DataError(
        f'{path}: its labels are {labels.shape} at the end of the pipeline, which is the size of neither the image '
        'nor the processed image.'
    )


class Quantizer(Protocol):
    """Quantises a model of one format.

    Attributes:
        model: The model in float32.
        frames: Number of frames for the calibration.
        restores: Whether it can leave layers in float.
    """

    model: object
    frames: int
    restores: bool

    def quantize(self, frames: list[np.ndarray]) -> object:
        """Return the model in int8, all layers quantised, calibrated on frames, uint8 (H, W, 3)."""

    def restore(self, frames: list[np.ndarray], validation: ScoredImages, max_drop: float) -> object:
        """Return the model with the most sensitive layers in float; only called if ``restores`` is true."""

    def save(self, model: object, path: Path, metadata: dict) -> None:
        """Write a model with its metadata."""


def export_int8(
    quantizer: Quantizer,
    path: Path,
    metadata: dict,
    cfg: Config,
    max_drop: float = 0.3,
    report: Callable[[str], None] = print,
    scale: float = 1.0,
) -> None:
    """Quantise a model, score it and the float32 model on the validation set, and write it.

    All layers are quantised first. If that loses too much and the format allows it, the most sensitive layers are left
    in float, one by one, until the loss is acceptable.

    Args:
        quantizer: The model, for frames of any size, whose output is labels.
        path: The file to write; its folder exists.
        metadata: The metadata of the float model; the scores are added under ``int8``.
        cfg: The config, for the training images and the validation set.
        max_drop: Points of mIoU that may be lost.
        report: Called with each line of the results.
        scale: Factor on the size that the network sees, as in the export of the model.

    Raises:
        UsageError: The config has no training or validation set.
        DataError: The data are not where the config says.
        QuantizationError: The loss exceeds the limit, or a score is NaN.
    """
    check_data(cfg)
    validation = ScoredImages(cfg)
    frames = calibration_frames(cfg, quantizer.frames, scale)

    def score_of(candidate: object, what: str) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            quantizer.save(candidate, file, metadata | dict(size=None, batch=None))
            return score(Predictor(file), validation, what)

    before = score_of(quantizer.model, 'fp32')
    quantised, method = quantizer.quantize(frames), 'post-training'
    after = score_of(quantised, 'int8')
    lost = before['mIoU'] - after['mIoU']
    # Here and below, written so that NaN fails too.
    if quantizer.restores and not lost <= max_drop:
        report(f'int8 loses {lost:.2f} points of mIoU; leaving layers in float, which takes minutes')
        quantised, method = quantizer.restore(frames, validation, max_drop), 'post-training, some layers in float'
        after = score_of(quantised, 'int8')
        lost = before['mIoU'] - after['mIoU']
    line = f'mIoU on {len(validation)} validation images: fp32 {before["mIoU"]:.2f}, int8 {after["mIoU"]:.2f}'
    if not lost <= max_drop:
        raise QuantizationError(
            f'{line}: more than {max_drop:g} points are lost. The model was not kept; train '
            'longer, calibrate on more images, or allow it with --max-drop.'
        )
    facts = dict(
        method=method,
        calibration_images=len(frames),
        validation_images=len(validation),
        fp32={name: before[name] for name in ('mIoU', 'aAcc')},
        int8={name: after[name] for name in ('mIoU', 'aAcc')},
    )
    quantizer.save(quantised, path, metadata | dict(int8=facts))
    report(f'{path.name}: {line}')


def check_data(cfg: Config) -> None:
    """Refuse a config whose data int8 cannot be calibrated or scored on.

    Raises:
        UsageError: The config has no training or validation set.
        DataError: The data are not where the config says.
    """
    for part, purpose in (('train', 'calibrated'), ('val', 'scored')):
        if not cfg.get(f'{part}_dataloader'):
            raise UsageError(
                f'The config has no {part}_dataloader, and int8 is {purpose} on its images: export with a config that '
                'has one.'
            )
        build_dataset(cfg, part)


def calibration_frames(cfg: Config, number: int = CALIBRATION_FRAMES, scale: float = 1.0) -> list[np.ndarray]:
    """Return evenly spaced training images at the size that the network sees.

    Args:
        cfg: The config, for its training set.
        number: Maximum number of images.
        scale: Factor on that size. If the test pipeline has no resize, the model itself scales.
    """
    dataset = build_dataset(cfg, 'train')
    resize = frame_resize(cfg, scale)
    frames = []
    for index in evenly_spaced(len(dataset), number):
        frame = read_frame(dataset.get_data_info(index)['img_path'])
        height, width = resize(*frame.shape[:2]) if isinstance(resize, FrameResize) else frame.shape[:2]
        frames.append(cv2.resize(frame, (width, height)))
    return frames


def score(predictor: Predictor, images: ScoredImages, what: str = 'Scored') -> dict:
    """Score a model that returns labels; return the metrics of :func:`mmseg_erfnet.evaluation.scores.scores`."""
    confusion = 0
    with progress(what, len(images), 'images') as bar:
        for index in range(len(images)):
            frame, labels = images[index]
            confusion += confusion_matrix(labels, predictor.predict(frame), len(predictor.classes))
            bar.update()
    return scores(confusion)
