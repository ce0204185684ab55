"""The base class of our datasets: it checks files, and maps stored label ids to class ids."""

import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.dataset import Compose
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.datasets.cache import SharedCache
from mmseg_erfnet.datasets.labels import IGNORE
from mmseg_erfnet.datasets.pipelines import FIXED_STEPS, LABEL_STEPS, step_name
from mmseg_erfnet.datasets.split_lists import parse_split
from mmseg_erfnet.errors import DataError, UsageError, UserError
from mmseg_erfnet.files import shown
from mmseg_erfnet.images import check_frame, decode_frame


class CheckedSegDataset(BaseSegDataset):
    """A `BaseSegDataset` that checks its files.

    An empty split, a duplicate name, and a missing image or label are errors at construction. The bytes of each frame
    are checked whenever they are read, so a file that becomes damaged during training is named, too.

    The ids in the label files may differ from those of `METAINFO['classes']`: `stored_ids` maps them, and reaches the
    loading transform as MMSegmentation's own `label_map`.

    Args:
        cache_gb: Memory, in 10^9 bytes, for the output of the pipeline's steps before the first random one: frames
            that are decoded, and resized if `Resize` is among these steps. All workers of this process share it, and
            no file is read twice while there is room. Samples are the same with and without it. 0 disables it.
        **kwargs: Arguments for `BaseSegDataset`.
    """

    def __init__(self, *args, cache_gb: float = 0, **kwargs) -> None:
        if not cache_gb >= 0:
            raise UsageError(f'cache_gb is memory for decoded frames in GB, 0 for none: got {cache_gb}.')
        self.cache_gb = cache_gb
        self.cache = None
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Read the split, as in `BaseDataset`, and set up the cache before workers are started."""
        if not self._fully_initialized:
            super().full_init()
            if self.cache_gb:
                paths = [self.get_data_info(index)['img_path'] for index in range(len(self))]
                try:
                    self.cache = SharedCache(paths, int(self.cache_gb * 1e9))
                except (OSError, OverflowError) as error:
                    raise UsageError(
                        f'cache_gb={self.cache_gb:g} is more than the memory here; set it lower.'
                    ) from error

    def stored_ids(self) -> dict[int, int] | None:
        """The class id, or 255, of each id in the label files; None if the files contain class ids."""
        return None

    def get_label_map(self, new_classes: list[str] | None = None) -> dict[int, int] | None:
        """Stored id -> id of one of `new_classes`; see `BaseSegDataset.get_label_map`."""
        to_new = super().get_label_map(new_classes)
        stored = self.stored_ids()
        if stored is None or to_new is None:
            return to_new if stored is None else stored
        return {old: to_new.get(new, IGNORE) for old, new in stored.items()}

    def _update_palette(self) -> list:
        # The inherited method uses label_map's keys as positions in the palette, and ignores a mere reordering.
        classes, palette = self._metainfo.get('classes', ()), self._metainfo.get('palette', ())
        if palette and palette == self.METAINFO.get('palette'):
            colours = dict(zip(self.METAINFO['classes'], palette, strict=True))
            return [colours[name] for name in classes]
        if palette and len(palette) != len(classes):
            raise UsageError(
                f'metainfo has {len(classes)} classes and a palette of {len(palette)} colours; '
                'give one colour per class, or leave the palette out.'
            )
        return super()._update_palette()

    def load_data_list(self) -> list[dict]:
        """List the split's images and labels, and check that they exist.

        Raises:
            DataError: A folder or the split cannot be read, the split is empty or names a frame twice, or a file is
                missing.
        """
        if self.backend_args is None:
            for folder in filter(None, self.data_prefix.values()):
                _check_folder(folder)
        infos = self._infos()
        if not infos and self.ann_file:
            raise DataError(f'the split {self.ann_file} is empty; write one name per line, without suffix.')
        if not infos:
            raise DataError(
                f'no file in {self.data_prefix["img_path"]} ends in {self.img_suffix!r}; '
                'check data_root, data_prefix and img_suffix.'
            )
        missing = [
            path
            for info in infos
            for path in (info['img_path'], info.get('seg_map_path'))
            if path is not None and not fileio.isfile(path, backend_args=self.backend_args)
        ]
        if missing:
            raise DataError(
                f'{missing[0]} is missing{f" ({len(missing)} files in all)" if len(missing) > 1 else ""}, '
                f'which {self.ann_file or "its counterpart"} requires; restore it, or remove its name from '
                'the split.'
            )
        return infos

    def _infos(self) -> list[dict]:
        return self._named_infos() if self.ann_file else super().load_data_list()

    def _named_infos(self) -> list[dict]:
        names = self._names()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f'{self.ann_file} names {", ".join(twice[:5])} more than once; keep one line for each.')
        images, labels = self.data_prefix['img_path'], self.data_prefix.get('seg_map_path')
        infos = []
        for name in names:
            info = {'img_path': os.path.join(images, self._frame_file(name))}
            if labels is not None:
                info['seg_map_path'] = os.path.join(labels, name + self.seg_map_suffix)
            info.update(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label, seg_fields=[])
            infos.append(info)
        return infos

    def _names(self) -> list[str]:
        """The names in the list of the split."""
        try:
            data = fileio.get(self.ann_file, backend_args=self.backend_args)
        except (OSError, ValueError) as error:
            raise DataError(
                f'the split {self.ann_file} cannot be read ({error}); it should contain one name per line. '
                'For CamVid, tools/prepare_camvid.py writes the splits.'
            ) from error
        return parse_split(data, f'the split {self.ann_file}')

    def _frame_file(self, name: str) -> str:
        """The file name of a frame in the folder of frames."""
        return name + self.img_suffix

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes in a frame's label, for MMEngine's `ClassBalancedDataset`.

        Raises:
            UsageError: The pipeline loads no labels.
            DataError: The label cannot be loaded.
        """
        load = next((step for step in self.pipeline.transforms if step_name(step) in LABEL_STEPS), None)
        if load is None:
            raise UsageError('the pipeline of the dataset loads no labels to balance; add mmseg_erfnet.LoadSegLabels.')
        return np.setdiff1d(load(self.get_data_info(idx))['gt_seg_map'], [IGNORE]).tolist()

    def prepare_data(self, idx: int) -> Any:
        """Fetch a sample through the pipeline.

        Raises:
            DataError: The image is missing, not a regular file, empty, in an unsupported format, truncated, damaged,
                too large, grey, RGBA or of 16 bits, or stored rotated so that its label may not fit.
        """
        info = self.get_data_info(idx)
        path = info['img_path']
        if self.cache is None:
            return self._load(info, self.pipeline)
        fixed, others = self._steps()
        results = self.cache.get(path)
        if results is None:
            results = self._load(info, fixed)
            self.cache.put(path, results)
        results['sample_idx'] = info['sample_idx']
        return others(results)

    def _load(self, info: dict, steps: Compose) -> Any:
        path = info['img_path']
        data = read_bytes(path, self.backend_args)
        check_frame(data, path)
        try:
            return steps(info)
        except UserError:
            raise
        except Exception:
            # The loader may use another decoder than the check; if the frame is the cause, report that.
            decode_frame(data, path)
            raise

    def _steps(self) -> tuple[Compose, Compose]:
        """The pipeline up to the first step that is not known to be deterministic, and the rest."""
        steps = self.pipeline.transforms
        kinds = [step_name(step) in FIXED_STEPS for step in steps]
        number = (kinds + [False]).index(False)
        return Compose(steps[:number]), Compose(steps[number:])


def read_bytes(path: str, backend_args: dict | None = None) -> bytes:
    """Read a whole file through MMEngine's backends.

    Raises:
        DataError: It is missing, cannot be read, or is not a regular file.
    """
    if backend_args is None and _is_special(path):
        raise DataError(f'{shown(path)} is not a regular file; restore it, or remove its name from the split.')
    try:
        return fileio.get(path, backend_args=backend_args)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f'{shown(path)} cannot be read ({reason}); restore it, or remove its name from the split.'
        ) from error


def _is_special(path: str) -> bool:
    """Whether the path is a pipe or a device, from which reading might never end."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _check_folder(folder: str) -> None:
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise DataError(
            f'the folder {folder} cannot be read ({error.strerror}); check data_root and data_prefix. '
            'For CamVid, tools/prepare_camvid.py creates it.'
        ) from error
