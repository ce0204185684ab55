"""Segmentation metrics from a confusion matrix. Needs numpy alone.

Counts are 64-bit integers throughout, so the metrics do not depend on the order of the images or on how they were
shared among processes.
"""

import numpy as np


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Count pixels by true and predicted class.

    Args:
        labels: True classes, integers of any shape.
        predictions: Predicted classes, of the same shape.
        num_classes: Number of classes.
        ignore_index: Pixels with this label are left out.

    Returns:
        int64 array (num_classes, num_classes): rows are true, columns predicted classes.

    Raises:
        ValueError: The shapes differ, or a value is no class.
    """
    if labels.shape != predictions.shape:
        raise ValueError(f'labels of shape {labels.shape} cannot be compared with predictions of {predictions.shape}')
    valid = labels != ignore_index
    labels, predictions = labels[valid].astype(np.int64), predictions[valid].astype(np.int64)
    for name, values in (('label', labels), ('prediction', predictions)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f'{name}s run from {values.min()} to {values.max()}, but there are {num_classes} classes; '
                'does num_classes of the decode head fit the dataset?'
            )
    pairs = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def scores(confusion: np.ndarray) -> dict:
    """Figures of a confusion matrix, in percent; NaN where a figure is not defined.

    Args:
        confusion: int64 (classes, classes), rows true, columns predicted.

    Returns:
        ``IoU`` and ``Acc``, float64 arrays with a value for each class, and the means:
        ``mIoU``, over the classes with a defined IoU (those that are labelled or predicted somewhere), as
        MMSegmentation does it; ``mIoU_all``, over all classes, an undefined IoU counting 0; ``mIoU_present``, over the
        classes that are labelled somewhere; ``mAcc``, the mean recall of the latter; ``aAcc``, the share of
        correct pixels.
    """
    correct = np.diag(confusion).astype(np.float64)
    labelled = confusion.sum(1)
    union = labelled + confusion.sum(0) - np.diag(confusion)
    with np.errstate(invalid='ignore', divide='ignore'):
        iou, acc = 100 * correct / union, 100 * correct / labelled
        overall = 100 * correct.sum() / confusion.sum()
    present = labelled > 0
    return dict(
        mIoU=_mean(iou[union > 0]),
        mIoU_all=_mean(np.nan_to_num(iou)),
        mIoU_present=_mean(iou[present]),
        aAcc=float(overall),
        mAcc=_mean(acc[present]),
        IoU=iou,
        Acc=acc,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float('nan')
