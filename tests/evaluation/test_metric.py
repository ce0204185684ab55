import json
import re

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.evaluation import SegmentationMetric, metric

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


def binary(count: int) -> list[SegDataSample]:
    """What mmseg's segmentors return of a head with one output and a threshold of 0.3: probabilities and floats."""
    made = samples(count)
    for sample in made:
        probability = sample.seg_logits.data[:1].sigmoid()
        sample.seg_logits = PixelData(data=probability)
        sample.pred_sem_seg = PixelData(data=(probability > 0.3).to(probability))
        sample.gt_sem_seg = PixelData(data=torch.where(sample.gt_sem_seg.data == 2, 1, sample.gt_sem_seg.data))
    return made


def evaluate(metric, given: list[SegDataSample], classes=CLASSES) -> dict:
    metric.dataset_meta = dict(classes=classes)
    for sample in given:
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(given))


def test_agrees_with_mmsegmentation():
    given = samples(5)
    ours, theirs = evaluate(SegmentationMetric(), given), evaluate(IoUMetric(iou_metrics=['mIoU']), given)
    for name in ('mIoU', 'aAcc', 'mAcc'):
        assert ours[name] == pytest.approx(theirs[name], abs=0.005)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(iou_metrics=['mDice']),
        dict(iou_metrics='mFscore'),
        dict(iou_metrics=['mIoU', 'mDice', 'mFscore'], beta=2),
        dict(iou_metrics=['mIoU', 'mDice', 'mFscore'], nan_to_num=-1),
        dict(iou_metrics=['mFscore'], nan_to_num=0, beta=0.5),
        dict(ignore_index=1),
        dict(ignore_index=0, prefix='x'),
    ],
    ids=str,
)
def test_takes_the_arguments_of_mmsegmentation(arguments):
    given = samples(3)
    if 'ignore_index' in arguments:
        for sample in given:
            sample.gt_sem_seg.data[sample.gt_sem_seg.data == 255] = arguments['ignore_index']
    ours, theirs = evaluate(SegmentationMetric(**arguments), given), evaluate(IoUMetric(**arguments), given)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=0.006)


def test_further_metrics_reach_loggers_and_file(tmp_path):
    metric = SegmentationMetric(iou_metrics=['mDice', 'mFscore'], out_file=str(tmp_path / 'metrics.json'))
    metrics = evaluate(metric, samples(2))
    report = json.loads((tmp_path / 'metrics.json').read_text())
    assert next(iter(metrics)) == 'mIoU', "what `save_best='auto'` takes"
    for kind in ('Dice', 'Fscore', 'Precision', 'Recall'):
        values = [metrics[f'{kind}/{name}'] for name in CLASSES[:3]]
        assert metrics[f'm{kind}'] == pytest.approx(np.mean(values))
        assert report[f'm{kind}'] == metrics[f'm{kind}']
        assert report['per_class']['car'][kind] == metrics[f'{kind}/car']
    assert metrics['Dice/car'] == pytest.approx(metrics['Fscore/car'])


def test_a_binary_head_is_scored_as_mmsegmentation_does():
    given, classes = binary(3), ('background', 'object')
    ours, theirs = (evaluate(kind(), given, classes) for kind in (SegmentationMetric, IoUMetric))
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=0.005)


@pytest.mark.parametrize('class_weight', [None, [1.0, 3.0]])
def test_loss_of_a_binary_head(class_weight):
    given = binary(3)
    found = evaluate(SegmentationMetric(with_loss=True, class_weight=class_weight), given, ('background', 'object'))
    logits = torch.stack([sample.seg_logits.data for sample in given]).double().logit()
    expected = F.cross_entropy(
        torch.cat([torch.zeros_like(logits), logits], 1),
        torch.cat([sample.gt_sem_seg.data for sample in given]),
        None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64),
        ignore_index=255,
    )
    assert found['loss'] == pytest.approx(expected.item(), rel=1e-5)


def test_loss_without_what_it_needs_is_a_sentence():
    given = samples(1)
    with pytest.raises(UsageError, match='has 3 numbers, but the model has 4 classes: give one for each class'):
        evaluate(SegmentationMetric(with_loss=True, class_weight=[1.0, 2.0, 3.0]), given)
    del given[0].seg_logits
    with pytest.raises(UsageError, match='set with_loss=False'):
        evaluate(SegmentationMetric(with_loss=True), given)


