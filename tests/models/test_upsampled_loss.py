"""The loss in strips against the plain expression: MMSegmentation's ``loss_by_feat``, in float32 and in float64."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead as PlainHead
from mmseg.models.losses import accuracy
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.models import ERFNetHead, FCNHead, WeightedCrossEntropyLoss, upsampled_loss

LOSS = dict(type='mmseg_erfnet.WeightedCrossEntropyLoss')
HEAD = dict(in_channels=4, channels=4, num_convs=0, concat_input=False, norm_cfg=dict(type='BN'))


def plain(logits: Tensor, label: Tensor, weight: list[float] | None) -> tuple[Tensor, Tensor]:
    """The loss in the precision of the logits, and mmseg's accuracy."""
    score = F.interpolate(logits, label.shape[1:], mode='bilinear', align_corners=False)
    weight = None if weight is None else torch.tensor(weight, dtype=logits.dtype)
    loss = F.cross_entropy(score, label, weight, ignore_index=255)
    return loss, accuracy(score, label, ignore_index=255)


def batch(images: int, classes: int, height: int, width: int, factor: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, height, width, generator=generator) * 3
    label = torch.randint(0, classes, (images, factor * height, factor * width), generator=generator)
    label[0, :5] = 255
    return logits, label


def samples(label: Tensor) -> list[SegDataSample]:
    return [SegDataSample(gt_sem_seg=PixelData(data=item[None])) for item in label]


def losses(head: type, logits: Tensor, label: Tensor, loss: dict = LOSS, **kwargs) -> dict[str, Tensor]:
    return head(**HEAD, num_classes=logits.shape[1], loss_decode=loss, **kwargs).loss_by_feat(logits, samples(label))


def distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize('strip', [1, 1 << 17], ids=['rows', 'images'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(
    'shape',
    [  # images, classes, height and width of the logits, factor
        (2, 32, 64, 64, 2),
        (3, 11, 18, 24, 2),
        (2, 19, 20, 30, 1),
        (1, 5, 7, 9, 3),
        (2, 2, 3, 4, 8),
        (2, 3, 1, 1, 4),
        (2, 3, 1, 5, 2),
    ],
    ids=str,
)
def test_loss_and_gradient_are_those_of_float64(shape, weighted, strip, monkeypatch):
    monkeypatch.setattr(upsampled_loss, 'STRIP', strip)
    logits, label = batch(*shape)
    weight = torch.linspace(0, 10, shape[1]).tolist() if weighted else None
    exact, found = logits.double().requires_grad_(), logits.clone().requires_grad_()
    loss, right = plain(exact, label, weight)
    loss.backward()
    result = losses(FCNHead, found, label, dict(LOSS, class_weight=weight))
    result['loss_ce'].backward()
    assert result['loss_ce'].dtype == torch.float32
    assert distance(result['loss_ce'], loss) < 1e-6
    assert distance(found.grad, exact.grad) < 1e-6
    assert result['acc_seg'].shape == right.shape
    assert distance(result['acc_seg'], right) < 1e-5


def test_no_probability_is_too_small():
    """Where the label's probability is below what float32 can hold, the logarithm is still right."""
    logits = torch.tensor([300.0, -300.0]).view(1, 2, 1, 1).requires_grad_()
    loss = losses(FCNHead, logits, torch.ones(1, 2, 2, dtype=torch.int64))['loss_ce']
    loss.backward()
    assert loss.item() == pytest.approx(600)
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize('class_weight', [None, [1.0, 2.0, 3.0]])
def test_all_ignored(class_weight):
    logits, label = batch(2, 3, 4, 6, 2)
    logits.requires_grad_()
    result = losses(FCNHead, logits, torch.full_like(label, 255), dict(LOSS, class_weight=class_weight))
    assert result['loss_ce'].item() == 0
    assert result['acc_seg'].isfinite().all()
    result['loss_ce'].backward()
    assert not logits.grad.any()


def test_factor_of_the_loss_and_another_ignored_label():
    logits, label = batch(2, 4, 5, 6, 2)
    logits, label = logits.requires_grad_(), label.clamp(max=3)
    found = losses(FCNHead, logits, label, dict(LOSS, loss_weight=0.4, loss_name='loss_x'), ignore_index=2)['loss_x']
    score = F.interpolate(logits, scale_factor=2, mode='bilinear', align_corners=False)
    expected = 0.4 * F.cross_entropy(score, label, ignore_index=2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits))


def test_bf16_channels_last():
    """As under autocast: computed in float32, the gradient in the format of the logits."""
    logits, label = batch(2, 11, 18, 24, 2)
    logits = logits.to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    plain(exact, label, None)[0].backward()
    with torch.autocast('cpu', torch.bfloat16):
        found = losses(FCNHead, logits, label)['loss_ce']
    found.backward()
    assert found.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16
    assert logits.grad.is_contiguous(memory_format=torch.channels_last)
    assert distance(logits.grad.double(), exact.grad) < 2e-3  # one rounding to 8 bits


def test_without_gradient():
    logits, label = batch(2, 3, 4, 6, 2)
    with torch.no_grad():
        found = losses(FCNHead, logits, label)['loss_ce']
    assert found.item() == pytest.approx(plain(logits, label, None)[0].item())


@pytest.mark.parametrize('wrong', [4, -1])
def test_label_of_no_class(wrong):
    logits, label = batch(2, 4, 4, 6, 2)
    label[1, 3, 3] = wrong
    with pytest.raises(DataError, match=f'A label is {wrong}, but the model has 4 classes'):
        losses(FCNHead, logits, label)


def test_another_number_of_weights():
    logits, label = batch(2, 4, 4, 6, 2)
    with pytest.raises(UsageError, match='has 3 numbers, but the model has 4 classes'):
        losses(FCNHead, logits, label, dict(LOSS, class_weight=[1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    'other',
    [
        dict(loss=[LOSS, dict(type='CrossEntropyLoss', loss_name='loss_b')]),
        dict(loss=dict(type='CrossEntropyLoss')),
        dict(loss=dict(LOSS, avg_non_ignore=False)),
        dict(loss=dict(LOSS, reduction='sum')),
        dict(align_corners=True),
        dict(sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=10)),
        dict(size=(9, 13)),
    ],
    ids=str,
)
def test_whatever_else_goes_the_plain_way(other, monkeypatch):
    other = dict(other)
    logits, label = batch(2, 4, 4, 6, 2)
    height, width = other.pop('size', label.shape[1:])
    label = label[:, :height, :width] if height == 8 else torch.ones(2, height, width, dtype=torch.int64)
    expected = losses(PlainHead, logits, label, **other)
    monkeypatch.setattr(upsampled_loss.UpsampledCrossEntropy, 'apply', None)
    found = losses(FCNHead, logits, label, **other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value)


def test_several_losses():
    logits, label = batch(2, 4, 4, 6, 2)
    several = [LOSS, dict(LOSS, loss_name='loss_b', class_weight=[1, 2, 3, 4]), dict(LOSS, loss_weight=0.5)]
    found, expected = (losses(head, logits.requires_grad_(), label, several) for head in (FCNHead, PlainHead))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    gradients = [torch.autograd.grad(given['loss_ce'] + given['loss_b'], logits)[0] for given in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('head', [FCNHead, PlainHead])
def test_labels_that_travel_as_bytes(head):
    logits, label = batch(2, 4, 4, 6, 2)
    samples_ = [SegDataSample(gt_sem_seg=PixelData(data=item[None].to(torch.uint8))) for item in label]
    if head is FCNHead:
        found = head(**HEAD, num_classes=4, loss_decode=LOSS).loss_by_feat(logits, samples_)['loss_ce']
    else:
        score = F.interpolate(logits, label.shape[1:], mode='bilinear', align_corners=False)
        found = WeightedCrossEntropyLoss()(score, label.to(torch.uint8))
    torch.testing.assert_close(found, plain(logits, label, None)[0])


@pytest.mark.parametrize(
    'loss',
    [
        dict(LOSS, use_sigmoid=True),
        dict(LOSS, use_sigmoid=True, class_weight=[0.5, 3.0]),
        dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
    ],
    ids=str,
)
def test_a_binary_head(loss):
    logits, label = batch(2, 2, 4, 6, 2)
    exact, found = logits[:, :1].double().requires_grad_(), logits[:, :1].clone().requires_grad_()
    two = F.interpolate(exact, label.shape[1:], mode='bilinear', align_corners=False)
    weight = torch.tensor(loss.get('class_weight', [1.0, 1.0]), dtype=torch.float64)
    expected = F.cross_entropy(torch.cat([torch.zeros_like(two), two], 1), label, weight, ignore_index=255)
    expected.backward()
    head = FCNHead(**HEAD, num_classes=2, out_channels=1, threshold=0.3, loss_decode=loss)
    result = head.loss_by_feat(found, samples(label))
    result['loss_ce'].backward()
    assert distance(result['loss_ce'], expected) < 1e-6
    assert distance(found.grad, exact.grad) < 1e-6
    right = (two[:, 0].sigmoid() > 0.3) == (label == 1)
    assert result['acc_seg'].item() == pytest.approx(100 * right[label != 255].double().mean().item())


@pytest.mark.parametrize('loss', [LOSS, dict(type='CrossEntropyLoss')], ids=str)
def test_a_binary_head_without_a_sigmoid_is_a_sentence(loss):
    logits, label = batch(2, 2, 4, 6, 2)
    head = FCNHead(**HEAD, num_classes=2, out_channels=1, threshold=0.3, loss_decode=loss)
    with pytest.raises(UsageError, match='set use_sigmoid=True'):
        head.loss_by_feat(logits[:, :1], samples(label))
    with pytest.raises(UsageError, match=r'2 outputs: set out_channels=1'):
        losses(FCNHead, logits, label, dict(LOSS, use_sigmoid=True))


def test_no_label_is_ignored():
    logits, label = batch(2, 4, 4, 6, 2)
    label = label.clamp(max=3)
    found = losses(FCNHead, logits, label, ignore_index=None)
    torch.testing.assert_close(found['loss_ce'], losses(FCNHead, logits, label)['loss_ce'])


def test_weights_are_those_of_mmseg():
    head, stock = (kind(**HEAD, num_classes=3, loss_decode=LOSS) for kind in (FCNHead, PlainHead))
    assert [(name, value.shape) for name, value in head.state_dict().items()] == [
        (name, value.shape) for name, value in stock.state_dict().items()
    ]


def test_the_papers_head_has_it_too(monkeypatch):
    calls = []
    apply = upsampled_loss.UpsampledCrossEntropy.apply
    monkeypatch.setattr(upsampled_loss.UpsampledCrossEntropy, 'apply', lambda *args: calls.append(1) or apply(*args))
    logits, label = batch(2, 3, 4, 6, 1)
    head = ERFNetHead(4, num_classes=3, loss_decode=LOSS)
    expected = F.cross_entropy(logits, label, ignore_index=255)
    torch.testing.assert_close(head.loss_by_feat(logits, samples(label))['loss_ce'], expected)
    assert calls
