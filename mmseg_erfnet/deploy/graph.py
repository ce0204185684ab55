"""A trained segmentor as one graph, from a camera's frame to labels, for exporters."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.apis import init_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models.checkpoints import check_fit, load_checkpoint_file
from mmseg_erfnet.registry import DATASETS

OUTPUTS = ('labels', 'logits', 'probabilities')
# What a test pipeline may hold beside `Resize`: none of it changes the image.
NEUTRAL_STEPS = ('LoadImageFromFile', 'LoadAnnotations', 'LoadSegLabels', 'PackSegInputs')


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
        kind = step['type'].rsplit('.', 1)[-1]
        bilinear = 'scale' in step and step.get('interpolation', 'bilinear') == 'bilinear'
        if kind == 'Resize' and bilinear and resize is None:
            width, height = step['scale']
            resize = FrameResize(height, width, step.get('keep_ratio', False))
        elif kind not in NEUTRAL_STEPS:
            raise UsageError(f'The test pipeline has a step that cannot be exported: {dict(step)}. One bilinear Resize '
                             'with a scale can.')
    return resize


def load_segmentor(cfg: Config, checkpoint: str | None, trust: bool = False) -> nn.Module:
    """Build the segmentor of a config and load its weights, all of which must fit.

    Args:
        cfg: The config.
        checkpoint: The checkpoint file, or None for weights as the initialisation leaves them.
        trust: Load a checkpoint that holds more than data.

    Returns:
        The segmentor, for prediction, with the classes and palette in ``dataset_meta``.

    Raises:
        CheckpointError: The checkpoint cannot be loaded or does not fit.
        UsageError: The dataset has another number of classes than the model.
    """
    cfg = cfg.copy()
    model = revert_sync_batchnorm(init_model(cfg, None, device='cpu'))
    model.dataset_meta = {}
    if checkpoint is not None:
        loaded = load_checkpoint_file(checkpoint, trust=trust)
        check_fit(model, loaded)
        # Test-time augmentation and DDP put `module.` before the names.
        weights = {name.removeprefix('module.'): value for name, value in loaded.get('state_dict', loaded).items()}
        model.load_state_dict(weights, strict=False)
        model.dataset_meta = (loaded.get('meta') or {}).get('dataset_meta') or {}
    if not model.dataset_meta.get('classes'):
        model.dataset_meta = DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO
    classes = model.dataset_meta['classes']
    if len(classes) != model.decode_head.num_classes:
        raise UsageError(f'The model has {model.decode_head.num_classes} classes, but its dataset names '
                         f'{len(classes)}: set num_classes of the decode head, or the dataset, to fit.')
    return model.eval()


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

    def __init__(self, segmentor: nn.Module, resize: FrameResize | None = None, output: str = 'labels',
                 with_own: bool = False) -> None:
        super().__init__()
        backbone, preprocessor = segmentor.backbone, segmentor.data_preprocessor
        if type(backbone).__name__ != 'ERFNet' or getattr(backbone, 'encoder_only', False) or segmentor.with_neck:
            raise UsageError('Only a segmentor with an ERFNet, without a neck, can be exported: this one has '
                             f'{type(backbone).__name__}.')
        mean, std = (getattr(preprocessor, name, torch.full((3, 1, 1), neutral))
                     for name, neutral in (('mean', 0.0), ('std', 1.0)))
        if mean.numel() != 3 or segmentor.test_cfg.get('mode', 'whole') != 'whole':
            raise UsageError('Only models for three-channel images with test_cfg.mode "whole" can be exported.')
        self.backbone, self.head = deepcopy(backbone), segmentor.decode_head
        self.align_corners = segmentor.align_corners
        self.resize, self.output = resize, output
        # A network of ERFNet's depth halves the size three times.
        self.multiple = 2 ** sum(_is_downsampler(block) for block in backbone.encoder)
        # Its name depends on the distribution of MMSegmentation.
        reverse = any(getattr(preprocessor, name, False) for name in ('_channel_conversion', 'channel_conversion'))
        first = self.backbone.encoder[0]
        self.backbone.encoder[0] = (_FoldedStem if isinstance(first, _Downsampler) else _Stem)(first, reverse)
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
            labels.append(found[:, top:top + height, left:left + width])
    return F.pixel_shuffle(torch.stack(labels, 1), 2)[:, 0]


# --- Folding of batch normalisation -----------------------------------------------------------------------------------


def fold(network: nn.Module) -> nn.Module:
    """Fold every BN of ERFNet's and MMCV's blocks into the convolution before it, in place; dropout goes, too.

    The network then only predicts.

    Args:
        network: A module that holds blocks of our ERFNet or of MMSegmentation's, and ``ConvModule``.

    Returns:
        The same module.
    """
    for name, block in list(network.named_children()):
        if isinstance(block, _Downsampler):
            continue
        if _is_downsampler(block):
            setattr(network, name, _Downsampler(block))
        elif hasattr(block, 'convs_layers'):
            _fold_sequence(block.convs_layers)
        elif isinstance(block, ConvModule):
            if isinstance(block.norm, nn.BatchNorm2d):
                block.conv = fuse_conv_bn_eval(block.conv, block.norm)
                setattr(block, block.norm_name, nn.Identity())
        elif isinstance(getattr(block, 'conv', None), nn.ConvTranspose2d) and isinstance(block.bn, nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn, transpose=True)
            block.bn = nn.Identity()
        else:
            fold(block)
    return network


def _is_downsampler(block: nn.Module) -> bool:
    """Tell ours, MMSegmentation's and a folded one from other blocks."""
    return hasattr(block, 'conv') and hasattr(block, 'pool')


