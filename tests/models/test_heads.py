import pytest
import torch
from helpers.base_tester import image

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models import ERFNetHead


def test_one_transposed_convolution():
    head = ERFNetHead(16, num_classes=5).eval()
    assert {name: tuple(value.shape) for name, value in head.state_dict().items()} == {
        'conv_seg.weight': (16, 5, 2, 2),
        'conv_seg.bias': (5,),
    }
    x = image(2, 16, 4, 6)
    logits = head([x])
    assert logits.shape == (2, 5, 8, 12)
    # A 2x2 kernel of stride 2 never overlaps: each feature makes its own 2x2 logits.
    expected = torch.einsum('nchw,ckij->nkhiwj', x, head.conv_seg.weight).reshape(2, 5, 8, 12)
    torch.testing.assert_close(logits, expected + head.conv_seg.bias[:, None, None], rtol=1e-4, atol=1e-6)


def test_the_last_of_several_feature_maps():
    head = ERFNetHead(16, channels=16, num_classes=5)
    assert head([image(1, 8, 2, 2), image(1, 16, 4, 6)]).shape == (1, 5, 8, 12)


def test_no_dropout_unless_asked_for():
    assert ERFNetHead(16, num_classes=5).dropout is None
    assert ERFNetHead(16, num_classes=5, dropout_ratio=0.2).dropout.p == 0.2


def test_wrong_arguments():
    with pytest.raises(UsageError, match='make it in_channels=16'):
        ERFNetHead(16, channels=128, num_classes=5)
    with pytest.raises(UsageError, match='one feature map'):
        ERFNetHead(16, num_classes=5, input_transform='resize_concat', in_index=[0, 1])
