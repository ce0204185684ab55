"""Write the predictions of a test to files."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.engine.samples import label_map
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import make_folder, write_bytes, write_json
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.text import listed
from mmseg_erfnet.visualization.painting import comparison

RECORD = '.written-by-test.json'  # in an output folder: the files that tests have written there


@HOOKS.register_module()
class PredictionHook(Hook):
    """Write the predictions of a test to files, under the relative paths of their images.

    Files written by an earlier test are replaced; other files never are.

    Args:
        out_dir: Where to write label maps: PNG files whose pixels are class numbers; None for none.
        show_dir: Where to write pictures of input, ground truth and prediction; None for none.

    Raises:
        UsageError: A file of that name exists that was not written by a test, or both folders are the same.
        StorageError: A folder or file cannot be written.
    """

    def __init__(self, out_dir: str | None = None, show_dir: str | None = None) -> None:
        self.out_dir = out_dir and Path(out_dir)
        self.show_dir = show_dir and Path(show_dir)
        self.names: dict[str, str] = {}
        if self.out_dir and self.show_dir and self.out_dir.resolve() == self.show_dir.resolve():
            raise UsageError(f'Label maps and pictures cannot both go to {self.out_dir}: name two folders.')

    def before_test_epoch(self, runner: Runner) -> None:
        self.names = output_names(runner.test_dataloader.dataset)
        for folder in filter(None, (self.out_dir, self.show_dir)):
            _claim(make_folder(folder), set(self.names.values()))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        meta = runner.test_dataloader.dataset.metainfo
        for sample in outputs:
            prediction = label_map(sample.pred_sem_seg)
            name = self.names[sample.img_path]
            if self.out_dir:
                _write(self.out_dir / name, prediction)
            if self.show_dir:
                ground_truth = label_map(sample.gt_sem_seg) if 'gt_sem_seg' in sample else None
                image = mmcv.imread(sample.img_path)
                _write(
                    self.show_dir / name, comparison(image, prediction, meta['classes'], meta['palette'], ground_truth)
                )


def output_names(dataset) -> dict[str, str]:
    """Map the path of each image of a dataset to the relative path of its PNG; no two are the same.

    Paths are relative to the dataset's image folder or, if some images are elsewhere, to the common parent of their
    folders. If two images differ only in their suffix, all names keep it: ``x.jpg.png``.
    """
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    root = (getattr(dataset, 'data_prefix', None) or {}).get('img_path')
    relative = [os.path.relpath(path, root) for path in paths] if root else []
    if not root or any(Path(path).parts[0] == os.pardir for path in relative):
        absolute = [Path(path).absolute() for path in paths]
        root = os.path.commonpath([path.parent for path in absolute])
        relative = [os.path.relpath(path, root) for path in absolute]
    short = [str(Path(path).with_suffix('')) for path in relative]
    names = short if len(set(short)) == len(set(relative)) else relative
    return {path: f'{name}.png' for path, name in zip(paths, names, strict=True)}


def _claim(folder: Path, names: set[str]) -> None:
    """Record in a folder which files will be written there; refuse to replace any file that is not in the record."""
    ours = set()
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / RECORD).read_text())
        ours = {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()
    foreign = sorted(name for name in names - ours if os.path.lexists(folder / name))
    if foreign:
        raise UsageError(
            f'{folder} has files that were not written by a test and would be replaced ({listed(foreign, 3)}): '
            'name another folder, or move them away.'
        )
    _note(folder, names | ours)


@master_only
def _note(folder: Path, names: set[str]) -> None:
    write_json(folder / RECORD, sorted(names))


def _write(path: Path, picture: np.ndarray) -> None:
    write_bytes(path, cv2.imencode('.png', picture)[1].tobytes())
