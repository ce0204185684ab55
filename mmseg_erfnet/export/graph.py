"""A trained segmentor as one graph, from a camera's frame to labels, for exporters."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.datasets.pipelines import NEUTRAL_STEPS, step_name
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.export.folding import Downsampler, FoldedStem, Stem, is_downsampler

OUTPUTS = ('labels', 'logits', 'probabilities')


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


def frame_resize(cfg: Config) -> FrameResize | None:
    """Return what a config's test pipeline does to a frame's size.

    Raises:
        UsageError: The pipeline does something else to the image.
    """
    resize = None
    for step in cfg.test_pipeline:
        kind = step_name(step)
        bilinear = 'scale' in step and step.get('interpolation', 'bilinear') == 'bilinear'
        if kind == 'Resize' and bilinear and resize is None:
            width, height = step['scale']
            resize = FrameResize(height, width, step.get('keep_ratio', False))
        elif kind not in NEUTRAL_STEPS:
            raise UsageError(
                f'The test pipeline has a step that cannot be exported: {dict(step)}. One bilinear Resize '
                'with a scale can.'
            )
    return resize


class FrameToLabels(nn.Module):
    """Preprocessing, network and decision of a segmentor.

    It computes what MMSegmentation does with ``data_preprocessor.test_cfg = dict(size_divisor=...)``: the frame is
    resized as the test pipeline says, normalised, padded at the right and at the bottom to what the network divides
    sizes by, and the logits are cropped, resized to the frame's size (bilinear), and only then decided.

    Args:
        segmentor: An ``EncoderDecoder`` with an ERFNet; its weights are used, and folded where ``fold`` is set.
        resize: From :func:`frame_resize`.
        output: 'labels', 'logits' or 'probabilities'.
        with_own: Where frames are resized, return their labels at the network's own size, too: for frames that have it
            already, they are the labels, and found sooner.

    Raises:
        UsageError: It is no such segmentor.
    """

    def __init__(
        self, segmentor: nn.Module, resize: FrameResize | None = None, output: str = 'labels', with_own: bool = False
    ) -> None:
        super().__init__()
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
        self.doubles = logits.shape[-1] * 2 == side and not self.align_corners
        self.with_own = bool(with_own and resize and self.doubles and output == 'labels')
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
            return logits.softmax(1)
        labels = logits.argmax(1).to(torch.uint8)
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
