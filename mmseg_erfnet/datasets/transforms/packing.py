"""The last step of a pipeline: labels that pass from a worker to training in one byte a pixel."""

import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs as _PackSegInputs

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.registry import TRANSFORMS


class LabelData(PixelData):
    """Labels as MMSegmentation has them, int64 (1, H, W), that are pickled in uint8 where they fit.

    A data loader's worker pickles what it hands over, and tensors inside lie in /dev/shm, of which a container may have
    64 MB. Heads, losses and metrics see int64 at either end.
    """

    def __reduce_ex__(self, protocol: int) -> tuple:
        data = self.get('data')
        if not isinstance(data, torch.Tensor) or data.dtype != torch.int64:
            return super().__reduce_ex__(protocol)
        others = {name: value for name, value in self.items() if name != 'data'}
        # 0 to 255 alone come back as they are.
        small = data.to(torch.uint8)
        return _restored, (small if torch.equal(small.long(), data) else data, others, dict(self.metainfo_items()))


def _restored(data: torch.Tensor, others: dict, metainfo: dict) -> LabelData:
    return LabelData(metainfo=metainfo, data=data.long(), **others)


@TRANSFORMS.register_module()
class PackSegInputs(_PackSegInputs):
    """MMSegmentation's ``PackSegInputs``, arguments and results the same, but for what passes between processes.

    Labels travel as uint8: a batch of 8 at 360x480 takes 5.5 MB of /dev/shm instead of 15.2.

    Raises:
        DataError: Labels have channels: colours that were loaded as if they were class ids.
    """

    def transform(self, results: dict) -> dict:
        """Pack a frame's ``inputs`` and ``data_samples``."""
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
    """Return the error for labels with channels, which ``LoadAnnotations`` loads as they are."""
    return DataError(
        f'{path} holds colours, and LoadAnnotations knows class ids alone; '
        "load it with dict(type='mmseg_erfnet.LoadSegLabels') in the pipeline."
    )
