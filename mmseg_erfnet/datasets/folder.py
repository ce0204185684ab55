"""Your own data: a folder of frames, a folder of labels, and a list of the classes."""

import os
from functools import cached_property
from pathlib import PurePosixPath

from mmengine import fileio

from mmseg_erfnet.datasets.base import CheckedSegDataset
from mmseg_erfnet.datasets.classes import OWN_NAME, Classes, parse_table
from mmseg_erfnet.datasets.labels import IGNORE
from mmseg_erfnet.datasets.split_lists import decode_text
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.images import IMAGE_SUFFIXES
from mmseg_erfnet.registry import DATASETS


@DATASETS.register_module()
class FolderDataset(CheckedSegDataset):
    """A folder written by `tools/prepare_dataset.py`, or any other with a `classes.csv`::

        data/NAME/images/FRAME.jpg
        data/NAME/labels/FRAME.png
        data/NAME/classes.csv
        data/NAME/splits/{train,val,test}.txt

    `classes.csv` has the header `name,r,g,b` and a row for each class. Labels contain row numbers, counted from 0, and
    255 for ignored pixels; or the values of a column `value`, if there is one; or they are painted in the colours.
    The frames may have any image suffix. Load the labels with `LoadSegLabels(palette=None)`, or with
    MMSegmentation's `LoadAnnotations` if they contain numbers.

    Args:
        data_root: The folder.
        classes_file: The list of classes, relative to `data_root` or as an absolute path.
        data_prefix: The folders of frames and labels.
        metainfo: `dict(classes=[...])` selects or reorders classes, as in every dataset of MMSegmentation.
        **kwargs: Arguments of `mmseg.datasets.BaseSegDataset`, for instance `ann_file='splits/train.txt'`. Without
            `ann_file`, all frames with a label are used.

    Raises:
        DataError: See `CheckedSegDataset`; or the list of classes is missing or invalid.
        UsageError: `metainfo` names a class that is not in the list.
    """

    def __init__(
        self,
        data_root: str,
        classes_file: str = OWN_NAME,
        data_prefix: dict = {'img_path': 'images', 'seg_map_path': 'labels'},
        metainfo: dict | None = None,
        img_suffix: str = '',
        seg_map_suffix: str = '.png',
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        self.listed = _read_classes(os.path.join(data_root, classes_file), backend_args)
        self.METAINFO = {'classes': self.listed.names, 'palette': self.listed.palette}
        metainfo = {**self.METAINFO, **(metainfo or {})}
        strange = [name for name in metainfo['classes'] if name not in self.listed.names]
        if strange:
            raise UsageError(
                f'metainfo names the class {strange[0]!r}, which is not in {os.path.join(data_root, classes_file)}; '
                f'choose from {", ".join(self.listed.names)}.'
            )
        if len(metainfo['palette']) != len(metainfo['classes']) and metainfo['palette'] == self.METAINFO['palette']:
            colours = dict(zip(self.listed.names, self.listed.palette, strict=True))
            metainfo['palette'] = [colours[name] for name in metainfo['classes']]
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo=metainfo,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            backend_args=backend_args,
            **kwargs,
        )

    def get_label_map(self, new_classes: list[str] | None = None) -> dict[int, int]:
        """Stored value -> id of one of `new_classes`, or 255."""
        ids = {name: place for place, name in enumerate(new_classes or self.listed.names)}
        stored = dict(zip(self.listed.stored, self.listed.names, strict=True))
        ignored = dict.fromkeys(self.listed.ignored_values, IGNORE)
        return {**ignored, **{value: ids.get(name, IGNORE) for value, name in stored.items()}}

    @cached_property
    def frame_files(self) -> dict[str, str]:
        """The files of frames by name without suffix; if two match, the suffix that `IMAGE_SUFFIXES` lists first."""
        folder = self.data_prefix['img_path']
        found = fileio.list_dir_or_file(folder, list_dir=False, recursive=True, backend_args=self.backend_args)
        order = {suffix: place for place, suffix in enumerate(IMAGE_SUFFIXES)}
        files = [path for path in map(PurePosixPath, found) if path.suffix.lower() in order]
        files.sort(key=lambda path: -order[path.suffix.lower()])
        return {str(path.with_suffix('')): str(path) for path in files}

    def load_data_list(self) -> list[dict]:
        """List the split's images and labels; see `CheckedSegDataset.load_data_list`."""
        infos = super().load_data_list()
        if self.listed.colours is not None and self.listed.values is None:
            for info in infos:
                info['label_palette'] = self.listed.colours
        return infos

    def _infos(self) -> list[dict]:
        return self._named_infos()

    def _names(self) -> list[str]:
        if self.ann_file:
            return super()._names()
        labels = self.data_prefix.get('seg_map_path')
        return sorted(
            name
            for name in self.frame_files
            if labels is None
            or fileio.isfile(os.path.join(labels, name + self.seg_map_suffix), backend_args=self.backend_args)
        )

    def _frame_file(self, name: str) -> str:
        return name + self.img_suffix if self.img_suffix else self.frame_files.get(name, f'{name}{IMAGE_SUFFIXES[0]}')


def _read_classes(path: str, backend_args: dict | None) -> Classes:
    try:
        data = fileio.get(path, backend_args=backend_args)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f'the list of classes {path} cannot be read ({reason}); check data_root, or create the folder with '
            'tools/prepare_dataset.py.'
        ) from error
    return parse_table(decode_text(data, path), path)
