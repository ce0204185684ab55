"""Timelapse of the predictions during training."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.datasets.wrappers import inner_configs, with_pipeline
from mmseg_erfnet.engine.hooks.drawing import DrawingHook
from mmseg_erfnet.engine.samples import label_map
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.registry import DATASETS, HOOKS
from mmseg_erfnet.visualization.animation import animate, titled
from mmseg_erfnet.visualization.painting import colour_map, legend

GAP = 4  # pixels between pictures
MAX_PICTURES = 120  # per animation: more would only take memory


@contextmanager
def _averages(runner: Runner) -> Iterator[None]:
    """Put the averaged weights into the model, if the run averages: those are validated and published."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    for hook in hooks:
        hook.before_val_epoch(runner)
    try:
        yield
    finally:
        for hook in reversed(hooks):
            hook.after_val_epoch(runner)


@HOOKS.register_module()
class TimelapseHook(DrawingHook):
    """Predict the same training and validation frames at regular intervals, and animate the predictions at the end.

    ``timelapse/train.gif`` and ``timelapse/val.gif`` in the work dir show, from top to bottom, the frames, their ground
    truth, the epoch, the predictions, and a legend. The predictions are kept as ``timelapse/*/epoch_*.png``, so that a
    resumed run can continue its animation; epochs that it trains again are replaced.

    Every ``interval`` epochs, the hook predicts ``2 * num_images`` frames, one at a time, which take about 10 KB of
    disk space each. It draws no random numbers. If the training loop counts iterations or there is no validation set,
    it logs a warning and does nothing.

    Args:
        interval: Epochs between two pictures; None for about 60 pictures per run.
        num_images: Number of frames from each split, spread evenly over it.
        width: Width of a frame in the animation, in pixels.

    Raises:
        UsageError: An argument is less than 1.
    """

    def __init__(self, interval: int | None = None, num_images: int = 4, width: int = 240) -> None:
        if num_images < 1 or (interval is not None and interval < 1):
            raise UsageError(f'interval {interval} and num_images {num_images} must be 1 or more.')
        self.interval, self.num_images, self.width = interval, num_images, width
        self.samples: dict[str, list] = {}

    @master_only
    def before_train(self, runner: Runner) -> None:
        self.samples = {}
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            runner.logger.warning('The timelapse counts epochs, but this run counts iterations: none is made.')
            return
        if runner.cfg.get('val_dataloader') is None:
            runner.logger.warning('Without a val_dataloader there are no frames for a timelapse: none is made.')
            return
        with self.harmless(runner, 'The timelapse'):
            self._prepare(runner)

    def _prepare(self, runner: Runner) -> None:
        self.folder = Path(runner.work_dir) / 'timelapse'
        self.every = self.interval or max(1, round(runner.max_epochs / 60))
        samples = {split: self._fixed_samples(runner, split) for split in ('train', 'val')}
        height, width = samples['val'][0]['data_samples'].gt_sem_seg.shape
        self.size = self.width, round(height * self.width / width)
        for split in samples:
            for epoch, path in self._pictures(split):
                if epoch > runner.epoch or runner.epoch == 0:
                    path.unlink()
        self.samples = samples
        if runner.epoch == 0:
            self._predict(runner, 0)

    def _fixed_samples(self, runner: Runner, split: str) -> list:
        """Return fixed frames of a split, loaded with the validation pipeline."""
        pipeline = inner_configs(runner.cfg.val_dataloader.dataset)[0].pipeline
        dataset = DATASETS.build(with_pipeline(runner.cfg[f'{split}_dataloader'].dataset, pipeline))
        indices = evenly_spaced(len(dataset), self.num_images)
        self.classes, self.palette = dataset.metainfo['classes'], dataset.metainfo['palette']
        return [dataset[index] for index in indices]

    def _pictures(self, split: str) -> list[tuple[int, Path]]:
        """Return the epoch and file of each prediction, in order."""
        files = [(path.stem.removeprefix('epoch_'), path) for path in (self.folder / split).glob('epoch_*.png')]
        return sorted((int(number), path) for number, path in files if number.isdecimal())

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        if self.every_n_epochs(runner, self.every) or self.is_last_train_epoch(runner):
            with self.harmless(runner, f'The timelapse after epoch {runner.epoch + 1}'), _averages(runner):
                self._predict(runner, runner.epoch + 1)

    @torch.no_grad()
    def _predict(self, runner: Runner, epoch: int) -> None:
        training = runner.model.training
        runner.model.eval()
        try:
            for split, samples in self.samples.items():
                outputs = [runner.model.val_step(pseudo_collate([deepcopy(sample)]))[0] for sample in samples]
                row = self._row([colour_map(label_map(output.pred_sem_seg), self.palette) for output in outputs])
                write_bytes(self.folder / split / f'epoch_{epoch:04}.png', cv2.imencode('.png', row)[1].tobytes())
        finally:
            runner.model.train(training)

    def _row(self, pictures: list[np.ndarray], interpolation: int = cv2.INTER_NEAREST_EXACT) -> np.ndarray:
        shrunk = [cv2.resize(picture, self.size, interpolation=interpolation) for picture in pictures]
        gap = np.full((self.size[1], GAP, 3), 255, np.uint8)
        return np.hstack([part for picture in shrunk for part in (picture, gap)][:-1])

    def _legend(self, *pictures: np.ndarray) -> np.ndarray:
        """Draw a legend of the classes whose colours occur in label maps."""
        # One number per colour: np.unique is 20 times faster on numbers than on rows.
        weights = np.array([1 << 16, 1 << 8, 1], np.int32)
        colours = {int(colour) for picture in pictures for colour in np.unique(picture @ weights)}
        present = [label for label, colour in enumerate(self.palette) if int(weights @ colour[::-1]) in colours]
        return legend(present, self.classes, self.palette, pictures[0].shape[1])

    @master_only
    def after_train(self, runner: Runner) -> None:
        for split in self.samples:
            with self.harmless(runner, f'{self.folder / split}.gif'):
                pictures = self._animation(split)
                if pictures:
                    write_bytes(self.folder / f'{split}.gif', animate(pictures, self.palette))
                    runner.logger.info(f'Animation: {self.folder / split}.gif')

    def _animation(self, split: str) -> list[np.ndarray]:
        samples = [sample['data_samples'] for sample in self.samples[split]]
        inputs = self._row([cv2.imread(sample.img_path) for sample in samples], cv2.INTER_AREA)
        ground_truths = self._row([colour_map(label_map(sample.gt_sem_seg), self.palette) for sample in samples])
        gap = np.full((GAP, ground_truths.shape[1], 3), 255, np.uint8)
        files = self._pictures(split)
        files = files[::-1][:: len(files) // MAX_PICTURES + 1][::-1]
        rows = [(epoch, cv2.imread(str(path))) for epoch, path in files]
        # A row of another shape is from an earlier run with other settings of the hook; None is a damaged file.
        rows = [(epoch, row) for epoch, row in rows if row is not None and row.shape == ground_truths.shape]
        if not rows:
            return []
        strip = self._legend(ground_truths, rows[-1][1])
        # Keep the changing parts, title and predictions, next to each other: the GIF then stores all others only once.
        title = f'{split}: input, ground truth, and below the prediction after epoch'
        return [
            np.vstack([inputs, gap, ground_truths, titled(row, f'{title} {epoch}'), gap, strip]) for epoch, row in rows
        ]
