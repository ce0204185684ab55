"""CamVid, the Cambridge-driving Labeled Video Database (Brostow, Fauqueur and Cipolla, 2008).

701 frames of 960x720 with RGB labels in 32 colours, in the layout of the two official archives, unpacked::

    data/camvid/701_StillsRaw_full/NAME.png
    data/camvid/LabeledApproved_full/NAME_L.png
    data/camvid/splits/{train,val,test,trainval}.txt
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from mmengine.dataset import BaseDataset

from mmseg_erfnet.datasets.base import CheckedSegDataset
from mmseg_erfnet.datasets.labels import IGNORE
from mmseg_erfnet.datasets.wrappers import frames_of
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.registry import DATASETS

# http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/data/label_colors.txt, in the same order
COLOURS = {
    'Animal': [64, 128, 64],
    'Archway': [192, 0, 128],
    'Bicyclist': [0, 128, 192],
    'Bridge': [0, 128, 64],
    'Building': [128, 0, 0],
    'Car': [64, 0, 128],
    'CartLuggagePram': [64, 0, 192],
    'Child': [192, 128, 64],
    'Column_Pole': [192, 192, 128],
    'Fence': [64, 64, 128],
    'LaneMkgsDriv': [128, 0, 192],
    'LaneMkgsNonDriv': [192, 0, 64],
    'Misc_Text': [128, 128, 64],
    'MotorcycleScooter': [192, 0, 192],
    'OtherMoving': [128, 64, 64],
    'ParkingBlock': [64, 192, 128],
    'Pedestrian': [64, 64, 0],
    'Road': [128, 64, 128],
    'RoadShoulder': [128, 128, 192],
    'Sidewalk': [0, 0, 192],
    'SignSymbol': [192, 128, 128],
    'Sky': [128, 128, 128],
    'SUVPickupTruck': [64, 128, 192],
    'TrafficCone': [0, 0, 64],
    'TrafficLight': [0, 64, 64],
    'Train': [192, 64, 128],
    'Tree': [128, 128, 0],
    'Truck_Bus': [192, 128, 192],
    'Tunnel': [64, 0, 64],
    'VegetationMisc': [192, 192, 0],
    'Void': [0, 0, 0],
    'Wall': [64, 192, 0],
}
CLASSES = tuple(COLOURS)
PALETTE = list(COLOURS.values())

# The 11 classes of SegNet (Badrinarayanan, Kendall and Cipolla, 2017) in the order of its labels. The first class of
# each group gives the group its colour, and is the only one that counts with grouping='exact'.
GROUPS = {
    'Sky': ('Sky',),
    'Building': ('Building', 'Archway', 'Bridge', 'Tunnel', 'Wall'),
    'Pole': ('Column_Pole', 'TrafficCone'),
    'Road': ('Road', 'LaneMkgsDriv', 'LaneMkgsNonDriv'),
    'Pavement': ('Sidewalk', 'ParkingBlock', 'RoadShoulder'),
    'Tree': ('Tree', 'VegetationMisc'),
    'SignSymbol': ('SignSymbol', 'Misc_Text', 'TrafficLight'),
    'Fence': ('Fence',),
    'Car': ('Car', 'SUVPickupTruck', 'Truck_Bus', 'Train', 'OtherMoving'),
    'Pedestrian': ('Pedestrian', 'Child', 'CartLuggagePram', 'Animal'),
    'Bicyclist': ('Bicyclist', 'MotorcycleScooter'),
}
CLASSES11 = tuple(GROUPS)
PALETTE11 = [COLOURS[members[0]] for members in GROUPS.values()]

FRAMES, LABELS = '701_StillsRaw_full', 'LabeledApproved_full'
SPLITS = Path(__file__).with_name('splits')


def standard_split(name: str) -> list[str]:
    """Return the names in a standard (SegNet's) split: `train` 367, `val` 101, `test` 233, `trainval` 468.

    Raises:
        UsageError: There is no such split.
    """
    parts = {'train': ['train'], 'val': ['val'], 'test': ['test'], 'trainval': ['train', 'val']}
    if name not in parts:
        raise UsageError(f'CamVid has no split {name!r}; choose one of {", ".join(parts)}.')
    return sorted(line for part in parts[name] for line in (SPLITS / f'{part}.txt').read_text().split())


def random_split(names: Iterable[str], val: int = 128, seed: int = 0) -> tuple[list[str], list[str]]:
    """Draw a validation split, the same on every machine and for any order of the names.

    The names are sorted by a hash instead of a random generator, whose stream may change with a library's version.
    Consecutive frames are near copies, so scores on such a split are higher than on the standard split.

    Args:
        names: The names of the frames, without duplicates.
        val: Number of validation frames; 128 of 701 in the TensorFlow run that this project started from.
        seed: Another seed draws another split.

    Returns:
        The names for training and those for validation, each sorted.

    Raises:
        UsageError: There is a duplicate name, fewer than two, or no frames are left for training.
    """
    names = list(names)
    if len(set(names)) != len(names):
        raise UsageError('random_split needs each name once.')
    if len(names) < 2:
        raise UsageError(f'a split needs at least two frames, but there is {len(names)}; add more.')
    if not 0 < val < len(names):
        raise UsageError(f'cannot validate on {val} of {len(names)} frames; choose val from 1 to {len(names) - 1}.')
    drawn = sorted(names, key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).digest())
    return sorted(drawn[val:]), sorted(drawn[:val])


def check_disjoint(train: BaseDataset, other: BaseDataset, name: str = 'validation') -> None:
    """Check that no frame is both in the training set and in a set that is scored.

    Frames are the same if their files are the same, or if both have the same one of CamVid's 701 names in any folder.

    Args:
        train: The training dataset, wrapped or not.
        other: The dataset to score, wrapped or not.
        name: The name of its split in the message.

    Raises:
        DataError: A frame is in both.
    """
    names = {name for split in ('train', 'val', 'test') for name in standard_split(split)}

    def frames(dataset: BaseDataset) -> set[str]:
        paths = [Path(inner.get_data_info(index)['img_path']) for inner, index in frames_of(dataset)]
        return {path.stem if path.stem in names else str(path.resolve()) for path in paths}

    both = sorted(frames(train) & frames(other))
    if both:
        raise DataError(
            f'{len(both)} frames are in the training and in the {name} split, {", ".join(both[:3])} '
            'among them; remove them from one of the two ann_file lists.'
        )


class _CamVid(CheckedSegDataset):
    def __init__(
        self,
        img_suffix: str = '.png',
        seg_map_suffix: str = '_L.png',
        data_prefix: dict = {'img_path': FRAMES, 'seg_map_path': LABELS},
        **kwargs,
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, data_prefix=data_prefix, **kwargs)

    def filter_data(self) -> list[dict]:
        """Keep the frames of the sequences that `filter_cfg` selects.

        Raises:
            UsageError: `filter_cfg` has another key, or names a sequence without frames in the split.
        """
        if not self.filter_cfg:
            return self.data_list
        (key, named), *others = self.filter_cfg.items()
        if key not in ('only', 'without') or others:
            raise UsageError(
                'filter_cfg is dict(only=...) or dict(without=...), one sequence or a list of them: got '
                f'{self.filter_cfg}.'
            )
        named = named if isinstance(named, (list, tuple)) else [named]
        # 0016E5_08370: the sequence, and the number of the frame.
        sequences = [Path(info['img_path']).stem.partition('_')[0] for info in self.data_list]
        unknown = [str(name) for name in named if name not in sequences]
        if unknown or not named:
            raise UsageError(
                f'filter_cfg names {", ".join(unknown) or "no sequence"}; {self.ann_file or "the data"} '
                f'has {", ".join(sorted(set(sequences)))}. (--cfg-options reads 0016E5 as a number: '
                'name the others.)'
            )
        return [
            info
            for sequence, info in zip(sequences, self.data_list, strict=True)
            if (sequence in named) == (key == 'only')
        ]


@DATASETS.register_module()
class CamVidDataset(_CamVid):
    """CamVid's 32 classes in the official order, to be loaded with `LoadSegLabels`.

    `metainfo=dict(classes=[...])` selects or reorders classes, as in every dataset of MMSegmentation.

    Args:
        ignore_void: Map the pixels of Void to 255, which loss and metrics ignore. There are still 32 classes.
        **kwargs: Arguments of `mmseg.datasets.BaseSegDataset`, for instance `ann_file='splits/train.txt'`.
            `filter_cfg=dict(without='0006R0')` holds out a sequence, `dict(only='0006R0')` keeps only that one.

    Raises:
        UsageError: There is no such sequence.
        DataError: See `CheckedSegDataset`.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE}

    def __init__(self, ignore_void: bool = False, **kwargs) -> None:
        self.ignore_void = ignore_void
        super().__init__(**kwargs)

    def stored_ids(self) -> dict[int, int] | None:
        """Map Void to 255 if `ignore_void`."""
        if not self.ignore_void:
            return None
        return {index: IGNORE if name == 'Void' else index for index, name in enumerate(CLASSES)}


