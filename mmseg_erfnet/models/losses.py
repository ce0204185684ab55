"""Losses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.registry import MODELS


@MODELS.register_module()
class WeightedCrossEntropyLoss(nn.Module):
    """Cross entropy with torch's weighted mean: each pixel weighs what its label's class weighs, ignored ones nothing.

    It differs from MMSegmentation's ``CrossEntropyLoss`` in three ways: labels of 255 and class weights go together
    (there an IndexError), the mean is over the weights (there over all pixels, by default), and a batch without any
    label gives 0 with a graph (torch's weighted mean: NaN). It computes in float32 under autocast, too.

    Args:
        class_weight: One weight a class, none negative; None for equal weights.
        reduction: 'mean', 'sum' or 'none'.
        loss_weight: Factor of the loss.
        loss_name: Name in the log; without the prefix 'loss_' it is not part of the sum that is minimised.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
    ):
        super().__init__()
        if reduction not in ('mean', 'sum', 'none'):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none': got {reduction!r}.")
        if isinstance(class_weight, (str, dict)):
            raise ValueError(f'class_weight must be a list with one number a class: got {class_weight!r}.')
        if class_weight is not None:
            class_weight = torch.as_tensor(class_weight, dtype=torch.float32)
            if class_weight.ndim != 1 or not (class_weight.isfinite() & (class_weight >= 0)).all():
                raise ValueError(
                    f'class_weight must be a list of finite numbers from 0 up: got {class_weight.tolist()}.'
                )
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        # Not in the state dict: checkpoints load whatever the weights.
        self.register_buffer('class_weight', class_weight, persistent=False)

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        ignore_index: int = 255,
        **kwargs,
    ) -> Tensor:
        """The loss; the arguments are those with which MMSegmentation's heads call theirs.

        Args:
            cls_score: Logits, (N, C, H, W).
            label: Class numbers, (N, H, W), int64.
            weight: A factor a pixel, (N, H, W), as from a pixel sampler; in the mean it multiplies the class weight.
            avg_factor: What a mean divides the sum by instead.
            reduction_override: Replaces ``reduction``.
            ignore_index: The label that counts for nothing.
            kwargs: Taken and not used.

        Returns:
            A scalar, or (N, H, W) for the reduction 'none'; float32.

        Raises:
            ValueError: If there is another number of class weights than of classes, or an ``avg_factor`` with a sum.
        """
        reduction = reduction_override or self.reduction
        self.check_classes(cls_score.shape[1])
        if avg_factor is not None and reduction == 'sum':
            raise ValueError("avg_factor goes with reduction='mean', not with 'sum'.")

        with torch.autocast(cls_score.device.type, enabled=False):
            pixels = F.cross_entropy(
                cls_score.float(), label, self.class_weight, ignore_index=ignore_index, reduction='none'
            )
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

    def check_classes(self, classes: int) -> None:
        """Raise a ValueError if there is another number of class weights than of classes."""
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise ValueError(f'class_weight has {len(self.class_weight)} numbers, but the model has {classes} classes.')

    def _sum_of_weights(self, label: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        valid = label != ignore_index
        if self.class_weight is None:
            weights = valid.float()
        else:
            weights = self.class_weight[torch.where(valid, label, 0)] * valid
        if weight is not None:
            weights = weights * weight
        # Where nothing counts the sum of the losses is 0, too: 0 and not 0 / 0.
        return weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
