"""Test-time augmentation: the mean of the probabilities over the augmentations of an image."""

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel as _SegTTAModel
from mmseg.structures import SegDataSample

from mmseg_erfnet.registry import MODELS


@MODELS.register_module()
class SegTTAModel(_SegTTAModel):
    """MMSegmentation's ``SegTTAModel``, which also works for binary heads (``out_channels=1``).

    A binary head's segmentor returns probabilities in ``seg_logits``. MMSegmentation takes their sigmoid, which is
    always above 0.5, so that every pixel becomes class 1. It also keeps the ``seg_logits`` of a single augmentation;
    here they are those of the mean, so that a metric's loss fits the labels.
    """

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        """Merge the predictions of each image's augmentations into its first sample.

        Args:
            data_samples_list: One sample per augmentation for each image; the first one has the ground truth.

        Returns:
            One sample per image: labels (1, H, W), and log probabilities (C, H, W) or, for a binary head,
            probabilities (1, H, W).
        """
        return [self._merged(samples) for samples in data_samples_list]

    def _merged(self, samples: list[SegDataSample]) -> SegDataSample:
        binary = self.module.out_channels == 1
        scores = [sample.seg_logits.data for sample in samples]
        mean = sum(score if binary else score.softmax(0) for score in scores) / len(scores)
        if binary:
            labels = (mean > self.module.decode_head.threshold).to(mean)
        else:
            labels = mean.argmax(0, keepdim=True)
            mean = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        merged = samples[0]
        merged.seg_logits, merged.pred_sem_seg = PixelData(data=mean), PixelData(data=labels)
        return merged