def _fold_sequence(layers: nn.ModuleList) -> None:
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm2d):
            layers[index - 1] = fuse_conv_bn_eval(layers[index - 1], layer)
        if isinstance(layer, (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)):
            layers[index] = nn.Identity()


class _Downsampler(nn.Module):
    """A folded downsampler, for even sizes.

    The pooled channels go through a 1x1 convolution that holds their scale. Where the convolution beside them makes
    most of the channels, both make all of them, each with zeros for the other's, and are added: inference engines do
    that inside the convolution, whereas a concatenation of 3 and 13 channels, or 16 and 48, costs copies and changes of
    the layout. Nothing depends on the input's size, which exporters of dynamic sizes need.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        conv, norm, act, pooled = block.conv, block.bn, block.act, block.conv.in_channels
        scale, shift = torch.ones(pooled), torch.zeros(pooled)
        if isinstance(norm, nn.BatchNorm2d):
            first, second = _halves(norm, conv.out_channels)
            conv, norm = fuse_conv_bn_eval(conv, first), nn.Identity()
            scale = (second.weight * torch.rsqrt(second.running_var + second.eps)).detach()
            shift = (second.bias - second.running_mean * scale).detach()
        self.adds = type(conv) is nn.Conv2d and conv.groups == 1 and 2 * pooled <= conv.out_channels
        before = conv.out_channels if self.adds else 0
        self.conv, self.pool = _widened(conv, pooled) if self.adds else conv, block.pool
        self.take = nn.Conv2d(pooled, before + pooled, 1)
        self.take.weight.data = F.pad(torch.diag(scale), (0, 0, before, 0))[..., None, None]
        self.take.bias.data = F.pad(shift, (before, 0))
        self.act, self.after = nn.Identity(), nn.Sequential(norm, act)
        if not self.adds and isinstance(norm, nn.Identity) and getattr(act, 'num_parameters', 1) == 1:
            # Before the concatenation, it becomes part of the convolution.
            self.act, self.after = act, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.conv(x), self.take(self.pool(x)))

    def join(self, made: Tensor, taken: Tensor) -> Tensor:
        """Join the branches."""
        return self.after(made + taken if self.adds else torch.cat([self.act(made), self.act(taken)], 1))


def _widened(conv: nn.Conv2d, more: int) -> nn.Conv2d:
    """Return a convolution that makes so many more channels, of zeros."""
    wide = nn.Conv2d(conv.in_channels, conv.out_channels + more, conv.kernel_size, conv.stride, conv.padding,
                     conv.dilation, bias=conv.bias is not None, padding_mode=conv.padding_mode)
    wide.weight.data = F.pad(conv.weight.data, (0, 0) * 3 + (0, more))
    if conv.bias is not None:
        wide.bias.data = F.pad(conv.bias.data, (0, more))
    return wide


class _Stem(nn.Module):
    """The first downsampler, given pixels as they lie in a frame, (N, H, W, 3)."""

    def __init__(self, block: nn.Module, reverse: bool) -> None:
        super().__init__()
        self.block, self.reverse = block, reverse

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2)
        return self.block(x.flip(1) if self.reverse else x)


class _FoldedStem(nn.Module):
    """The same, folded, which takes the colours in the frame's order.

    Pooling of three channels takes OpenVINO longer than a convolution. The maximum of whole rows, and then of each and
    itself three places further on, takes a quarter of that; half of its channels mean nothing and have no weight.
    """

    def __init__(self, block: _Downsampler, reverse: bool) -> None:
        super().__init__()
        self.block = block
        if reverse:
            for conv in (block.conv, block.take):
                conv.weight.data = conv.weight.data.flip(1)
        block.take.weight.data = F.pad(block.take.weight.data, (0, 0, 0, 0, 0, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        n, height, width = pixels.shape[:3]
        rows = pixels.reshape(n, height // 2, 2, width * 3)
        rows = torch.maximum(rows[:, :, 0], rows[:, :, 1])
        rows = torch.maximum(rows, F.pad(rows[..., 3:], (0, 3)))
        pooled = rows.reshape(n, height // 2, width // 2, 6)
        made, taken = (conv(x.permute(0, 3, 1, 2))
                       for conv, x in ((self.block.conv, pixels), (self.block.take, pooled)))
        return self.block.join(made, taken)


def _halves(norm: nn.BatchNorm2d, channels: int) -> list[nn.BatchNorm2d]:
    """Split a BN after so many channels."""
    halves = []
    for part in (slice(None, channels), slice(channels, None)):
        half = nn.BatchNorm2d(len(norm.weight[part]), eps=norm.eps).eval()
        half.load_state_dict({name: value if value.ndim == 0 else value[part]
                              for name, value in norm.state_dict().items()})
        halves.append(half)
    return halves
