import numpy as np
import pytest

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.evaluation import confusion_matrix, scores
from mmseg_erfnet.evaluation.scores import further_scores


def test_counts_true_in_rows_and_predicted_in_columns():
    labels = np.array([[0, 0, 1], [2, 255, 1]])
    predictions = np.array([[0, 1, 1], [2, 0, 0]])
    assert confusion_matrix(labels, predictions, 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_metrics_by_hand():
    # Class 2 occurs nowhere; class 3 is predicted but never labelled.
    metrics = scores(np.array([[6, 2, 0, 1], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    iou = np.array([100 * 6 / 10, 100 * 3 / 6, np.nan, 0])
    np.testing.assert_allclose(metrics['IoU'], iou)
    np.testing.assert_allclose(metrics['Acc'], [100 * 6 / 9, 75, np.nan, np.nan])
    assert metrics['mIoU'] == pytest.approx((60 + 50 + 0) / 3)
    assert metrics['mIoU_all'] == pytest.approx((60 + 50) / 4)
    assert metrics['mIoU_present'] == pytest.approx((60 + 50) / 2)
    assert metrics['mAcc'] == pytest.approx((100 * 6 / 9 + 75) / 2)
    assert metrics['aAcc'] == pytest.approx(100 * 9 / 13)


def test_further_metrics_by_hand():
    found = further_scores(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]), ['mDice', 'mFscore'], beta=2)
    np.testing.assert_allclose(found['Dice'], [100 * 12 / 15, 100 * 6 / 9, np.nan])
    np.testing.assert_allclose(found['Precision'], [100 * 6 / 7, 60, np.nan])
    np.testing.assert_allclose(found['Recall'], [75, 75, np.nan])
    np.testing.assert_allclose(found['Fscore'][1], 100 * 5 * 0.6 * 0.75 / (4 * 0.6 + 0.75))
    assert further_scores(np.eye(3), ['mIoU']) == {}


def test_nothing_labelled_is_not_a_number():
    metrics = scores(np.zeros((3, 3), int))
    assert np.isnan(metrics['mIoU'])
    assert np.isnan(metrics['aAcc'])
    assert metrics['mIoU_all'] == 0


def test_counts_beyond_what_float32_can_hold():
    confusion = np.array([[2**40 + 1, 1], [0, 2**40]])
    assert scores(confusion)['IoU'][0] == pytest.approx(100 * (2**40 + 1) / (2**40 + 2), rel=1e-15)


@pytest.mark.parametrize(
    ('labels', 'predictions', 'message'),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), 'cannot be compared'),
        (np.full((2, 2), 3), np.zeros((2, 2), int), 'labels run from 3 to 3, but there are 3 classes'),
        (np.zeros((2, 2), int), np.full((2, 2), 7), 'predictions run from 7 to 7'),
    ],
)
def test_what_cannot_be_counted_is_said(labels, predictions, message):
    with pytest.raises(DataError, match=message):
        confusion_matrix(labels, predictions, 3)
