"""The last step of a pipeline: it packs labels so that workers send one byte per pixel to the training process."""

import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs as _PackSegInputs

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.registry import TRANSFORMS


class LabelData(PixelData):
    """Labels in MMSegmentation's form, int64 (1, H, W), that are pickled as uint8 if all values fit.

    A data loader's worker pickles its batches and puts their tensors in /dev/shm, which may have only 64 MB in a
    container. Heads, losses and metrics get int64 on both sides.
    """

    def __reduce_ex__(self, protocol: int) -> tuple:
        data = self.get('data')
        if not isinstance(data, torch.Tensor) or data.dtype != torch.int64:
            return super().__reduce_ex__(protocol)
        others = {name: value for name, value in self.items() if name != 'data'}
        # Only 0 to 255 survive the conversion.
        small = data.to(torch.uint8)
        return _restored, (small if torch.equal(small.long(), data) else data, others, dict(self.metainfo_items()))


def _restored(data: torch.Tensor, others: dict, metainfo: dict) -> LabelData:
    return LabelData(metainfo=metainfo, data=data.long(), **others)


@TRANSFORMS.register_module()
class PackSegInputs(_PackSegInputs):
    """MMSegmentation's ``PackSegInputs``, with the same arguments and results, but smaller transfers between processes.

    Labels are sent as uint8: a batch of 8 at 360x480 takes 5.5 MB of /dev/shm instead of 15.2.

    Raises:
        DataError: Labels have channels, because colours were loaded as if they were class ids.
    """

    def transform(self, results: dict) -> dict:
        """Pack the ``inputs`` and ``data_samples`` of a frame."""
        label = results.get('gt_seg_map')
        if label is not None and label.ndim != 2:
            raise colours_not_ids(results.get('seg_map_path', 'The label'))
        packed = super().transform(results)
        if label is not None:
            sample = packed['data_samples']
            data = sample.gt_sem_seg.data
            del sample.gt_sem_seg
            sample.gt_sem_seg = LabelData(data=data)
        return packed


def colours_not_ids(path: str) -> DataError:
    """Return the error for labels with channels, which ``LoadAnnotations`` loads unchanged."""
    return DataError(
        f'{path} contains colours, but LoadAnnotations reads only class ids; '
        "load it with dict(type='mmseg_erfnet.LoadSegLabels') in the pipeline."
    )
