"""The metric of validation and test: exact metrics, the confusion matrix, and optionally the loss."""

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from prettytable import PrettyTable

from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.evaluation.scores import confusion_matrix, further_scores, mean, scores
from mmseg_erfnet.files import make_folder, write_bytes, write_json
from mmseg_erfnet.registry import METRICS

IOU_METRICS = ('mIoU', 'mDice', 'mFscore')
SCORING = ('ignore_index', 'iou_metrics', 'nan_to_num', 'beta')


def scoring_arguments(evaluator: object) -> dict:
    """Return the arguments that affect scoring of a config's evaluator, if it is our metric or MMSegmentation's.

    Args:
        evaluator: ``val_evaluator`` or ``test_evaluator`` of a config: a metric, a list of metrics, or None.
    """
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        if isinstance(metric, dict) and str(metric.get('type')).rpartition('.')[2] in (
            'SegmentationMetric',
            'IoUMetric',
        ):
            return {name: metric[name] for name in SCORING if name in metric}
    return {}


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """Three variants of mIoU, accuracies, per-class metrics and the confusion matrix.

    It takes the arguments of MMSegmentation's ``IoUMetric``. Unlike the latter, it counts in 64-bit integers, does not
    round, also returns per-class metrics as scalars (``IoU/Sky``, ``Acc/Sky``), so that they reach every logger, and
    refuses labels that are not class numbers. The means are defined in
    :func:`mmseg_erfnet.evaluation.scores.scores`; ``mIoU`` and ``aAcc`` equal MMSegmentation's.

    Args:
        ignore_index: Label of pixels that are not scored.
        iou_metrics: Metrics to return in addition to the IoU: 'mDice' adds ``mDice``; 'mFscore' adds ``mFscore``,
            ``mPrecision`` and ``mRecall``; each also per class.
        nan_to_num: Replacement for undefined per-class metrics, as a fraction, not in percent; it is included in the
            means. Without it, undefined metrics are excluded. ``mIoU_all`` and ``mIoU_present`` ignore it.
        beta: Weight of the recall in ``mFscore``.
        collect_device: As in mmengine's ``BaseMetric``.
        output_dir: Where to write the predicted label maps, as PNG files named after the images.
        format_only: Only write the label maps, without scoring; for images without ground truth.
        prefix: As in mmengine's ``BaseMetric``.
        keep_results: No effect: what is in ``output_dir`` stays. MMSegmentation's ``tools/test.py --out`` sets it, and
            its ``IoUMetric`` ignores it.
        with_loss: Also return ``loss``, the cross entropy over all labelled pixels (weighted mean as in
            ``torch.nn.CrossEntropyLoss``). Needs the logits that mmseg's segmentors return in ``seg_logits``. For a
            binary head (``out_channels=1``) these are probabilities in float32, so a pixel's loss is at most 100.
        class_weight: Weights of that loss, one per class; use those of the training loss to make the two comparable.
        with_table: Print a table of per-class metrics.
        out_file: Where to write the metrics as JSON. ``tools/test.py`` sets it.
        out_meta: Further entries of that file, such as ``tta``.

    Raises:
        UsageError: An argument is out of range, or the number of weights differs from the number of classes.
        DataError: A prediction and its label differ in size or hold values that are not class numbers, a label is
            missing, or two images would be written to the same file.
        StorageError: A file cannot be written.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        iou_metrics: Sequence[str] | str = ('mIoU',),
        nan_to_num: float | None = None,
        beta: float = 1,
        collect_device: str = 'cpu',
        output_dir: str | None = None,
        format_only: bool = False,
        prefix: str | None = None,
        *,
        keep_results: bool = True,
        with_loss: bool = False,
        class_weight: Sequence[float] | None = None,
        with_table: bool = True,
        out_file: str | None = None,
        out_meta: dict | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        iou_metrics = [iou_metrics] if isinstance(iou_metrics, str) else list(iou_metrics)
        unknown = [name for name in iou_metrics if name not in IOU_METRICS]
        if unknown:
            raise UsageError(f'iou_metrics knows {", ".join(IOU_METRICS)}, but not {unknown[0]!r}: leave it out.')
        if not isinstance(beta, (int, float)) or not 0 < beta < float('inf'):
            raise UsageError(f'beta weighs the recall in mFscore and must be a number above 0: got {beta!r}.')
        if format_only and not output_dir:
            raise UsageError('format_only writes predictions and scores nothing: name a folder for them in output_dir.')
        self.ignore_index = ignore_index
        self.iou_metrics, self.nan_to_num, self.beta = iou_metrics, nan_to_num, beta
        self.output_dir, self.format_only = output_dir, format_only
        self.with_loss = with_loss
        self.class_weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.with_table = with_table
        self.out_file = out_file
        self.out_meta = out_meta or {}
        self._written: dict[str, str] = {}
        if output_dir and is_main_process():
            make_folder(output_dir)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count one batch. ``data_samples`` hold ``pred_sem_seg`` and ``gt_sem_seg``, each with data (1, H, W)."""
        for sample in data_samples:
            prediction = _plane(sample['pred_sem_seg'])
            if not self.format_only:
                self.results.append(self._count(sample, prediction))
            if self.output_dir:
                self._write_prediction(sample, prediction)

    def _count(self, sample: dict, prediction: torch.Tensor) -> tuple:
        """Return the confusion matrix, loss, sum of the loss's weights, and size of one image."""
        path = sample.get('img_path')
        if 'gt_sem_seg' not in sample:
            raise DataError(
                f'{path} has no label to score against: its dataset has no seg_map_path, or its pipeline loads none.'
            )
        label = _plane(sample['gt_sem_seg']).to(prediction.device)
        if prediction.shape != label.shape:
            raise DataError(
                f'{path}: the prediction is {tuple(prediction.shape)}, its label {tuple(label.shape)}. To score at '
                "another size than the label's own, let mmseg_erfnet.LoadSegLabels resize it (`size`)."
            )
        num_classes = len(self.dataset_meta['classes'])
        try:
            matrix = confusion_matrix(label.cpu().numpy(), prediction.cpu().numpy(), num_classes, self.ignore_index)
        except DataError as error:
            raise DataError(f'{path}: {error}') from error
        loss = self._loss(sample, label) if self.with_loss else (0.0, 0.0)
        return matrix, *loss, tuple(label.shape)

    def _loss(self, sample: dict, label: torch.Tensor) -> tuple[float, float]:
        if 'seg_logits' not in sample:
            raise UsageError('with_loss needs the seg_logits of the model, which returns none: set with_loss=False.')
        logits = sample['seg_logits']['data'].float()
        classes = max(len(logits), 2)
        weight = torch.ones(classes) if self.class_weight is None else self.class_weight
        if len(weight) != classes:
            raise UsageError(
                f'class_weight of the metric has {len(weight)} numbers, but the model has {classes} classes: '
                'give one for each class.'
            )
        weight, label = weight.to(logits.device), label.long()
        valid = label != self.ignore_index
        weights = weight[torch.where(valid, label, 0)] * valid
        if len(logits) == 1:
            # MMSegmentation's segmentors return the sigmoid of a binary head's logits.
            loss = F.binary_cross_entropy(logits[0], (label == 1).float(), weights, reduction='sum')
        else:
            loss = F.cross_entropy(logits[None], label[None], weight, ignore_index=self.ignore_index, reduction='sum')
        return loss.item(), weights.sum(dtype=torch.float64).item()

    def _write_prediction(self, sample: dict, prediction: torch.Tensor) -> None:
        path = str(sample['img_path'])
        name = f'{Path(path).stem}.png'
        if self._written.setdefault(name, path) != path:
            raise DataError(
                f'{self._written[name]} and {path} would both be written to {Path(self.output_dir) / name}: give the '
                'images different names, or leave output_dir out.'
            )
        labels = prediction.cpu().numpy()
        # With reduce_zero_label, the labels in the files start at 1; 0 is ignored.
        shift = int(bool(sample.get('reduce_zero_label', False)))
        kind = np.uint8 if len(self.dataset_meta['classes']) + shift <= 256 else np.uint16
        picture = cv2.imencode('.png', labels.astype(kind) + kind(shift))[1]
        write_bytes(Path(self.output_dir) / name, picture.tobytes())

    def evaluate(self, size: int) -> dict:
        """Return the metrics over all images of all processes: a dict of floats, in percent except for the loss.

        If no pixel was scored, this only logs a warning, because a training run can continue without a score;
        ``tools/test.py`` turns it into an error.
        """
        metrics = super().evaluate(size)
        self._written.clear()
        # Here rather than in compute_metrics, which only one process calls while the others wait.
        if any(name.rpartition('/')[2] == 'aAcc' and np.isnan(value) for name, value in metrics.items()):
            print_log(
                f'None of the {size} images has a labelled pixel, so that there is nothing to score: all are '
                f'{self.ignore_index}, which is ignored; check ann_file, the values or colours of the labels, and '
                'ignore_index.',
                logger='current',
                level=logging.WARNING,
            )
        return metrics

    def compute_metrics(self, results: list) -> dict:
        """Return the metrics over the given images; see :meth:`evaluate`. If no pixel was scored, the means are NaN."""
        if self.format_only:
            print_log(f'The predictions are in {self.output_dir}.', logger='current')
            return {}
        confusion = sum(matrix for matrix, *_ in results)
        if not np.any(confusion):
            number = len(self.dataset_meta['classes'])
            return dict.fromkeys(self._scores(np.zeros((number, number), np.int64))[0], float('nan'))
        _, losses, weights, sizes = zip(*results, strict=True)
        metrics, per_class = self._scores(confusion)
        if self.with_table:
            print_log(_table(per_class, confusion), logger='current')
        if self.out_file is not None and is_main_process():
            self._write(metrics, per_class, confusion, sizes)
        if self.with_loss:
            metrics['loss'] = sum(losses) / sum(weights) if sum(weights) else 0.0
        for kind in next(iter(per_class.values())):
            metrics.update(
                {f'{kind}/{name}': values[kind] for name, values in per_class.items() if not np.isnan(values[kind])}
            )
        return metrics

    def _scores(self, confusion: np.ndarray) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return the mean metrics, and the per-class metrics by class name."""
        metrics = scores(confusion)
        kinds = {'IoU': metrics.pop('IoU'), 'Acc': metrics.pop('Acc')}
        kinds |= further_scores(confusion, self.iou_metrics, self.beta)
        if self.nan_to_num is not None:
            kinds = {kind: np.nan_to_num(values, nan=100 * self.nan_to_num) for kind, values in kinds.items()}
        metrics |= {f'm{kind}': mean(values) for kind, values in kinds.items()}
        rows = zip(*(values.tolist() for values in kinds.values()), strict=True)
        classes = self.dataset_meta['classes']
        return metrics, {name: dict(zip(kinds, row, strict=True)) for name, row in zip(classes, rows, strict=True)}

    def _write(self, metrics: dict, per_class: dict, confusion: np.ndarray, sizes: Sequence[tuple]) -> None:
        size = sizes[0] if len(set(sizes)) == 1 else None
        report = dict(
            metrics,
            per_class=per_class,
            confusion_matrix=confusion.tolist(),
            classes=list(self.dataset_meta['classes']),
            palette=self.dataset_meta.get('palette'),
            images=len(sizes),
            size=size,
            **self.out_meta,
        )
        write_json(self.out_file, report)


def _plane(pixels: dict) -> torch.Tensor:
    """Return data of shape (1, H, W), or (H, W) as after test-time augmentation, as (H, W)."""
    data = pixels['data']
    return data.reshape(data.shape[-2:])


def _table(per_class: dict, confusion: np.ndarray) -> str:
    labelled = confusion.sum(1)
    kinds = list(next(iter(per_class.values())))
    table = PrettyTable(['Class', *kinds, 'Pixels %'], align='r')
    table.align['Class'] = 'l'
    absent = []
    for (name, values), pixels in zip(per_class.items(), labelled, strict=True):
        if np.isnan(values['IoU']):
            absent.append(name)
            continue
        metrics = ['-' if np.isnan(value) else f'{value:.2f}' for value in values.values()]
        table.add_row([name, *metrics, f'{100 * pixels / max(labelled.sum(), 1):.2f}'])
    return f'\n{table}' + (f'\nNeither labelled nor predicted: {", ".join(absent)}' if absent else '')
