"""The metric of validation and test: exact metrics, the whole confusion matrix, and on request the loss."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from prettytable import PrettyTable

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.evaluation.scores import confusion_matrix, scores
from mmseg_erfnet.files import write_json
from mmseg_erfnet.registry import METRICS


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """mIoU in three readings, accuracies, metrics for each class and the confusion matrix.

    It differs from MMSegmentation's ``IoUMetric`` in that it counts in 64-bit integers, rounds nothing, and returns the
    metrics of each class as scalars too (``IoU/Sky``, ``Acc/Sky``), so that they reach every logger. What the means
    are, says :func:`mmseg_erfnet.evaluation.scores.scores`; ``mIoU`` and ``aAcc`` equal MMSegmentation's.

    Args:
        with_loss: Also return ``loss``, the cross-entropy over all labelled pixels (weighted mean as in
            ``torch.nn.CrossEntropyLoss``). Needs the logits that mmseg's segmentors return in ``seg_logits``.
        class_weight: Weights of that loss, one for each class; those of the training loss make the two comparable.
        with_table: Print a table of the classes.
        ignore_index: Label of pixels that are not scored.
        out_file: Where to write the metrics as JSON. ``tools/test.py`` sets it.
        out_meta: Further entries of that file, such as ``tta``.
        collect_device: As in mmengine's ``BaseMetric``.
        prefix: As in mmengine's ``BaseMetric``.

    Raises:
        DataError: A prediction and its label differ in size, or there is no label.
        ValueError: They hold values that are no class.
    """

    def __init__(
        self,
        with_loss: bool = False,
        class_weight: Sequence[float] | None = None,
        with_table: bool = True,
        ignore_index: int = 255,
        out_file: str | None = None,
        out_meta: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.with_loss = with_loss
        self.class_weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.with_table = with_table
        self.ignore_index = ignore_index
        self.out_file = out_file
        self.out_meta = out_meta or {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count one batch. ``data_samples`` hold ``pred_sem_seg`` and ``gt_sem_seg``, each with data (1, H, W)."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            if 'gt_sem_seg' not in sample:
                raise DataError(
                    f'{sample.get("img_path")} has no label to score against: its dataset has no '
                    'seg_map_path, or its pipeline loads none.'
                )
            prediction = sample['pred_sem_seg']['data'].squeeze(0)
            label = sample['gt_sem_seg']['data'].squeeze(0).to(prediction.device)
            if prediction.shape != label.shape:
                raise DataError(
                    f'{sample.get("img_path")}: the prediction is {tuple(prediction.shape)}, its label '
                    f"{tuple(label.shape)}. To score at another size than the label's own, let "
                    'mmseg_erfnet.LoadSegLabels resize it (`size`).'
                )
            loss = self._loss(sample['seg_logits']['data'], label) if self.with_loss else (0.0, 0.0)
            matrix = confusion_matrix(label.cpu().numpy(), prediction.cpu().numpy(), num_classes, self.ignore_index)
            self.results.append((matrix, *loss, tuple(label.shape)))

    def _loss(self, logits: torch.Tensor, label: torch.Tensor) -> tuple[float, float]:
        weight = torch.ones(len(logits)) if self.class_weight is None else self.class_weight
        weight = weight.to(logits.device)
        label = label.long()
        loss = F.cross_entropy(
            logits[None].float(), label[None], weight, ignore_index=self.ignore_index, reduction='sum'
        )
        return loss.item(), weight[label[label != self.ignore_index]].sum(dtype=torch.float64).item()

    def compute_metrics(self, results: list) -> dict:
        """Figures over all images: a dict of floats, in percent but for the loss."""
        matrices, losses, weights, sizes = zip(*results, strict=True)
        confusion = np.sum(matrices, axis=0)
        metrics = scores(confusion)
        classes = self.dataset_meta['classes']
        per_class = {
            name: dict(IoU=float(iou), Acc=float(acc))
            for name, iou, acc in zip(classes, metrics.pop('IoU'), metrics.pop('Acc'), strict=True)
        }
        if self.with_table:
            print_log(_table(per_class, confusion), logger='current')
        if self.out_file is not None and is_main_process():
            self._write(metrics, per_class, confusion, sizes)
        if self.with_loss:
            metrics['loss'] = sum(losses) / sum(weights) if sum(weights) else 0.0
        for kind in ('IoU', 'Acc'):
            metrics.update(
                {f'{kind}/{name}': values[kind] for name, values in per_class.items() if not np.isnan(values[kind])}
            )
        return metrics

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


def _table(per_class: dict, confusion: np.ndarray) -> str:
    labelled = confusion.sum(1)
    table = PrettyTable(['Class', 'IoU', 'Acc', 'Pixels %'], align='r')
    table.align['Class'] = 'l'
    absent = []
    for (name, values), pixels in zip(per_class.items(), labelled, strict=True):
        if np.isnan(values['IoU']):
            absent.append(name)
            continue
        metrics = ['-' if np.isnan(values[kind]) else f'{values[kind]:.2f}' for kind in ('IoU', 'Acc')]
        table.add_row([name, *metrics, f'{100 * pixels / max(labelled.sum(), 1):.2f}'])
    return f'\n{table}' + (f'\nNeither labelled nor predicted: {", ".join(absent)}' if absent else '')
