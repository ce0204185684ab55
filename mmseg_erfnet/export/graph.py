"""A trained segmentor as a single graph from camera frame to labels, for exporters."""

from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction

import torch
from mmengine.config import Config
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.datasets.pipelines import NEUTRAL_STEPS, step_name
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.export.folding import Downsampler, FoldedStem, Stem, is_downsampler
from mmseg_erfnet.models.building import innermost_dataset

# --scale rounds sizes down to multiples of this, so that a network of ERFNet's depth needs no padding.
SCALED_MULTIPLE = 8
SCALES = (0.1, 10)


@dataclass(frozen=True)
class FrameResize:
    """The ``Resize`` of a test pipeline.

    Args:
        height: Height of the result; with ``keep_ratio``, one of the two bounds.
        width: Width of the result; with ``keep_ratio``, the other bound. The larger bound limits the longer side.
        keep_ratio: Keep the frame's proportions, at the largest size within the bounds.
    """

    height: int
    width: int
    keep_ratio: bool

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of a resized frame, rounded as ``mmcv.imrescale`` does, with integer arithmetic only."""
        if not self.keep_ratio:
            return self.height, self.width
        # torch's functions accept the symbols of torch.export and plain integers.
        long, short = torch.sym_max(height, width), torch.sym_min(height, width)
        longest, shortest = max(self.height, self.width), min(self.height, self.width)

        def scaled(side: int) -> int:
            by_long, by_short = 2 * side * longest + long, 2 * side * shortest + short
            # At least one pixel, for which mmcv makes no provision.
            return torch.sym_max(torch.sym_min(by_long // (2 * long), by_short // (2 * short)), 1)

        return scaled(height), scaled(width)


@dataclass(frozen=True)
class FrameScale:
    """A resize in proportion to the frame, used if the test pipeline has none.

    Args:
        scale: The factor; sizes are rounded down to multiples of 8.
    """

    scale: Fraction

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of a resized frame."""
        up, down = self.scale.numerator, self.scale.denominator * SCALED_MULTIPLE
        # At least one multiple, written in a form that torch.export accepts for any size.
        return tuple(torch.sym_max(side * up // down, 1) * SCALED_MULTIPLE for side in (height, width))


def test_pipeline(cfg: Config) -> list[dict]:
    """Return the steps that prepare a config's test frames.

    These are the steps of the test dataset, regardless of a variable ``test_pipeline``.

    Raises:
        UsageError: The test dataset has no pipeline.
    """
    pipeline = innermost_dataset(cfg).get('pipeline')
    if not pipeline:
        raise UsageError('The test dataset of the config has no pipeline, which prepares the frames: add one.')
    return pipeline


def frame_resize(cfg: Config, scale: float = 1.0) -> FrameResize | FrameScale | None:
    """Return how a config's test pipeline changes a frame's size.

    Args:
        cfg: The config.
        scale: Factor on the size that the network sees; its sides are rounded down to multiples of 8.

    Raises:
        UsageError: The pipeline changes the image in another way, or the scale is not between 0.1 and 10.
    """
    resize = None
    for step in test_pipeline(cfg):
        kind = step_name(step)
        bilinear = 'scale' in step and step.get('interpolation', 'bilinear') == 'bilinear'
        if kind == 'Resize' and bilinear and resize is None:
            width, height = _pair(step['scale'])
            resize = FrameResize(height, width, step.get('keep_ratio', False))
        elif kind not in NEUTRAL_STEPS:
            raise UsageError(
                f'The test pipeline has a step that cannot be exported: {dict(step)}. Only a single bilinear '
                'Resize with a scale can.'
            )
    if scale == 1:
        return resize
    if not SCALES[0] <= scale <= SCALES[1]:
        raise UsageError(f'A scale is a factor from {SCALES[0]} to {SCALES[1]}, 1.25 for instance: got {scale}.')
    # From the decimal text, so that 0.7 times 80 is exactly 56.
    factor = Fraction(str(scale)).limit_denominator(1000)
    if resize is None:
        return FrameScale(factor)
    height, width = (
        max(int(side * factor) // SCALED_MULTIPLE, 1) * SCALED_MULTIPLE for side in (resize.height, resize.width)
    )
    return FrameResize(height, width, resize.keep_ratio)


def _pair(scale: object) -> tuple[int, int]:
    try:
        width, height = scale
        if min(int(width), int(height)) < 1:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise UsageError(f'The scale of a Resize is (width, height), both 1 or more: got {scale}.') from error
    return int(width), int(height)


class FrameToLabels(nn.Module):
    """Preprocessing, network and argmax of a segmentor.

    It computes the same as MMSegmentation with ``data_preprocessor.test_cfg = dict(size_divisor=...)``: the frame is
    resized by the test pipeline, normalised, and padded at the right and at the bottom to a multiple of the network's
    stride. The logits are cropped and resized to the frame's size (bilinear) before the argmax.

    Args:
        segmentor: An ``EncoderDecoder`` with an ERFNet, folded or not.
        resize: From :func:`frame_resize`; it may include a scale.
        output: 'labels', 'logits' or 'probabilities'.
        with_own: If frames are resized, also return the labels at the network's own size. For frames that already have
            this size, they are the labels, and faster to compute.

    Raises:
        UsageError: The segmentor is not supported.
    """

    def __init__(
        self,
        segmentor: nn.Module,
        resize: FrameResize | FrameScale | None = None,
        output: str = 'labels',
        with_own: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(segmentor, EncoderDecoder) or isinstance(segmentor, CascadeEncoderDecoder):
            raise UsageError(
                f'Only an EncoderDecoder can be exported or predict pictures here, and the config builds a '
                f'{type(segmentor).__name__}: score it with tools/test.py.'
            )
        backbone, preprocessor = segmentor.backbone, segmentor.data_preprocessor
        if type(backbone).__name__ != 'ERFNet' or getattr(backbone, 'encoder_only', False) or segmentor.with_neck:
            raise UsageError(
                'Only a segmentor with an ERFNet, without a neck, can be exported: this one has '
                f'{type(backbone).__name__}.'
            )
        mean, std = (
            getattr(preprocessor, name, torch.full((3, 1, 1), neutral))
            for name, neutral in (('mean', 0.0), ('std', 1.0))
        )
        if mean.numel() != 3 or segmentor.test_cfg.get('mode', 'whole') != 'whole':
            raise UsageError('Only models for three-channel images with test_cfg.mode "whole" can be exported.')
        self.backbone, self.head = deepcopy(backbone), segmentor.decode_head
        self.align_corners = segmentor.align_corners
        # A head with one output distinguishes two classes by a threshold.
        self.threshold = self.head.threshold if self.head.out_channels == 1 else None
        self.resize, self.output = resize, output
        # A network of ERFNet's depth halves the size three times.
        self.multiple = 2 ** sum(is_downsampler(block) for block in backbone.encoder)
        # The attribute's name depends on the distribution of MMSegmentation.
        reverse = any(getattr(preprocessor, name, False) for name in ('_channel_conversion', 'channel_conversion'))
        first = self.backbone.encoder[0]
        self.backbone.encoder[0] = (FoldedStem if isinstance(first, Downsampler) else Stem)(first, reverse)
        side = 2 * self.multiple
        with torch.no_grad():
            logits = self.head.eval()(self.backbone.eval()(torch.zeros(1, side, side, 3)))
        self.doubles = logits.shape[-1] * 2 == side and not self.align_corners and self.threshold is None
        # A FrameScale always changes the size of a frame.
        fits = isinstance(resize, FrameResize)
        self.with_own = bool(with_own and fits and self.doubles and output == 'labels')
        for name, value in (('mean', mean), ('std', std)):
            self.register_buffer(name, value.flatten().flip(0) if reverse else value.flatten())

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [self.output, 'own_labels'] if self.with_own else [self.output]

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return labels, uint8 (N, H, W), or logits or probabilities (N, C, H, W), for frames, uint8 (N, H, W, 3)."""
        frame_size = frames.shape[1:3]
        height, width = self.resize(*frame_size) if self.resize else frame_size
        x = self.prepared(frames)
        logits, own = self.head(self.backbone(x)), None
        if self.output == 'labels' and self.doubles and (self.with_own or not self.resize):
            own = labels_of_doubled(logits)[:, :height, :width]
            if not self.resize:
                return own
        logits = F.interpolate(logits, x.shape[1:3], mode='bilinear', align_corners=self.align_corners)
        logits = logits[..., :height, :width]
        if self.resize:
            logits = F.interpolate(logits, frame_size, mode='bilinear', align_corners=self.align_corners)
        if self.output == 'logits':
            return logits
        if self.output == 'probabilities':
            return logits.softmax(1) if self.threshold is None else logits.sigmoid()
        # As BaseSegmentor.postprocess_result of MMSegmentation does.
        labels = logits.argmax(1) if self.threshold is None else logits[:, 0].sigmoid() > self.threshold
        labels = labels.to(torch.uint8)
        return (labels, own) if self.with_own else labels

    def prepared(self, frames: Tensor) -> Tensor:
        """Return the first layer's input, normalised, float32 (N, h, w, 3) BGR, for frames, uint8 (N, H, W, 3) BGR."""
        if self.resize:
            x = frames.to(self.mean.dtype).permute(0, 3, 1, 2)
            x = F.interpolate(x, self.resize(*frames.shape[1:3]), mode='bilinear', align_corners=False)
            # Rounded, because OpenCV resizes in integers.
            frames = x.permute(0, 2, 3, 1).round()
        height, width = frames.shape[1:3]
        # Rounded up without a negative number, because ONNX's division of integers rounds towards zero.
        up = self.multiple - 1
        bottom, right = ((side + up) // self.multiple * self.multiple - side for side in (height, width))
        # Row by row, not pixel by pixel: three colours do not fill a CPU's vector register.
        x = frames.flatten(2).to(self.mean.dtype) - self.mean.repeat(width)
        # Pad before the division: ONNX Runtime 1.31 fuses a pad directly before a pooling, with a wrong result.
        x = F.pad(x, (0, 3 * right, 0, bottom)) / self.std.repeat(width + right)
        return x.unflatten(2, (width + right, 3))


def labels_of_doubled(logits: Tensor) -> Tensor:
    """Return the argmax, uint8 (N, 2 h, 2 w), of logits (N, C, h, w) after bilinear resizing to twice their size.

    Each output pixel is a weighted sum of the four nearest logits, with weights of 9, 3, 3 and 1 sixteenths in one of
    four arrangements. Each arrangement is a small convolution followed by its own argmax, and only the labels are
    interleaved. With OpenVINO in bf16, this takes half the time of resizing all classes before the argmax. Zeros are
    used beyond the border instead of the repeated border logits: this scales the sums of all classes by the same
    factor, so the argmax does not change.
    """
    height, width = logits.shape[2:]
    classes = logits.shape[1]
    near, far = torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    labels = []
    for top, rows in enumerate((far, near)):
        for left, columns in enumerate((far, near)):
            kernel = torch.outer(rows, columns).to(logits).expand(classes, 1, 2, 2)
            found = F.conv2d(logits, kernel, padding=1, groups=classes)
            # Flattened, so that OpenVINO computes the argmax plane by plane, not pixel by pixel.
            found = found.flatten(2).argmax(1).to(torch.uint8).view(-1, height + 1, width + 1)
            labels.append(found[:, top : top + height, left : left + width])
    return F.pixel_shuffle(torch.stack(labels, 1), 2)[:, 0]
