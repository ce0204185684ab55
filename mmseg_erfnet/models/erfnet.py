"""ERFNet: an efficient encoder-decoder network with factorised residual layers.

Paper: E. Romera, J. M. Alvarez, L. M. Bergasa, R. Arroyo, "ERFNet: Efficient Residual Factorized ConvNet for
Real-Time Semantic Segmentation", IEEE Transactions on Intelligent Transportation Systems 19(1), 2018.

Implemented from the paper; Apache-2.0. Arguments, defaults and state dict names are those of MMSegmentation's
``ERFNet``, so that each can use the configs and checkpoints of the other. Differences from MMSegmentation's:

- ``norm_cfg``, ``conv_cfg`` and ``act_cfg`` are passed to every block; there they have no effect on the blocks.
- Each activation is a separate module, so that PReLU learns a slope for each position. The default activation has no
  parameters, so the state dict is the same.
- The pooled branch of a downsampler is resized only if the input's size is odd.
- The paper's regularisation, gradient checkpointing and an encoder-only network are available as arguments.
- Inconsistent channel numbers raise an error; there the residual blocks' channel numbers are ignored.

The paper's output layer, a transposed convolution to the classes, is :class:`~mmseg_erfnet.models.ERFNetHead`. With
MMSegmentation's ``FCNHead`` the logits have half the input's size.
"""

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import cycle, islice

import torch
from mmcv.cnn import build_activation_layer, build_conv_layer, build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models.dropout import Dropout
from mmseg_erfnet.registry import MODELS

BN_EPS = 1e-3  # as in the authors' code and MMSegmentation; torch's default is 1e-5
DROPOUTS = {'element': Dropout, 'channel': nn.Dropout2d}


class ArchitectureError(UsageError, AssertionError):
    """Arguments are inconsistent or out of range; an AssertionError, as with MMSegmentation's ``ERFNet``."""


def _norm(norm_cfg: dict | None, channels: int) -> nn.Module:
    if norm_cfg is None:
        return nn.Identity()
    layer = build_norm_layer(norm_cfg, channels)[1]
    # By name, because mmcv's SyncBN shares no base class with torch's.
    if 'eps' not in norm_cfg and 'BatchNorm' in type(layer).__name__:
        layer.eps = BN_EPS
    return layer


def _act(act_cfg: dict | None) -> nn.Module:
    return nn.Identity() if act_cfg is None else build_activation_layer(act_cfg)


