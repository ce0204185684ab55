"""The loss against torch's, on labels with and without ignored pixels."""

import json
import pickle

import numpy as np
import pytest
import torch
from helpers.hostile import touching
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.models import WeightedCrossEntropyLoss

WEIGHTS = [1.0, 0.0, 3.5, 0.25]
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'))]


def batch(device='cpu', ignored=True):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 6, 8, generator=generator) * 3
    label = torch.randint(0, 4, (2, 6, 8), generator=generator)
    if ignored:
        label[0, :3] = 255
    return logits.to(device).requires_grad_(), label.to(device)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('ignored', [False, True])
@pytest.mark.parametrize('class_weight', [None, WEIGHTS])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_equals_torch(class_weight, ignored, reduction, device):
    logits, label = batch(device, ignored)
    weight = None if class_weight is None else torch.tensor(class_weight, device=device)
    expected = F.cross_entropy(logits, label, weight, ignore_index=255, reduction=reduction)
    expected.sum().backward()
    expected_grad, logits.grad = logits.grad, None
    found = WeightedCrossEntropyLoss(class_weight, reduction, loss_weight=2.0).to(device)(logits, label)
    (found.sum() / 2).backward()
    torch.testing.assert_close(found / 2, expected)
    torch.testing.assert_close(logits.grad, expected_grad)


def test_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]])).T[None, :, None]  # 1, 2, 1, 2: two pixels
    label = torch.tensor([[[0, 1]]])
    found = WeightedCrossEntropyLoss([1.0, 3.0])(logits, label)
    assert found.item() == pytest.approx((1 * -np.log(0.5) + 3 * -np.log(0.8)) / 4)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('class_weight', [None, WEIGHTS])
def test_all_ignored(class_weight, device):
    logits, label = batch(device)
    loss = WeightedCrossEntropyLoss(class_weight).to(device)(logits, torch.full_like(label, 255))
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()


def test_all_of_weight_zero():
    logits, label = batch()
    loss = WeightedCrossEntropyLoss(WEIGHTS)(logits, torch.ones_like(label))
    assert loss.item() == 0


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_float32_under_autocast(dtype, device):
    logits, label = batch(device)
    low = logits.detach().to(dtype).requires_grad_()
    criterion = WeightedCrossEntropyLoss(WEIGHTS).to(device)
    with torch.autocast(device, dtype):
        found = criterion(low, label)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, criterion(low.detach().float(), label))
    found.backward()
    assert low.grad.dtype == dtype
    assert low.grad.isfinite().all()


def test_weight_a_pixel():
    """A pixel of weight 0 is as if ignored."""
    logits, label = batch(ignored=False)
    weight = torch.ones(label.shape)
    weight[1] = 0
    found = WeightedCrossEntropyLoss(WEIGHTS)(logits, label, weight=weight)
    torch.testing.assert_close(found, F.cross_entropy(logits[:1], label[:1], torch.tensor(WEIGHTS)))


def test_reduction_override_and_avg_factor():
    logits, label = batch()
    criterion = WeightedCrossEntropyLoss(WEIGHTS)
    total = criterion(logits, label, reduction_override='sum')
    assert criterion(logits, label, avg_factor=10).item() == pytest.approx(total.item() / 10)
    assert criterion(logits, label, reduction_override='none').shape == label.shape
    with pytest.raises(ValueError, match='not with'):
        criterion(logits, label, avg_factor=10, reduction_override='sum')


def test_another_ignore_index():
    logits, label = batch(ignored=False)
    found = WeightedCrossEntropyLoss(WEIGHTS)(logits, label, ignore_index=2)
    torch.testing.assert_close(found, F.cross_entropy(logits, label, torch.tensor(WEIGHTS), ignore_index=2))


def test_in_a_head_of_mmseg():
    head = FCNHead(
        in_channels=8,
        channels=8,
        num_convs=0,
        concat_input=False,
        num_classes=4,
        loss_decode=[
            dict(type='mmseg_erfnet.WeightedCrossEntropyLoss', class_weight=WEIGHTS),
            dict(type='mmseg_erfnet.WeightedCrossEntropyLoss', loss_name='loss_plain', loss_weight=0.4),
        ],
    )
    assert not [name for name in head.state_dict() if 'weight' in name and 'loss' in name]
    logits, label = batch()
    samples = [SegDataSample(gt_sem_seg=PixelData(data=item[None])) for item in label]
    losses = head.loss_by_feat(logits, samples)
    torch.testing.assert_close(
        losses['loss_ce'], F.cross_entropy(logits, label, torch.tensor(WEIGHTS), ignore_index=255)
    )
    torch.testing.assert_close(losses['loss_plain'], 0.4 * F.cross_entropy(logits, label, ignore_index=255))


