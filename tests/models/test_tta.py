"""Test-time augmentation: the mean over the augmentations, for heads with one output per class and binary ones."""

import pytest
import torch
from helpers.base_tester import build
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel as Stock
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_erfnet.evaluation import SegmentationMetric
from mmseg_erfnet.models import SegTTAModel

HEAD = dict(type='FCNHead', in_channels=16, channels=4, num_convs=0, concat_input=False)


def segmentor(**head) -> nn.Module:
    """A binary segmentor of MMSegmentation with our backbone."""
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    backbone = dict(type='mmseg_erfnet.ERFNet', enc_stage_non_bottlenecks=(1, 1), enc_non_bottleneck_dilations=(1,))
    head = dict(HEAD, channels=16, num_classes=2, out_channels=1, loss_decode=loss, **head)
    return build(dict(type='EncoderDecoder', backbone=backbone, decode_head=head, test_cfg=dict(mode='whole'))).eval()


def sample(scores: torch.Tensor, label: int = 0) -> SegDataSample:
    found = SegDataSample(metainfo=dict(img_path='x.png'), gt_sem_seg=PixelData(data=torch.full((1, 2, 3), label)))
    found.seg_logits = PixelData(data=scores)
    return found


def merged(kind: type, outputs: int, *scores: torch.Tensor, threshold: float | None = None) -> SegDataSample:
    model, module = kind.__new__(kind), nn.Module()
    nn.Module.__init__(model)
    module.out_channels, module.decode_head = outputs, nn.Module()
    module.decode_head.threshold = threshold
    model.module = module
    (found,) = model.merge_preds([[sample(one) for one in scores]])
    return found


def test_several_outputs_as_in_mmsegmentation():
    first, second = torch.randn(2, 5, 2, 3)
    ours, stock = (merged(kind, 5, first, second) for kind in (SegTTAModel, Stock))
    assert torch.equal(ours.pred_sem_seg.data.reshape(2, 3), stock.pred_sem_seg.data.reshape(2, 3))
    mean = (first.softmax(0) + second.softmax(0)) / 2
    torch.testing.assert_close(ours.seg_logits.data.softmax(0), mean)


def test_binary_head_is_not_squashed_twice():
    """Probabilities of 0.2 and 0.4 have a mean of 0.3, whose sigmoid, 0.57, is above every threshold up to there."""
    found = merged(SegTTAModel, 1, torch.full((1, 2, 3), 0.2), torch.full((1, 2, 3), 0.4), threshold=0.5)
    torch.testing.assert_close(found.seg_logits.data, torch.full((1, 2, 3), 0.3))
    assert found.pred_sem_seg.data.shape == (1, 2, 3)
    assert not found.pred_sem_seg.data.any()
    found = merged(SegTTAModel, 1, torch.full((1, 2, 3), 0.6), torch.full((1, 2, 3), 0.6), threshold=0.5)
    assert found.pred_sem_seg.data.all()


def test_binary_segmentor_agrees_with_the_mean_of_its_own_predictions():
    torch.manual_seed(0)
    model = segmentor(threshold=0.5)
    image = torch.rand(1, 3, 32, 48) * 255

    def samples(flip: bool) -> list[SegDataSample]:
        meta = dict(ori_shape=(32, 48), img_shape=(32, 48), flip=flip, flip_direction='horizontal', img_path='x.png')
        return [SegDataSample(metainfo=meta)]

    images, metas = [image, image.flip(3)], [samples(False), samples(True)]
    with torch.no_grad():
        alone = [
            model.test_step(dict(inputs=one, data_samples=meta))[0] for one, meta in zip(images, metas, strict=True)
        ]
        (found,) = SegTTAModel(module=model).test_step(dict(inputs=images, data_samples=metas))
    mean = (alone[0].seg_logits.data + alone[1].seg_logits.data) / 2
    assert 0.05 < (mean > 0.5).float().mean() < 0.95, 'both classes are there'
    assert torch.equal(found.pred_sem_seg.data, (mean > 0.5).float())


@pytest.mark.parametrize(('outputs', 'scores'), [(2, [[0.0, 2.0], [0.0, 0.0]]), (1, [[0.88], [0.5]])])
def test_loss_is_that_of_the_mean(outputs, scores):
    scores = [torch.tensor(one)[:, None, None].expand(-1, 2, 3) for one in scores]
    found = merged(SegTTAModel, outputs, *scores, threshold=0.5)
    metric = SegmentationMetric(with_loss=True, with_table=False)
    metric.dataset_meta = dict(classes=('other', 'road'))
    metric.process({}, [found.to_dict()])
    second = torch.stack([one.softmax(0)[1] if outputs == 2 else one[0] for one in scores]).mean(0)
    loss = metric.evaluate(1)['loss']
    assert loss == pytest.approx(-(1 - second[0, 0]).log().item(), rel=1e-5)
