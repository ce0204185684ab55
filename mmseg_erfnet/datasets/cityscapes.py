"""Cityscapes (Cordts et al., 2016) as downloaded, without converting its labels first."""

from mmseg.datasets import CityscapesDataset as _CityscapesDataset

from mmseg_erfnet.datasets.base import CheckedSegDataset
from mmseg_erfnet.datasets.labels import IGNORE
from mmseg_erfnet.registry import DATASETS

# id -> trainId of cityscapesscripts/helpers/labels.py, in the order of the 19 classes; the other ids up to 33 are void
TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NUM_IDS = 34


@DATASETS.register_module()
class CityscapesDataset(CheckedSegDataset, _CityscapesDataset):
    """Cityscapes' 19 classes from the official archives' `labelIds`, or from `labelTrainIds`, if they were generated.

    Works with `LoadSegLabels(palette=None)` and with MMSegmentation's `LoadAnnotations`.

    Args:
        seg_map_suffix: `_gtFine_labelIds.png`, with ids 0 to 33 that are mapped to the 19 train ids on loading, or
            `_gtFine_labelTrainIds.png`, with ids that are used unchanged.
        **kwargs: Arguments of `mmseg.datasets.CityscapesDataset`.

    Raises:
        DataError: See `CheckedSegDataset`.
    """

    def __init__(self, seg_map_suffix: str = '_gtFine_labelIds.png', **kwargs) -> None:
        super().__init__(seg_map_suffix=seg_map_suffix, **kwargs)

    def stored_ids(self) -> dict[int, int] | None:
        """Raw id -> train id; None if the labels contain train ids."""
        if not self.seg_map_suffix.endswith('labelIds.png'):
            return None
        return {raw: TRAIN_IDS.index(raw) if raw in TRAIN_IDS else IGNORE for raw in range(NUM_IDS)}
