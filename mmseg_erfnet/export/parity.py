"""Checks whether an exported model computes the same as MMSegmentation in PyTorch."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from mmseg_erfnet.datasets.base import read_bytes
from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.datasets.pipelines import LOADING_STEPS, evenly_spaced, step_name
from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import DataError, ParityError
from mmseg_erfnet.export.graph import FrameResize, FrameScale, FrameToLabels, test_pipeline
from mmseg_erfnet.images import check_frame, decode_frame
from mmseg_erfnet.registry import TRANSFORMS

# Largest allowed difference of float32 logits from PyTorch's. Labels may differ where two classes are this close.
LOGIT_TOLERANCE = 1e-3
# Share of labels that may differ beyond that if frames are resized, because libraries round some pixels differently.
RESIZED_DISAGREEMENT = 1e-3


def sample_frames(cfg: Config, number: int) -> list[np.ndarray]:
    """Return evenly spaced frames of a config's test set, or synthetic frames if its data are not available."""
    try:
        dataset = build_dataset(cfg, 'test' if cfg.get('test_dataloader') else 'val')
        return [read_frame(dataset.get_data_info(index)['img_path']) for index in evenly_spaced(len(dataset), number)]
    except (DataError, FileNotFoundError):
        return [render((360, 480), seed=0, index=index)[0][..., ::-1].copy() for index in range(number)]


def read_frame(path: str) -> np.ndarray:
    """Return an image as uint8 (H, W, 3), BGR, upright: both the pipeline and ``predict`` apply its EXIF orientation.

    Raises:
        DataError: It cannot be read, or is not an 8-bit colour image.
    """
    data = read_bytes(path)
    check_frame(data, path)
    return decode_frame(data, path)


@dataclass
class Difference:
    """The result of a comparison."""

    logits: list[float] = field(default_factory=list)
    pixels: int = 0
    equal: int = 0
    wrong: int = 0
    resized: int = 0
    wrong_resized: int = 0

    def add_logits(self, found: np.ndarray, expected: np.ndarray, own: bool) -> None:
        """Add a comparison of logits.

        For a frame of the network's own size, the largest difference counts; for a frame that the model resizes, the
        mean difference.

        Raises:
            ParityError: PyTorch's own logits are NaN or infinite.
        """
        if not np.isfinite(expected).all():
            raise ParityError('The model gives NaN or infinite logits in PyTorch: its weights are damaged; use others.')
        difference = np.abs(found - expected)
        self.logits.append(float(difference.max() if own else difference.mean()))

    def add_labels(self, behind: np.ndarray, own: bool) -> None:
        """Count labels, given the distance (H, W) of each label's logit from the best logit."""
        # Written so that NaN counts as wrong.
        wrong = int((~(behind <= 2 * LOGIT_TOLERANCE)).sum())
        self.pixels += behind.size
        self.equal += int((behind == 0).sum())
        self.wrong += wrong if own else 0
        self.wrong_resized += 0 if own else wrong
        self.resized += 0 if own else behind.size

    def check(self, name: str) -> str:
        """Return the result in one line.

        Raises:
            ParityError: The difference exceeds rounding, or is NaN.
        """
        worst, wrong = float(np.max(self.logits)), self.wrong + self.wrong_resized
        fits = worst <= LOGIT_TOLERANCE and self.wrong == 0
        if not fits or self.wrong_resized > RESIZED_DISAGREEMENT * self.resized:
            raise ParityError(
                f'{name} differs from PyTorch and was not kept: logits by up to {worst:.2g} (allowed: '
                f'{LOGIT_TOLERANCE:g}); labels, except for ties, on {wrong} of {self.pixels} pixels: try other '
                'versions of the packages that export and run it.'
            )
        share = f'labels equal on {100 * self.equal / max(self.pixels, 1):.3f} % of {self.pixels} pixels'
        return f'logits within {worst:.1e} of PyTorch, {share}'