class DownsamplerBlock(BaseModule):
    """Halves the resolution: a strided convolution in parallel with max pooling, concatenated (paper, III-B).

    Args:
        in_channels: Channels of the input, which the pooled branch keeps.
        out_channels: Channels of the output, more than ``in_channels``; the convolution produces the others.
        conv_cfg: Convolution layer, as in mmcv's ``ConvModule``.
        norm_cfg: Normalisation layer; None for none. The default eps of a BN is 1e-3.
        act_cfg: Activation layer; None for none.
        init_cfg: Initialisation, as in mmengine's ``BaseModule``.

    Raises:
        ArchitectureError: If no output channels are left for the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN'),
        act_cfg: dict | None = dict(type='ReLU'),
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        if not 0 < in_channels < out_channels:
            raise ArchitectureError(
                f'A downsampler needs more output channels than input channels, which it passes on: got {in_channels} '
                f'to {out_channels}. enc_downsample_channels must increase, starting above in_channels.'
            )
        self.conv = build_conv_layer(conv_cfg, in_channels, out_channels - in_channels, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2, stride=2)
        self.bn = _norm(norm_cfg, out_channels)
        self.act = _act(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H / 2), ceil(W / 2))."""
        height, width = x.shape[-2:]
        pooled = self.pool(x)
        # Test the input's size rather than compare the branches: torch.export can then resolve it for sizes of 8n.
        if height % 2 or width % 2:
            size = ((height + 1) // 2, (width + 1) // 2)
            pooled = F.interpolate(pooled, size, mode='bilinear', align_corners=False)
        out = self.conv(x)
        # Under autocast, concatenation with a float32 image would turn all that follows into float32.
        return self.act(self.bn(torch.cat([out, pooled.to(out.dtype)], 1)))


class NonBottleneck1d(BaseModule):
    """Residual block of two pairs of 3x1 and 1x3 convolutions, the second pair dilated (paper, III-A).

    Args:
        channels: Channels of input and output.
        drop_rate: Dropout probability before the residual addition.
        dilation: Dilation of the second pair.
        conv_cfg: Convolution layer, as in mmcv's ``ConvModule``.
        norm_cfg: Normalisation layer; None for none. The default eps of a BN is 1e-3.
        act_cfg: Activation layer; None for none.
        dropout_type: What dropout zeroes: 'element' or 'channel'.
        init_cfg: Initialisation, as in mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        channels: int,
        drop_rate: float = 0.0,
        dilation: int = 1,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN'),
        act_cfg: dict | None = dict(type='ReLU'),
        dropout_type: str = 'element',
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)

        def conv(kernel, dilation):
            padding = tuple(size // 2 * step for size, step in zip(kernel, dilation, strict=True))
            return build_conv_layer(conv_cfg, channels, channels, kernel, padding=padding, dilation=dilation, bias=True)

        self.convs_layers = nn.ModuleList(
            [
                conv((3, 1), (1, 1)),
                _act(act_cfg),
                conv((1, 3), (1, 1)),
                _norm(norm_cfg, channels),
                _act(act_cfg),
                conv((3, 1), (dilation, 1)),
                _act(act_cfg),
                conv((1, 3), (1, dilation)),
                _norm(norm_cfg, channels),
                DROPOUTS[dropout_type](drop_rate),
            ]
        )
        self.act = _act(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        out = x
        for layer in self.convs_layers:
            out = layer(out)
        return self.act(out + x)


class UpsamplerBlock(BaseModule):
    """Doubles the resolution with a transposed convolution (paper, III-B).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm_cfg: Normalisation layer; None for none. The default eps of a BN is 1e-3.
        act_cfg: Activation layer; None for none.
        init_cfg: Initialisation, as in mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: dict | None = dict(type='BN'),
        act_cfg: dict | None = dict(type='ReLU'),
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(init_cfg)
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
        self.bn = _norm(norm_cfg, out_channels)
        self.act = _act(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, 2 H, 2 W)."""
        return self.act(self.bn(self.conv(x)))


@MODELS.register_module()
class ERFNet(BaseModule):
    """ERFNet without its output layer (paper, table I).

    The first eleven arguments and their defaults are those of MMSegmentation's ``ERFNet``.

    Args:
        in_channels: Channels of the image.
        enc_downsample_channels: Output channels of each downsampler.
        enc_stage_non_bottlenecks: Number of residual blocks after each downsampler except the first.
        enc_non_bottleneck_dilations: Dilations of the residual blocks in the last stage, repeated in a cycle; the
            number of blocks must be a multiple of their number.
        enc_non_bottleneck_channels: Channels of the residual blocks in each stage, equal to its downsampler's.
        dec_upsample_channels: Output channels of each upsampler; there is one upsampler less than downsamplers.
        dec_stages_non_bottleneck: Number of residual blocks after each upsampler.
        dec_non_bottleneck_channels: Channels of these residual blocks, equal to the stage's upsampler's.
        dropout_ratio: Dropout probability in the encoder's residual blocks, or one per stage. The decoder has no
            dropout. The paper's regularisation is ``dropout_ratio=(0.03, 0.3), dropout_type='channel'``.
        conv_cfg: Convolution layer, as in mmcv's ``ConvModule``; it does not apply to transposed convolutions.
        norm_cfg: Normalisation layer; None for none. The default eps of a BN is 1e-3.
        act_cfg: Activation layer; None for none.
        dropout_type: What dropout zeroes: 'element', as in MMSegmentation, or 'channel', as in the paper.
        encoder_only: Build only the encoder, with features at 1/8 of the input's size; decoder arguments are ignored.
        with_cp: Gradient checkpointing: keep only the blocks' inputs in training and recompute the rest in the backward
            pass. An image of 256x256 takes 17 MiB instead of 100. Gradients, running statistics and dropout are the
            same as without it.
        init_cfg: Initialisation, as in mmengine's ``BaseModule``.

    Raises:
        ArchitectureError: If arguments are inconsistent or out of range.
    """

    def __init__(
        self,
        in_channels: int = 3,
        enc_downsample_channels: Sequence[int] = (16, 64, 128),
        enc_stage_non_bottlenecks: Sequence[int] = (5, 8),
        enc_non_bottleneck_dilations: Sequence[int] = (2, 4, 8, 16),
        enc_non_bottleneck_channels: Sequence[int] = (64, 128),
        dec_upsample_channels: Sequence[int] = (64, 16),
        dec_stages_non_bottleneck: Sequence[int] = (2, 2),
        dec_non_bottleneck_channels: Sequence[int] = (64, 16),
        dropout_ratio: float | Sequence[float] = 0.1,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN', requires_grad=True),
        act_cfg: dict | None = dict(type='ReLU'),
        init_cfg: dict | list[dict] | None = None,
        *,
        dropout_type: str = 'element',
        encoder_only: bool = False,
        with_cp: bool = False,
    ):
        super().__init__(init_cfg)
        if dropout_type not in DROPOUTS:
            raise ArchitectureError(f'dropout_type must be one of {", ".join(DROPOUTS)}: got {dropout_type!r}.')
        _check_encoder(
            enc_downsample_channels,
            enc_stage_non_bottlenecks,
            enc_non_bottleneck_dilations,
            enc_non_bottleneck_channels,
        )
        stages = len(enc_stage_non_bottlenecks)
        if not encoder_only:
            _check_decoder(stages, dec_upsample_channels, dec_stages_non_bottleneck, dec_non_bottleneck_channels)
        self.with_cp = with_cp
        layers = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        ratios = _dropout_ratios(dropout_ratio, stages)
        first, *stage_channels = enc_downsample_channels

        self.encoder = nn.ModuleList([DownsamplerBlock(in_channels, first, conv_cfg, **layers)])
        channels = first
        for stage, blocks in enumerate(enc_stage_non_bottlenecks):
            self.encoder.append(DownsamplerBlock(channels, stage_channels[stage], conv_cfg, **layers))
            channels = stage_channels[stage]
            # Only the last stage is dilated.
            dilations = cycle(enc_non_bottleneck_dilations if stage == stages - 1 else (1,))
            self.encoder.extend(
                NonBottleneck1d(channels, ratios[stage], dilation, conv_cfg, dropout_type=dropout_type, **layers)
                for dilation in islice(dilations, blocks)
            )

        self.decoder = nn.ModuleList()
        if not encoder_only:
            for out_channels, blocks in zip(dec_upsample_channels, dec_stages_non_bottleneck, strict=True):
                self.decoder.append(UpsamplerBlock(channels, out_channels, **layers))
                channels = out_channels
                self.decoder.extend(NonBottleneck1d(channels, conv_cfg=conv_cfg, **layers) for _ in range(blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the features of a batch of images.

        Args:
            x: (N, in_channels, H, W), with H and W of at least 16.

        Returns:
            A list of one feature map: (N, 128, h, w) with h = ceil(H / 8), w = ceil(W / 8) for the encoder alone;
            (N, 16, 4 h, 4 w) with the decoder.
        """
        for block in (*self.encoder, *self.decoder):
            # torch.compile decides itself what to recompute, and cannot trace the contexts.
            if self.with_cp and self.training and not torch.compiler.is_compiling():
                x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_recompute_contexts, block))
            else:
                x = block(x)
        return [x]


