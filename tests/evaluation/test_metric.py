import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.evaluation import SegmentationMetric

CLASSES = ('sky', 'road', 'car', 'tram')
WEIGHT = [1.0, 2.0, 4.0, 8.0]


def samples(count: int, shape=(12, 16), seed: int = 0) -> list[SegDataSample]:
    """Predictions and labels of the first three classes, a tenth of the pixels ignored."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        logits = torch.randn(4, *shape, generator=generator)
        logits[3] = -100
        label = torch.randint(0, 3, (1, *shape), generator=generator)
        label[torch.rand(1, *shape, generator=generator) < 0.1] = 255
        sample = SegDataSample(metainfo=dict(img_path='frame.png'))
        sample.seg_logits = PixelData(data=logits)
        sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        sample.gt_sem_seg = PixelData(data=label)
        made.append(sample)
    return made


def evaluate(metric, given: list[SegDataSample]) -> dict:
    metric.dataset_meta = dict(classes=CLASSES)
    for sample in given:
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(given))


def test_agrees_with_mmsegmentation():
    given = samples(5)
    ours, theirs = evaluate(SegmentationMetric(), given), evaluate(IoUMetric(iou_metrics=['mIoU']), given)
    for name in ('mIoU', 'aAcc', 'mAcc'):
        assert ours[name] == pytest.approx(theirs[name], abs=0.005)


def test_metrics_of_each_class_are_scalars():
    metrics = evaluate(SegmentationMetric(), samples(2))
    assert {'IoU/sky', 'IoU/road', 'IoU/car', 'Acc/sky'} <= set(metrics)
    assert 'IoU/tram' not in metrics, 'a class that is nowhere has no IoU'
    assert np.mean([metrics[f'IoU/{name}'] for name in CLASSES[:3]]) == pytest.approx(metrics['mIoU'])


def test_loss_is_the_weighted_mean_over_all_pixels():
    given = samples(3)
    expected = F.cross_entropy(
        torch.stack([sample.seg_logits.data for sample in given]),
        torch.cat([sample.gt_sem_seg.data for sample in given]),
        torch.tensor(WEIGHT),
        ignore_index=255,
    )
    loss = evaluate(SegmentationMetric(with_loss=True, class_weight=WEIGHT), given)['loss']
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_file_holds_all_that_was_counted(tmp_path):
    path = tmp_path / 'deep' / 'metrics.json'
    metrics = evaluate(SegmentationMetric(out_file=str(path), out_meta=dict(tta=None)), samples(3))
    report = json.loads(path.read_text())
    assert report['mIoU'] == metrics['mIoU']
    assert report['classes'] == list(CLASSES)
    assert (report['images'], report['size'], report['tta']) == (3, [12, 16], None)
    assert report['per_class']['tram'] == dict(IoU=None, Acc=None)
    labelled = sum((sample.gt_sem_seg.data != 255).sum().item() for sample in samples(3))
    assert np.sum(report['confusion_matrix']) == labelled


def test_prediction_of_another_size_names_the_file_and_the_remedy():
    sample = samples(1)[0]
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 6, 8, dtype=torch.long))
    with pytest.raises(DataError, match=r'frame.png.*LoadSegLabels'):
        evaluate(SegmentationMetric(), [sample])


def test_missing_label_names_the_file():
    sample = samples(1)[0]
    del sample.gt_sem_seg
    with pytest.raises(DataError, match=r'frame\.png has no label'):
        evaluate(SegmentationMetric(), [sample])