class Reference:
    """The predictions of a segmentor in PyTorch, in float32.

    Frames of the network's own size are prepared by the config's own pipeline and run through MMSegmentation's
    ``test_step``. Frames of other sizes run through :class:`~mmseg_erfnet.export.graph.FrameToLabels`, which resizes in
    float whereas OpenCV resizes in integers; before that, the graph is checked against MMSegmentation at its own size.

    Args:
        cfg: The config.
        segmentor: From :func:`mmseg_erfnet.models.building.load_segmentor`, not folded.
        resize: How the model changes a frame's size.
        frames: uint8 (H, W, 3), BGR.

    Raises:
        ParityError: The graph differs from MMSegmentation, or the weights give NaN.
    """

    def __init__(
        self, cfg: Config, segmentor: nn.Module, resize: FrameResize | FrameScale | None, frames: Iterable[np.ndarray]
    ) -> None:
        self.segmentor, self.resize, self.frames = deepcopy(segmentor), resize, list(frames)
        self.graph = FrameToLabels(segmentor, resize, 'logits').eval()
        self.threshold = self.graph.threshold
        self.segmentor.data_preprocessor.test_cfg = dict(size_divisor=self.graph.multiple)
        self.pipeline = _pipeline(cfg, resize)
        self._check_graph(FrameToLabels(segmentor, None, 'logits').eval())

    def _check_graph(self, unresized: nn.Module) -> None:
        frame = self.frames[0]
        seen = self.resize(*frame.shape[:2]) if self.resize else frame.shape[:2]
        picture, found = cv2.resize(frame, tuple(seen)[::-1]), Difference()
        found.add_logits(self._scores(_run(unresized, picture)), self._by_mmseg(picture), own=True)
        found.check('The graph')

    def own_size(self, frame: np.ndarray) -> tuple[int, int]:
        """Return the size at which the network takes frames without a resize; by default, the frame's size."""
        size = frame.shape[:2]
        return self.resize(*size) if isinstance(self.resize, FrameResize) else size

    def is_own(self, frame: np.ndarray) -> bool:
        """Whether the network takes a frame without a resize."""
        return self.resize is None or tuple(self.resize(*frame.shape[:2])) == frame.shape[:2]

    def compare(self, frame: np.ndarray, logits: np.ndarray, labels: np.ndarray, difference: Difference) -> None:
        """Add a model's prediction of a frame to a comparison.

        Args:
            frame: uint8 (H, W, 3), BGR.
            logits: float32 (C, H, W).
            labels: uint8 (H, W).
            difference: The comparison to add to.
        """
        own = self.is_own(frame)
        scores = self._by_mmseg(frame) if own else self._scores(_run(self.graph, frame))
        difference.add_logits(self._scores(logits), scores, own)
        difference.add_labels(self._behind(scores, labels), own)

    def _scores(self, logits: np.ndarray) -> np.ndarray:
        """Return logits in MMSegmentation's form: for a binary head, the probability."""
        return logits if self.threshold is None else torch.from_numpy(logits).sigmoid().numpy()

    def _behind(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the distance, (H, W), of each label's score from the best score."""
        if self.threshold is not None:
            away = scores[0] - self.threshold
            return np.where((away > 0) == (labels == 1), 0, np.abs(away) + 1e-12)
        known = labels < len(scores)
        chosen = np.take_along_axis(scores, np.where(known, labels, 0)[None].astype(np.intp), 0)[0]
        return np.where(known, scores.max(0) - chosen, np.inf)

    def _by_mmseg(self, frame: np.ndarray) -> np.ndarray:
        results = dict(img=frame, img_shape=frame.shape[:2], ori_shape=frame.shape[:2], img_path='')
        with torch.no_grad():
            sample = self.segmentor.test_step(pseudo_collate([self.pipeline(results)]))[0]
        return sample.seg_logits.data.numpy()


def _pipeline(cfg: Config, resize: FrameResize | FrameScale | None) -> Compose:
    """Return the steps of a config's test pipeline that follow the loading steps, at the scale of the model."""
    steps = [dict(step) for step in test_pipeline(cfg) if step_name(step) not in LOADING_STEPS]
    for step in steps:
        if step_name(step) == 'Resize':
            step['scale'] = (resize.width, resize.height)
    return Compose([TRANSFORMS.build(step) for step in steps])


def _run(graph: nn.Module, frame: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return graph(torch.from_numpy(np.ascontiguousarray(frame))[None])[0].numpy()


def check_parity(predictor: Predictor, logits_of: Callable[[np.ndarray], np.ndarray], reference: Reference) -> str:
    """Compare an exported model with PyTorch.

    Labels and logits are compared on frames of the network's own size, and, unless the model takes only one size, also
    on one frame at its original size and at a size that the network has to pad.

    Args:
        predictor: The model, with any output, in float32.
        logits_of: Returns the logits, float32 (C, H, W), of a frame, computed by the same backend.
        reference: PyTorch's predictions.

    Returns:
        The result in one line.

    Raises:
        ParityError: The model differs by more than rounding: logits by more than 1e-3, or labels where no other class
            is that close.
    """
    difference = Difference()
    for index, frame in enumerate(reference.frames):
        for size in _sizes(predictor, reference, frame, first=index == 0):
            picture = cv2.resize(frame, size[::-1])
            found = predictor.predict(picture)
            labels = found if predictor.output == 'labels' else _decided(found, reference.threshold, predictor.output)
            reference.compare(picture, logits_of(picture), labels, difference)
    return difference.check(predictor.name)


def _sizes(predictor: Predictor, reference: Reference, frame: np.ndarray, first: bool) -> Iterable[tuple[int, int]]:
    if predictor.size:
        return [predictor.size]
    if 'picture' in predictor.metadata:
        # At the bounds of its resize, a model of one size neither resizes a frame nor pads it more than PyTorch does.
        return [(reference.resize.height, reference.resize.width)]
    own = reference.own_size(frame)
    odd = max(frame.shape[0] - 5, 1), max(frame.shape[1] - 3, 1)
    return dict.fromkeys([own, frame.shape[:2], odd] if first else [own])


def _decided(found: np.ndarray, threshold: float | None, output: str) -> np.ndarray:
    """Return the labels, uint8 (H, W), of logits or probabilities (C, H, W)."""
    if threshold is None:
        return found.argmax(0).astype(np.uint8)
    if output == 'logits':
        found = torch.from_numpy(found).sigmoid().numpy()
    return (found[0] > threshold).astype(np.uint8)
