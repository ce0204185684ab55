"""A trained segmentor as one graph, from a camera's frame to labels, for exporters."""

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

# What --scale rounds sizes down to: no network of ERFNet's depth then pads.
SCALED_MULTIPLE = 8
SCALES = (0.1, 10)


@dataclass(frozen=True)
class FrameResize:
    """The ``Resize`` of a test pipeline.

    Args:
        height: Height of the result, or with ``keep_ratio`` the bound of the shorter or longer side.
        width: The other one.
        keep_ratio: Keep the frame's proportions, at the largest size within the bounds.
    """

    height: int
    width: int
    keep_ratio: bool

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that a frame gets, as ``mmcv.imrescale`` rounds it, in integers alone."""
        if not self.keep_ratio:
            return self.height, self.width
        # torch's functions accept the symbols of torch.export and plain integers.
        long, short = torch.sym_max(height, width), torch.sym_min(height, width)
        longest, shortest = max(self.height, self.width), min(self.height, self.width)

        def scaled(side: int) -> int:
            by_long, by_short = 2 * side * longest + long, 2 * side * shortest + short
            return torch.sym_min(by_long // (2 * long), by_short // (2 * short))

        return scaled(height), scaled(width)


@dataclass(frozen=True)
class FrameScale:
    """A resize in proportion to the frame, where the test pipeline has none.

    Args:
        scale: The factor; sizes are rounded down to multiples of 8.
    """

    scale: Fraction

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that a frame gets."""
        up, down = self.scale.numerator, self.scale.denominator * SCALED_MULTIPLE
        # At least one multiple, in a form that torch.export takes for any size.
        return tuple(torch.sym_max(side * up // down, 1) * SCALED_MULTIPLE for side in (height, width))


def test_pipeline(cfg: Config) -> list[dict]:
    """Return the steps by which a config prepares test frames: those of its test dataset, whatever a variable says.

    Raises:
        UsageError: The config has none.
    """
    pipeline = innermost_dataset(cfg).get('pipeline')
    if not pipeline:
        raise UsageError('The test dataset of the config has no pipeline, which says how frames are prepared: add one.')
    return pipeline


def frame_resize(cfg: Config, scale: float = 1.0) -> FrameResize | FrameScale | None:
    """Return what a config's test pipeline does to a frame's size.

    Args:
        cfg: The config.
        scale: Factor on the size that the network sees; its sides are rounded down to multiples of 8.

    Raises:
        UsageError: The pipeline does something else to the image, or the scale is not from 0.1 to 10.
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
                f'The test pipeline has a step that cannot be exported: {dict(step)}. One bilinear Resize '
                'with a scale can.'
            )
    if scale == 1:
        return resize
    if not SCALES[0] <= scale <= SCALES[1]:
        raise UsageError(f'A scale is a factor from {SCALES[0]} to {SCALES[1]}, 1.25 for instance: got {scale}.')
    # As it is written: 0.7 times 80 is 56.
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
    """Preprocessing, network and decision of a segmentor.

    It computes what MMSegmentation does with ``data_preprocessor.test_cfg = dict(size_divisor=...)``: the frame is
    resized as the test pipeline says, normalised, padded at the right and at the bottom to what the network divides
    sizes by, and the logits are cropped, resized to the frame's size (bilinear), and only then decided.

    Args:
        segmentor: An ``EncoderDecoder`` with an ERFNet; its weights are used, and folded where ``fold`` is set.
        resize: From :func:`frame_resize`, which may scale.
        output: 'labels', 'logits' or 'probabilities'.
        with_own: Where frames are resized, return their labels at the network's own size, too: for frames that have it
            already, they are the labels, and found sooner.

    Raises:
        UsageError: It is no such segmentor.
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
        # A head with one output for two classes tells them apart by a threshold.
        self.threshold = self.head.threshold if self.head.out_channels == 1 else None
        self.resize, self.output = resize, output
        # A network of ERFNet's depth halves the size three times.
        self.multiple = 2 ** sum(is_downsampler(block) for block in backbone.encoder)
        # Its name depends on the distribution of MMSegmentation.
        reverse = any(getattr(preprocessor, name, False) for name in ('_channel_conversion', 'channel_conversion'))
        first = self.backbone.encoder[0]
        self.backbone.encoder[0] = (FoldedStem if isinstance(first, Downsampler) else Stem)(first, reverse)
        side = 2 * self.multiple
        with torch.no_grad():
            logits = self.head.eval()(self.backbone.eval()(torch.zeros(1, side, side, 3)))
        self.doubles = logits.shape[-1] * 2 == side and not self.align_corners and self.threshold is None
        # A scaled frame never has the frame's own size.
        fits = isinstance(resize, FrameResize)
        self.with_own = bool(with_own and fits and self.doubles and output == 'labels')
        for name, value in (('mean', mean), ('std', std)):
            self.register_buffer(name, value.flatten().flip(0) if reverse else value.flatten())

    @property
    def outputs(self) -> list[str]:
        """Names of what is returned."""
        return [self.output, 'own_labels'] if self.with_own else [self.output]

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Frames, uint8 (N, H, W, 3) BGR, to labels, uint8 (N, H, W); or to logits or probabilities (N, C, H, W)."""
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
        """Frames, uint8 (N, H, W, 3) BGR, to what the first layer takes: normalised, float32 (N, h, w, 3) BGR."""
        if self.resize:
            x = frames.to(self.mean.dtype).permute(0, 3, 1, 2)
            x = F.interpolate(x, self.resize(*frames.shape[1:3]), mode='bilinear', align_corners=False)
            # OpenCV resizes in integers; its result is rounded.
            frames = x.permute(0, 2, 3, 1).round()
        height, width = frames.shape[1:3]
        bottom, right = (-(-side // self.multiple) * self.multiple - side for side in (height, width))
        # Row by row, not pixel by pixel: three colours fill no vector of a CPU.
        x = frames.flatten(2).to(self.mean.dtype) - self.mean.repeat(width)
        # Before the division: a pad right before a pooling makes ONNX Runtime 1.31 fuse the two, which is wrong.
        x = F.pad(x, (0, 3 * right, 0, bottom)) / self.std.repeat(width + right)
        return x.unflatten(2, (width + right, 3))


def labels_of_doubled(logits: Tensor) -> Tensor:
    """Decide logits (N, C, h, w) resized to twice their size, bilinearly: labels, uint8 (N, 2 h, 2 w).

    A pixel of the result weighs the four logits around it by 9, 3, 3 and 1 sixteenths, in one of four arrangements: so
    many small convolutions, of which each is decided at once. Only the labels are woven together. With OpenVINO in
    bf16, that takes half the time of resizing all classes and then deciding. Beyond the border there are zeros, not the
    border's logits once more: that makes the sums of all classes smaller by one factor, which decides nothing.
    """
    height, width = logits.shape[2:]
    classes = logits.shape[1]
    near, far = torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    labels = []
    for top, rows in enumerate((far, near)):
        for left, columns in enumerate((far, near)):
            kernel = torch.outer(rows, columns).to(logits).expand(classes, 1, 2, 2)
            found = F.conv2d(logits, kernel, padding=1, groups=classes)
            # Flat, so that OpenVINO decides plane by plane, not pixel by pixel.
            found = found.flatten(2).argmax(1).to(torch.uint8).view(-1, height + 1, width + 1)
            labels.append(found[:, top : top + height, left : left + width])
    return F.pixel_shuffle(torch.stack(labels, 1), 2)[:, 0]