@DATASETS.register_module()
class CamVid11Dataset(_CamVid):
    """CamVid's 11 classes of the literature, from the same 32-colour labels, to be loaded with `LoadSegLabels`.

    Args:
        grouping: `segnet` merges the 32 classes into 11 groups (`GROUPS`) and ignores Void, as published results at
            360x480 do; `exact` counts the 11 colours that the groups are named after and ignores the other 21, as
            results at 720x960 do. The two scores are not comparable.
        **kwargs: Arguments of `mmseg.datasets.BaseSegDataset`, for instance `ann_file='splits/train.txt'`.
            `filter_cfg=dict(without='0006R0')` holds out a sequence, `dict(only='0006R0')` keeps only that one.

    Raises:
        UsageError: There is no such grouping, or no such sequence.
        DataError: See `CheckedSegDataset`.
    """

    METAINFO = {'classes': CLASSES11, 'palette': PALETTE11}

    def __init__(self, grouping: str = 'segnet', **kwargs) -> None:
        if grouping not in ('segnet', 'exact'):
            raise UsageError(f"grouping is 'segnet' or 'exact', not {grouping!r}.")
        self.grouping = grouping
        super().__init__(**kwargs)

    def stored_ids(self) -> dict[int, int]:
        """Map each of the 32 classes to its group or to 255."""
        group_of = {
            member: index
            for index, members in enumerate(GROUPS.values())
            for member in (members if self.grouping == 'segnet' else members[:1])
        }
        return {index: group_of.get(name, IGNORE) for index, name in enumerate(CLASSES)}
