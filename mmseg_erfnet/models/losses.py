"""Losses."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.registry import MODELS

REDUCTIONS = ('mean', 'sum', 'none')


@MODELS.register_module()
class WeightedCrossEntropyLoss(nn.Module):
    """Cross entropy with torch's weighted mean: pixels are weighted by the class of their label, ignored ones by 0.

    It takes the arguments of MMSegmentation's ``CrossEntropyLoss`` and differs in three ways. Labels of 255 work with
    class weights (MMSegmentation raises an IndexError). The sum is divided by the sum of the weights (MMSegmentation
    divides by the number of all pixels, unless ``avg_non_ignore`` is set). A batch without any labelled pixel gives a
    differentiable 0 (torch's weighted mean gives NaN). The loss is computed in float32, even under autocast.

    Args:
        class_weight: One non-negative weight per class, or a ``.npy`` or ``.json`` file of them; None for equal
            weights.
        reduction: 'mean', 'sum' or 'none'.
        loss_weight: Factor that multiplies the loss.
        loss_name: Name in the log; without the prefix 'loss_' it is not part of the sum that is minimised.
        use_sigmoid: For a binary head (``out_channels=1``), whose logit is that of class 1 against class 0.
        use_mask: Must be False.
        avg_non_ignore: Whether the mean without class weights excludes ignored pixels; with them it always does.

    Raises:
        UsageError: If an argument is out of range.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | str | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
        *,
        use_sigmoid: bool = False,
        use_mask: bool = False,
        avg_non_ignore: bool = True,
    ):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise UsageError(f"reduction must be 'mean', 'sum' or 'none': got {reduction!r}.")
        if use_mask:
            raise UsageError(
                "WeightedCrossEntropyLoss does not support masks: leave use_mask out, or use type='CrossEntropyLoss'."
            )
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        self.use_sigmoid = use_sigmoid
        self.avg_non_ignore = avg_non_ignore
        # Not in the state dict, so that checkpoints load with any class weights.
        self.register_buffer('class_weight', _class_weight(class_weight), persistent=False)

    def extra_repr(self) -> str:
        """Return the text that a printed model shows for the loss."""
        return f'avg_non_ignore={self.avg_non_ignore}'

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = 255,
        **kwargs,
    ) -> Tensor:
        """Compute the loss; the arguments are those that MMSegmentation's heads pass to a loss.

        Args:
            cls_score: Logits, (N, C, H, W), or (N, 1, H, W) with ``use_sigmoid``.
            label: Class numbers, (N, H, W), integers.
            weight: One factor per pixel, (N, H, W), as from a pixel sampler; for a mean it multiplies the class weight.
            avg_factor: Divisor of the sum for a mean, instead of the sum of the weights.
            reduction_override: Replaces ``reduction``.
            ignore_index: The label of ignored pixels, if any.
            kwargs: Ignored.

        Returns:
            A scalar, or (N, H, W) for the reduction 'none'; float32.

        Raises:
            DataError: A label is not a class number (on a CPU; on a GPU, a CUDA assertion fails instead).
            UsageError: If the number of class weights differs from the number of classes, ``use_sigmoid`` does not fit
                the number of logits, or ``avg_factor`` is combined with the reduction 'sum'.
        """
        reduction = reduction_override or self.reduction
        self.check_classes(cls_score.shape[1])
        if avg_factor is not None and reduction == 'sum':
            raise UsageError("avg_factor goes with reduction='mean', not with 'sum'.")
        ignore_index = -100 if ignore_index is None else ignore_index  # torch's default
        label = label.long()

        with torch.autocast(cls_score.device.type, enabled=False):
            logits = cls_score.float()
            if self.use_sigmoid:
                # The sigmoid of a logit equals the softmax over 0 and that logit.
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            try:
                pixels = F.cross_entropy(logits, label, self.class_weight, ignore_index=ignore_index, reduction='none')
            except IndexError as error:
                raise no_class(label[label != ignore_index].max(), logits.shape[1]) from error
            if weight is not None:
                pixels = pixels * weight
            if reduction == 'none':
                return self.loss_weight * pixels
            total = pixels.sum()
            if reduction == 'sum':
                return self.loss_weight * total
            if avg_factor is None:
                avg_factor = self._sum_of_weights(label, weight, ignore_index)
            return self.loss_weight * total / avg_factor

    def check_classes(self, logits: int) -> None:
        """Check the number of logits, C of (N, C, H, W).

        Raises:
            UsageError: The class weights or ``use_sigmoid`` do not match it.
        """
        if self.use_sigmoid and logits != 1:
            raise UsageError(
                f'use_sigmoid is for a binary head, but the model has {logits} outputs: set out_channels=1 in the '
                "head, use_sigmoid=False, or type='CrossEntropyLoss'."
            )
        if logits == 1 and not self.use_sigmoid:
            raise no_sigmoid()
        classes = max(logits, 2)
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise UsageError(
                f'class_weight has {len(self.class_weight)} numbers, but the model has {classes} classes: give one '
                'for each class.'
            )

    def _sum_of_weights(self, label: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        valid = label != ignore_index
        if self.class_weight is not None:
            weights = self.class_weight[torch.where(valid, label, 0)] * valid
        elif self.avg_non_ignore:
            weights = valid.float()
        else:
            weights = torch.ones_like(label, dtype=torch.float32)
        if weight is not None:
            weights = weights * weight
        # If no pixel counts, the sum of the losses is 0 too: return 0 rather than 0 / 0.
        return weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def no_class(label: int, classes: int) -> DataError:
    """Return the error for a label that is not a class number."""
    return DataError(
        f'A label is {int(label)}, but the model has {classes} classes: set num_classes in the head, or check the '
        'labels and ignore_index.'
    )


def no_sigmoid() -> UsageError:
    """Return the error for a binary head whose loss uses a softmax."""
    return UsageError('A head with out_channels=1 is trained with a sigmoid: set use_sigmoid=True in its loss.')


def _class_weight(weights: Sequence[float] | str | None) -> Tensor | None:
    """Return the weights as float32 (classes,)."""
    given = weights
    if isinstance(weights, str):
        weights = _weights_of_file(Path(weights))
    if weights is None:
        return None
    try:
        values = np.asarray(weights, np.float32)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.ndim != 1 or not values.size or not (np.isfinite(values) & (values >= 0)).all():
        raise UsageError(f'class_weight must be a list of finite numbers from 0 up, one for each class: got {given!r}.')
    return torch.from_numpy(values.copy())


def _weights_of_file(path: Path) -> object:
    """Read weights as MMSegmentation's losses do, except from pickles and YAML, which can contain code."""
    try:
        if path.suffix == '.npy':
            return np.load(path, allow_pickle=False)
        if path.suffix == '.json':
            return json.loads(path.read_bytes())
    except (OSError, ValueError, EOFError, RecursionError) as error:
        raise UsageError(
            f'class_weight={str(path)!r} cannot be read ({error}): name a .npy or .json file with one number for each '
            'class, or give a list.'
        ) from error
    raise UsageError(f'class_weight={str(path)!r} is neither a .npy nor a .json file: save it as one, or give a list.')
