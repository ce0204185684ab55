"""Decode heads: the output layer of the ERFNet paper, and MMSegmentation's ``FCNHead`` with a faster loss on CPUs."""

from mmseg.models.decode_heads import FCNHead as _FCNHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models.upsampled_loss import UpsampledLossMixin
from mmseg_erfnet.registry import MODELS


@MODELS.register_module()
class ERFNetHead(UpsampledLossMixin, BaseDecodeHead):
    """A 2x2 transposed convolution with stride 2 (paper, table I, layer 23), whose logits have the input's size.

    Args:
        in_channels: Channels of the features.
        channels: None, or the same as ``in_channels``: there is no layer in between.
        dropout_ratio: Dropout before the layer; the paper has none.
        kwargs: Arguments of MMSegmentation's ``BaseDecodeHead``, including ``num_classes`` and ``loss_decode``.

    Raises:
        UsageError: If ``channels`` differs from ``in_channels``, or ``input_transform`` is set.
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
        """Map features (N, in_channels, h, w) to logits (N, classes, 2 h, 2 w)."""
        return self.cls_seg(self._transform_inputs(inputs))


@MODELS.register_module()
class FCNHead(UpsampledLossMixin, _FCNHead):
    """MMSegmentation's ``FCNHead`` with the same arguments and weights, and a faster loss on CPUs."""
