"""Decode heads: the output layer of ERFNet's paper, and MMSegmentation's ``FCNHead`` with a loss faster on a CPU."""

from mmseg.models.decode_heads import FCNHead as _FCNHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models.upsampled_loss import UpsampledLossMixin
from mmseg_erfnet.registry import MODELS


@MODELS.register_module()
class ERFNetHead(UpsampledLossMixin, BaseDecodeHead):
    """A 2x2 transposed convolution of stride 2 to the classes (paper, table I, layer 23): logits at the input's size.

    Args:
        in_channels: Channels of the features.
        channels: None, or the same: there is no layer in between.
        dropout_ratio: Dropout before the layer; the paper has none.
        kwargs: Those of MMSegmentation's ``BaseDecodeHead``, ``num_classes`` and ``loss_decode`` among them.

    Raises:
        UsageError: If ``channels`` differs from ``in_channels``, or several feature maps are asked for.
    """

    def __init__(self, in_channels: int, channels: int | None = None, *, dropout_ratio: float = 0.0, **kwargs):
        if channels not in (None, in_channels):
            raise UsageError(
                f'ERFNetHead has no layer between the features and the classes: leave channels={channels} out or make '
                f'it in_channels={in_channels}.'
            )
        if kwargs.get('input_transform') is not None:
            raise UsageError('ERFNetHead takes one feature map: leave input_transform out.')
        super().__init__(in_channels, in_channels, dropout_ratio=dropout_ratio, **kwargs)
        self.conv_seg = nn.ConvTranspose2d(in_channels, self.out_channels, 2, stride=2)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Features (N, in_channels, h, w) to logits (N, classes, 2 h, 2 w)."""
        return self.cls_seg(self._transform_inputs(inputs))


@MODELS.register_module()
class FCNHead(UpsampledLossMixin, _FCNHead):
    """MMSegmentation's ``FCNHead``, arguments and weights the same, with a loss that is faster on a CPU."""
