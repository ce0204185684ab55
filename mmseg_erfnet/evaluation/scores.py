"""Segmentation metrics from a confusion matrix. Needs only NumPy.

Counts are 64-bit integers throughout, so the metrics do not depend on the order of the images or on how they are
distributed among processes.
"""

from collections.abc import Sequence

import numpy as np

from mmseg_erfnet.errors import DataError


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Count pixels by labelled and predicted class.

    Args:
        labels: Ground truth classes, integers of any shape.
        predictions: Predicted classes, of the same shape.
        num_classes: Number of classes.
        ignore_index: Pixels with this label are ignored.

    Returns:
        int64 array (num_classes, num_classes): rows are ground truth classes, columns predicted classes.

    Raises:
        DataError: The shapes differ, or a value is not a class number.
    """
    if labels.shape != predictions.shape:
        raise DataError(
            f'labels of shape {labels.shape} cannot be compared with predictions of {predictions.shape}; '
            'score at the size of the labels.'
        )
    valid = labels != ignore_index
    labels, predictions = labels[valid].astype(np.int64), predictions[valid].astype(np.int64)
    for name, values in (('label', labels), ('prediction', predictions)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise DataError(
                f'{name}s run from {values.min()} to {values.max()}, but there are {num_classes} classes; '
                'does num_classes of the decode head fit the dataset?'
            )
    pairs = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def scores(confusion: np.ndarray) -> dict:
    """Compute the metrics of a confusion matrix, in percent; NaN if undefined.

    Args:
        confusion: int64 (classes, classes), rows ground truth, columns predicted.

    Returns:
        ``IoU`` and ``Acc``, float64 arrays with one value per class, and the means:
        ``mIoU``, over the classes with a defined IoU (those labelled or predicted somewhere), as in MMSegmentation;
        ``mIoU_all``, over all classes, counting an undefined IoU as 0; ``mIoU_present``, over the classes that are
        labelled somewhere; ``mAcc``, the mean recall of the latter; ``aAcc``, the percentage of correct pixels.
    """
    correct = np.diag(confusion).astype(np.float64)
    labelled = confusion.sum(1)
    union = labelled + confusion.sum(0) - np.diag(confusion)
    with np.errstate(invalid='ignore', divide='ignore'):
        iou, acc = 100 * correct / union, 100 * correct / labelled
        overall = 100 * correct.sum() / confusion.sum()
    present = labelled > 0
    return dict(
        mIoU=mean(iou),
        mIoU_all=mean(np.nan_to_num(iou)),
        mIoU_present=mean(iou[present]),
        aAcc=float(overall),
        mAcc=mean(acc),
        IoU=iou,
        Acc=acc,
    )


def further_scores(confusion: np.ndarray, iou_metrics: Sequence[str], beta: float = 1) -> dict[str, np.ndarray]:
    """Compute further per-class metrics as defined by MMSegmentation's ``IoUMetric``, in percent.

    Args:
        confusion: int64 (classes, classes), rows ground truth, columns predicted.
        iou_metrics: 'mDice' gives ``Dice``; 'mFscore' gives ``Fscore``, ``Precision`` and ``Recall``.
        beta: Weight of the recall in ``Fscore``.

    Returns:
        float64 arrays with one value per class, NaN if undefined.
    """
    correct = np.diag(confusion).astype(np.float64)
    labelled, predicted = confusion.sum(1), confusion.sum(0)
    found = {}
    with np.errstate(invalid='ignore', divide='ignore'):
        if 'mDice' in iou_metrics:
            found['Dice'] = 200 * correct / (labelled + predicted)
        if 'mFscore' in iou_metrics:
            precision, recall = correct / predicted, correct / labelled
            score = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
            found |= dict(Fscore=100 * score, Precision=100 * precision, Recall=100 * recall)
    return found


def mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float('nan')