def _recompute_contexts(block: nn.Module):
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module):
    """Keep BN's running statistics, which recomputing the forward pass would update a second time."""
    norms = [module for module in block.modules() if getattr(module, 'track_running_stats', False)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        # Not track_running_stats = False: checkpointing expects the same saved tensors as in the first pass.
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def _check_encoder(
    downsample_channels: Sequence[int],
    stage_blocks: Sequence[int],
    dilations: Sequence[int],
    block_channels: Sequence[int],
) -> None:
    if len(downsample_channels) < 2:
        raise ArchitectureError(
            f'enc_downsample_channels needs at least two numbers: got {tuple(downsample_channels)}.'
        )
    stage_channels = tuple(downsample_channels[1:])
    if len(stage_blocks) != len(stage_channels):
        raise ArchitectureError(
            f'enc_stage_non_bottlenecks needs {len(stage_channels)} numbers, one for each downsampler but the first: '
            f'got {tuple(stage_blocks)} for enc_downsample_channels={tuple(downsample_channels)}.'
        )
    if tuple(block_channels) != stage_channels:
        raise ArchitectureError(
            f'enc_non_bottleneck_channels={tuple(block_channels)} contradicts '
            f'enc_downsample_channels={tuple(downsample_channels)}: residual blocks keep the channels of their '
            f'downsampler, so it must be {stage_channels}.'
        )
    if not dilations or stage_blocks[-1] % len(dilations):
        raise ArchitectureError(
            f'The {stage_blocks[-1]} blocks of the last stage in enc_stage_non_bottlenecks must be a multiple of the '
            f'{len(dilations)} enc_non_bottleneck_dilations they cycle through.'
        )


def _check_decoder(
    stages: int, upsample_channels: Sequence[int], stage_blocks: Sequence[int], block_channels: Sequence[int]
) -> None:
    if len(upsample_channels) != stages or len(stage_blocks) != stages:
        raise ArchitectureError(
            f'The decoder needs {stages} stages, one less than the encoder has downsamplers: got '
            f'dec_upsample_channels={tuple(upsample_channels)} and dec_stages_non_bottleneck={tuple(stage_blocks)}.'
        )
    if list(block_channels) != list(upsample_channels):
        raise ArchitectureError(
            f'dec_non_bottleneck_channels={tuple(block_channels)} contradicts '
            f'dec_upsample_channels={tuple(upsample_channels)}: residual blocks keep the channels of their upsampler, '
            'so the two must be equal.'
        )


def _dropout_ratios(ratio: float | Sequence[float], stages: int) -> list[float]:
    """Return one ratio per stage of residual blocks."""
    ratios = [ratio] * stages if isinstance(ratio, (int, float)) else list(ratio)
    if len(ratios) != stages or not all(0 <= one <= 1 for one in ratios):
        raise ArchitectureError(
            f'dropout_ratio must be a number from 0 to 1, or {stages} of them, one for each stage of residual blocks: '
            f'got {ratio}.'
        )
    return ratios
