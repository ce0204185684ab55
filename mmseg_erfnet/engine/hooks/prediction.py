"""Predictions of a test as files."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.engine.samples import label_map
from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.visualization.painting import comparison


@HOOKS.register_module()
class PredictionHook(Hook):
    """Write the predictions of a test to files, named after their images.

    Args:
        out_dir: Where to write label maps, as PNG with a class a pixel; None for none.
        show_dir: Where to write pictures of input, ground truth and prediction; None for none.
    """

    def __init__(self, out_dir: str | None = None, show_dir: str | None = None) -> None:
        self.out_dir = out_dir and Path(out_dir)
        self.show_dir = show_dir and Path(show_dir)
        for folder in filter(None, (self.out_dir, self.show_dir)):
            folder.mkdir(parents=True, exist_ok=True)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        meta = runner.test_dataloader.dataset.metainfo
        for sample in outputs:
            prediction = label_map(sample.pred_sem_seg)
            name = f'{Path(sample.img_path).stem}.png'
            if self.out_dir:
                _write(self.out_dir / name, prediction)
            if self.show_dir:
                ground_truth = label_map(sample.gt_sem_seg) if 'gt_sem_seg' in sample else None
                image = mmcv.imread(sample.img_path)
                _write(
                    self.show_dir / name, comparison(image, prediction, meta['classes'], meta['palette'], ground_truth)
                )


def _write(path: Path, picture: np.ndarray) -> None:
    write_bytes(path, cv2.imencode('.png', picture)[1].tobytes())
