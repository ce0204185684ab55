"""A decode head's loss on a CPU, without full-size logits: fused upsampling, cross entropy, gradient and accuracy.

Computed separately, as in MMSegmentation's ``loss_by_feat``, each of these steps passes over (N, C, H, W) floats in
memory, 134 MB for a batch of 16 at 256x256 with 32 classes. Here, one strip of an image at a time goes through all
steps, including the gradient, while it is in the cache. ``tests/models/test_upsampled_loss.py`` compares this with the
plain computation.

In bilinear upsampling by an integer factor f, all pixels of the same phase (y mod f, x mod f) have the same four
weights. So each phase is a sum of shifted small arrays. Its pixels are never moved to their places in the image;
instead, the labels are rearranged by phase.
"""

import math

import torch
from mmseg.models.utils import resize
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmseg_erfnet.models.losses import WeightedCrossEntropyLoss, no_class, no_sigmoid

# Floats per strip: 0.5 MB, so that three or four such arrays fit in a core's L2 cache.
STRIP = 1 << 17


class UpsampledLossMixin:
    """Faster loss for decode heads that use :class:`WeightedCrossEntropyLoss` with the reduction 'mean'.

    Other losses are computed as usual; so are those on a GPU, which does not benefit from strips, and those of a binary
    head (``out_channels=1``). The ``acc_seg`` of a binary head is the accuracy at its threshold; MMSegmentation's is
    the share of class 0. Otherwise, ``acc_seg`` counts a pixel as correct if no logit exceeds that of its label.
    """

    def _stack_batch_gt(self, batch_data_samples: list) -> Tensor:
        # Data loaders may deliver labels as uint8.
        return super()._stack_batch_gt(batch_data_samples).long()

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Compute the loss and the accuracy in percent from logits (N, C, h, w) and labels (N, 1, H, W).

        Raises:
            DataError: A label is not a class number.
            UsageError: The loss does not fit the number of logits.
        """
        label = self._stack_batch_gt(batch_data_samples).squeeze(1)
        if self.out_channels == 1:
            return self._binary_loss(seg_logits, batch_data_samples, label)
        criteria = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        factor = label.shape[-1] // seg_logits.shape[-1]
        if not (
            seg_logits.device.type == 'cpu'
            and all(map(_is_plain_mean, criteria))
            and self.sampler is None
            and self.ignore_index is not None
            and not self.align_corners
            and label.shape[1:] == (factor * seg_logits.shape[2], factor * seg_logits.shape[3])
        ):
            return super().loss_by_feat(seg_logits, batch_data_samples)
        losses = {}
        for criterion in criteria:
            criterion.check_classes(seg_logits.shape[1])
            loss, accuracy = UpsampledCrossEntropy.apply(seg_logits, label, criterion.class_weight, self.ignore_index)
            name = criterion.loss_name
            losses[name] = losses.get(name, 0) + criterion.loss_weight * loss
        return losses | dict(acc_seg=accuracy)

    def _binary_loss(self, seg_logits: Tensor, batch_data_samples: list, label: Tensor) -> dict[str, Tensor]:
        try:
            losses = super().loss_by_feat(seg_logits, batch_data_samples)
        except IndexError as error:  # a softmax over one logit has no class 1
            raise no_sigmoid() from error
        with torch.no_grad():
            score = resize(seg_logits, label.shape[1:], mode='bilinear', align_corners=self.align_corners)
            right = (score[:, 0].sigmoid() > self.threshold) == (label == 1)
            valid = torch.ones_like(right) if self.ignore_index is None else label != self.ignore_index
            losses['acc_seg'] = 100 * (right & valid).sum() / valid.sum().clamp(min=1).view(1)
        return losses


def _is_plain_mean(criterion: nn.Module) -> bool:
    return (
        type(criterion) is WeightedCrossEntropyLoss
        and criterion.reduction == 'mean'
        and (criterion.avg_non_ignore or criterion.class_weight is not None)
    )


class UpsampledCrossEntropy(torch.autograd.Function):
    """Weighted mean cross entropy and accuracy of bilinearly upsampled logits.

    Its arguments are logits (N, C, h, w), int64 labels (N, f h, f w), one weight per class or None, and the label to
    ignore. It computes in float32 and sums in float64.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, label: Tensor, class_weight: Tensor | None, ignore_index: int):
        images, classes, height, width = logits.shape
        factor = label.shape[-1] // width
        valid = label != ignore_index
        label = torch.where(valid, label, 0)
        if label.min() < 0 or label.max() >= classes:
            raise no_class(label.max() if label.max() >= classes else label.min(), classes)
        weight = valid.float() if class_weight is None else class_weight[label] * valid
        # If no pixel counts, the sum of the losses is 0 too: return 0 rather than 0 / 0.
        weight /= weight.sum(dtype=torch.float64).clamp(min=torch.finfo(torch.float32).tiny)
        label, weight, valid = (_phases_of(pixels, factor) for pixels in (label, weight, valid))

        rows = max(1, STRIP // (classes * width))
        grad = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        loss, right = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        for image in range(images):
            # In units of log 2, because exp2 takes a third of the time of exp. Edges are padded by repeating one pixel.
            scores = F.pad(logits[image].float() * math.log2(math.e), (1, 1, 1, 1), mode='replicate')
            scores_grad = None if grad is None else torch.zeros_like(scores)
            for top in range(0, height, rows):
                inside, around = slice(top, top + rows), slice(top, min(top + rows, height) + 2)
                part_loss, part_right = _strip(
                    scores[:, around],
                    label[image, ..., inside, :],
                    weight[image, ..., inside, :],
                    valid[image, ..., inside, :],
                    None if grad is None else scores_grad[:, around],
                )
                loss += part_loss
                right += part_right
            if grad is not None:
                grad[image] = _unpadded(scores_grad)
        if grad is not None:
            ctx.save_for_backward(grad)
        eps = torch.finfo(torch.float32).eps  # as in mmseg's accuracy
        accuracy = ((right + eps) * (100 / (valid.sum() + eps))).float().view(1)
        ctx.mark_non_differentiable(accuracy)
        return loss.float() * math.log(2), accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_grad: Tensor, accuracy_grad: Tensor):
        (grad,) = ctx.saved_tensors
        return grad * loss_grad, None, None, None


