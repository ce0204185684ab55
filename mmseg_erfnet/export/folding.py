"""Folding of batch normalisation into convolutions, and layers in the form that inference engines run fastest."""

import torch
from mmcv.cnn import ConvAWS2d, ConvModule, ConvWS2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> nn.Module:
    """Fold every BN of ERFNet's and MMCV's blocks into the preceding convolution, in place, and remove dropout.

    The network can then only be used for inference. Its denormal weights become zero, since not every inference engine
    treats them so; see :func:`~mmseg_erfnet.mmseg_import.flush_denormals`.

    Args:
        network: A module that contains blocks of our or MMSegmentation's ERFNet, and ``ConvModule``.

    Returns:
        The same module.
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, (ConvWS2d, ConvAWS2d)):
                setattr(parent, name, standardised(layer))
    _fold_children(network)
    with torch.no_grad():
        for weight in network.parameters():
            weight[weight.abs() < torch.finfo(weight.dtype).tiny] = 0
    return network


def standardised(conv: ConvWS2d | ConvAWS2d) -> nn.Conv2d:
    """Return a plain convolution with the standardised weights of a convolution with weight standardisation.

    If a BN were folded into the original convolution, standardisation would remove it again.
    """
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        bias=conv.bias is not None,
    )
    # MMCV's code calls view() to flatten the weights, which fails for channels_last.
    weight = conv.weight.detach().contiguous()
    if isinstance(conv, ConvAWS2d):
        plain.weight.data = conv._get_weight(weight)
    else:
        std, mean = torch.std_mean(weight.flatten(1), 1)
        plain.weight.data = (weight - mean.view(-1, 1, 1, 1)) / (std.view(-1, 1, 1, 1) + conv.eps)
    if conv.bias is not None:
        plain.bias.data = conv.bias.detach().clone()
    return plain.eval()


def _fold_children(network: nn.Module) -> None:
    for name, block in list(network.named_children()):
        if isinstance(block, Downsampler):
            continue
        if is_downsampler(block):
            setattr(network, name, Downsampler(block))
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
            _fold_children(block)


def is_downsampler(block: nn.Module) -> bool:
    """Whether a block is a downsampler: ours, MMSegmentation's or a folded one."""
    return hasattr(block, 'conv') and hasattr(block, 'pool')


def _fold_sequence(layers: nn.ModuleList) -> None:
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm2d):
            layers[index - 1] = fuse_conv_bn_eval(layers[index - 1], layer)
        if isinstance(layer, (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)):
            layers[index] = nn.Identity()


class Downsampler(nn.Module):
    """A folded downsampler, for even sizes.

    The pooled channels pass through a 1x1 convolution that applies their scale. If the parallel convolution produces
    most of the channels, both convolutions are widened to all channels, with zeros for the channels of the other, and
    their outputs are added. Inference engines add inside the convolution, whereas concatenating 3 and 13 channels, or
    16 and 48, costs copies and changes of layout. Nothing depends on the input's size, as exporters of dynamic sizes
    require.
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
            # Before the concatenation, the activation can be fused into the convolution.
            self.act, self.after = act, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.conv(x), self.take(self.pool(x)))

    def join(self, made: Tensor, taken: Tensor) -> Tensor:
        """Join the branches."""
        return self.after(made + taken if self.adds else torch.cat([self.act(made), self.act(taken)], 1))


def _widened(conv: nn.Conv2d, more: int) -> nn.Conv2d:
    """Return a convolution with the given number of additional output channels, which are zero."""
    wide = nn.Conv2d(
        conv.in_channels,
        conv.out_channels + more,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    wide.weight.data = F.pad(conv.weight.data, (0, 0) * 3 + (0, more))
    if conv.bias is not None:
        wide.bias.data = F.pad(conv.bias.data, (0, more))
    return wide


class Stem(nn.Module):
    """The first downsampler, which takes pixels in the memory layout of a frame, (N, H, W, 3)."""

    def __init__(self, block: nn.Module, reverse: bool) -> None:
        super().__init__()
        self.block, self.reverse = block, reverse

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2)
        return self.block(x.flip(1) if self.reverse else x)


class FoldedStem(nn.Module):
    """A folded :class:`Stem`, which takes the colours in the frame's order.

    OpenVINO takes longer to pool three channels than to run a convolution. The maximum of two whole rows, and then of
    the result and itself shifted by three values, takes a quarter of that time. Half of the resulting channels are
    meaningless and have zero weights.
    """

    def __init__(self, block: Downsampler, reverse: bool) -> None:
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
        made, taken = (
            conv(x.permute(0, 3, 1, 2)) for conv, x in ((self.block.conv, pixels), (self.block.take, pooled))
        )
        return self.block.join(made, taken)


def _halves(norm: nn.BatchNorm2d, channels: int) -> list[nn.BatchNorm2d]:
    """Split a BN in two after the given number of channels."""
    halves = []
    for part in (slice(None, channels), slice(channels, None)):
        half = nn.BatchNorm2d(len(norm.weight[part]), eps=norm.eps).eval()
        half.load_state_dict(
            {name: value if value.ndim == 0 else value[part] for name, value in norm.state_dict().items()}
        )
        halves.append(half)
    return halves