def test_by_a_sigmoid():
    logits, label = batch()
    logits, label = logits[:, :1].detach(), torch.where(label == 255, 255, label % 2)
    valid = label != 255
    found = WeightedCrossEntropyLoss(use_sigmoid=True)(logits, label)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0][valid], label[valid].float())
    torch.testing.assert_close(found, expected)
    weight = torch.tensor([0.5, 3.0])[label[valid]]
    found = WeightedCrossEntropyLoss([0.5, 3.0], use_sigmoid=True)(logits, label)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0][valid], label[valid].float(), weight, reduction='sum')
    torch.testing.assert_close(found, expected / weight.sum())


@pytest.mark.parametrize('avg_non_ignore', [True, False])
@pytest.mark.parametrize('class_weight', [None, WEIGHTS])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_the_arguments_of_a_stock_config_give_what_they_give_there(class_weight, avg_non_ignore, reduction):
    """On labels without 255 where there are class weights, which the stock loss takes only there."""
    logits, label = batch(ignored=class_weight is None)
    arguments = dict(
        use_sigmoid=False,
        use_mask=False,
        reduction=reduction,
        class_weight=class_weight,
        loss_weight=0.4,
        loss_name='loss_aux',
        avg_non_ignore=avg_non_ignore,
    )
    # With class weights the stock loss leaves ignored labels out in any case, and fails if asked to.
    arguments_there = dict(arguments, avg_non_ignore=avg_non_ignore and class_weight is None)
    ours, theirs = WeightedCrossEntropyLoss(**arguments), CrossEntropyLoss(**arguments_there)
    torch.testing.assert_close(ours(logits, label), theirs(logits, label, ignore_index=255))
    assert (ours.loss_name, ours.extra_repr()) == (theirs.loss_name, f'avg_non_ignore={avg_non_ignore}')


def test_without_an_ignored_label():
    logits, label = batch(ignored=False)
    found = WeightedCrossEntropyLoss()(logits, label, ignore_index=None)
    torch.testing.assert_close(found, F.cross_entropy(logits, label))


def test_class_weights_of_a_file(tmp_path):
    np.save(tmp_path / 'weights.npy', np.array(WEIGHTS))
    (tmp_path / 'weights.json').write_text(json.dumps(WEIGHTS))
    for name in ('weights.npy', 'weights.json'):
        assert WeightedCrossEntropyLoss(str(tmp_path / name)).class_weight.tolist() == WEIGHTS


@pytest.mark.parametrize('name', ['weights.npy', 'weights.pkl', 'weights.yaml'])
def test_a_file_of_class_weights_runs_nothing(name, tmp_path):
    path, proof = tmp_path / name, tmp_path / 'proof'
    if name == 'weights.npy':
        np.save(path, np.array([touching(proof)], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(touching(proof)))
    with pytest.raises(UsageError, match='give a list'):
        WeightedCrossEntropyLoss(str(path))
    assert not proof.exists()


def test_wrong_arguments():
    for class_weight in (
        [1.0, -1.0],
        [1.0, float('nan')],
        [[1.0]],
        [],
        3.0,
        ['a'],
        [[1.0], [1.0, 2.0]],
        dict(road=1.0),
    ):
        with pytest.raises(UsageError, match='class_weight must be a list'):
            WeightedCrossEntropyLoss(class_weight)
    for class_weight in ('none.npy', 'none.json', 'weights.txt'):
        with pytest.raises(UsageError, match=f"class_weight='{class_weight}' .*or give a list"):
            WeightedCrossEntropyLoss(class_weight)
    with pytest.raises(UsageError, match='reduction must be'):
        WeightedCrossEntropyLoss(reduction='median')
    with pytest.raises(UsageError, match='does not support masks'):
        WeightedCrossEntropyLoss(use_mask=True)
    logits, label = batch()
    with pytest.raises(UsageError, match='has 3 numbers, but the model has 4 classes'):
        WeightedCrossEntropyLoss([1.0, 2.0, 3.0])(logits, label)
    with pytest.raises(UsageError, match='4 outputs: set out_channels=1 in the head, use_sigmoid=False'):
        WeightedCrossEntropyLoss(use_sigmoid=True)(logits, label)
    with pytest.raises(UsageError, match='set use_sigmoid=True in its loss'):
        WeightedCrossEntropyLoss()(logits[:, :1], label)
    with pytest.raises(UsageError, match='has 3 numbers, but the model has 2 classes'):
        WeightedCrossEntropyLoss([1.0, 2.0, 3.0], use_sigmoid=True)(logits[:, :1], label)
    label[0, 5, 5] = 4
    with pytest.raises(DataError, match='A label is 4, but the model has 4 classes'):
        WeightedCrossEntropyLoss()(logits, label)