def test_predictions_of_test_time_augmentation_have_no_channel():
    given = samples(2)
    expected = evaluate(SegmentationMetric(), given)
    for sample in given:
        sample.pred_sem_seg = PixelData(data=sample.pred_sem_seg.data[0])
    assert evaluate(SegmentationMetric(), given) == expected


@pytest.mark.parametrize(('zero_is_ignored', 'first'), [(False, 0), (True, 1)])
def test_writes_predictions(zero_is_ignored, first, tmp_path):
    given = samples(2)
    for number, sample in enumerate(given):
        sample.set_metainfo(dict(img_path=f'/data/frame.{number}.jpg', reduce_zero_label=zero_is_ignored))
    evaluate(SegmentationMetric(output_dir=str(tmp_path / 'out')), given)
    for number, sample in enumerate(given):
        written = cv2.imread(str(tmp_path / 'out' / f'frame.{number}.png'), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint8
        assert (written == sample.pred_sem_seg.data[0].numpy() + first).all()


def test_writes_more_classes_than_a_byte_holds(tmp_path):
    given = samples(1)
    given[0].pred_sem_seg = PixelData(data=torch.full((1, 12, 16), 299))
    evaluate(SegmentationMetric(output_dir=str(tmp_path)), given, [str(index) for index in range(300)])
    assert (cv2.imread(str(tmp_path / 'frame.png'), cv2.IMREAD_UNCHANGED) == 299).all()


def test_two_images_of_one_name_lose_nothing(tmp_path):
    given = samples(2)
    for town, sample in zip(('a', 'b'), given, strict=True):
        sample.set_metainfo(dict(img_path=f'/data/{town}/0001.png'))
    with pytest.raises(DataError, match=r'/data/a/0001\.png and /data/b/0001.png would both be written'):
        evaluate(SegmentationMetric(output_dir=str(tmp_path)), given)
    same = [samples(1)[0], samples(1)[0]]
    # A sampler that shares images out evenly may give one image twice.
    assert evaluate(SegmentationMetric(output_dir=str(tmp_path)), same)


def test_format_only_needs_no_labels(tmp_path):
    given = samples(2)
    for sample in given:
        del sample.gt_sem_seg
    metric = SegmentationMetric(format_only=True, output_dir=str(tmp_path))
    assert evaluate(metric, given) == {}
    assert [path.name for path in tmp_path.iterdir()] == ['frame.png']
    with pytest.raises(UsageError, match='name a folder for them in output_dir'):
        SegmentationMetric(format_only=True)


@pytest.mark.parametrize('arguments', [{}, dict(prefix='val', nan_to_num=0, with_loss=True), dict(ignore_index=7)])
def test_a_set_that_is_all_void_is_a_sentence_and_leaves_an_earlier_result(arguments, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(metric, 'print_log', lambda text, **options: said.append(text))
    given, path = samples(2), tmp_path / 'metrics.json'
    path.write_text('earlier')
    for sample in given:
        sample.gt_sem_seg = PixelData(data=torch.full((1, 12, 16), arguments.get('ignore_index', 255)))
    evaluate(SegmentationMetric(out_file=str(path), **arguments), given)
    assert re.search(r'None of the 2 images has a labelled pixel.*which is ignored; check', said[-1])
    assert path.read_text() == 'earlier'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(iou_metrics=['mIoU', 'bIoU']), "knows mIoU, mDice, mFscore, but not 'bIoU'"),
        (dict(beta=0), 'a number above 0: got 0'),
        (dict(beta='two'), "a number above 0: got 'two'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        SegmentationMetric(**arguments)


def test_values_that_are_no_class_name_the_file():
    sample = samples(1)[0]
    sample.gt_sem_seg.data[0, 0, 0] = 9
    with pytest.raises(DataError, match=r'frame\.png: labels run from 0 to 9, but there are 4 classes'):
        evaluate(SegmentationMetric(with_loss=True), [sample])


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