def _phases_of(pixels: Tensor, factor: int) -> Tensor:
    """Rearrange (N, f h, f w) into (N, f, f, h, w)."""
    images, height, width = pixels.shape
    pixels = pixels.view(images, height // factor, factor, width // factor, factor)
    return pixels.permute(0, 2, 4, 1, 3).contiguous()


def _neighbours(factor: int) -> list[tuple[int, float]]:
    """Return, for each phase along one axis, the start of its second source in a padded row, and its weight."""
    shifts = [(phase + 0.5) / factor - 0.5 for phase in range(factor)]
    return [(0 if shift < 0 else 2, abs(shift)) for shift in shifts]


def _strip(scores: Tensor, label: Tensor, weight: Tensor, valid: Tensor, grad: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the loss, in units of log 2, and the number of correct pixels; add the gradient to ``grad``.

    Args:
        scores: (C, h + 2, w + 2), in units of log 2.
        label: (f, f, h, w); any class where ``valid`` is false.
        weight: Same shape; 0 where ``valid`` is false.
        valid: Same shape.
        grad: Same shape as ``scores``, or None.
    """
    loss, right = 0, 0
    height, width = label.shape[2:]
    neighbours = _neighbours(len(label))
    for y, (start_y, share_y) in enumerate(neighbours):
        other = slice(start_y, start_y + height)
        row = torch.lerp(scores[:, 1:-1], scores[:, other], share_y)
        row_grad = None if grad is None else torch.zeros_like(row)
        for x, (start_x, share_x) in enumerate(neighbours):
            next_to = slice(start_x, start_x + width)
            score = torch.lerp(row[..., 1:-1], row[..., next_to], share_x)
            index = label[y, x][None]
            most = score.amax(0)
            own = score.gather(0, index)[0]
            right += ((own == most) & valid[y, x]).sum()
            powers = score.sub_(most).exp2_()
            total = powers.sum(0)
            loss += ((total.log2() + most - own) * weight[y, x]).sum(dtype=torch.float64)
            if grad is not None:
                score_grad = powers.mul_(weight[y, x] / total).scatter_add_(0, index, -weight[y, x][None])
                row_grad[..., 1:-1].add_(score_grad, alpha=1 - share_x)
                row_grad[..., next_to].add_(score_grad, alpha=share_x)
        if grad is not None:
            grad[:, 1:-1].add_(row_grad, alpha=1 - share_y)
            grad[:, other].add_(row_grad, alpha=share_y)
    return loss, right


def _unpadded(grad: Tensor) -> Tensor:
    """Reduce (C, h + 2, w + 2) to (C, h, w), adding the gradients of the padding to the pixels that it repeats."""
    grad[:, 1] += grad[:, 0]
    grad[:, -2] += grad[:, -1]
    grad[..., 1] += grad[..., 0]
    grad[..., -2] += grad[..., -1]
    return grad[:, 1:-1, 1:-1]
