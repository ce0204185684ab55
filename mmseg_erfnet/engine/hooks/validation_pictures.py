"""Pictures of validation frames, for TensorBoard and the visualizer's other backends."""

from collections.abc import Sequence

import mmcv
from mmengine.dist import master_only
from mmengine.runner import Runner
from mmengine.runner.loops import BaseLoop
from mmseg.structures import SegDataSample

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.engine.hooks.drawing import DrawingHook, is_due, position
from mmseg_erfnet.engine.samples import label_map
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.visualization.painting import comparison


@HOOKS.register_module()
class ValidationPicturesHook(DrawingHook):
    """Pass the same few validation frames to the visualizer: input, ground truth and prediction.

    They are named ``validation_1`` and so on. MMEngine's backends show them in TensorBoard, and write them as PNG to
    ``vis_data/vis_image`` in the work dir. A frame of 360x480 takes about 15 ms and 600 KB. With several processes, the
    frames are taken from those that the first process validates.

    Args:
        num_images: Number of frames, spread evenly over the validation set.
        interval: Draw the frames in every ``interval``-th validation; None for about ten times per run. The last
            validation of a run is always included.

    Raises:
        UsageError: An argument is less than 1.
    """

    def __init__(self, num_images: int = 3, interval: int | None = None) -> None:
        if num_images < 1 or (interval is not None and interval < 1):
            raise UsageError(f'num_images {num_images} and interval {interval} must be 1 or more.')
        self.num_images, self.interval = num_images, interval
        self.numbers: dict[int, int] = {}

    @master_only
    def before_val_epoch(self, runner: Runner) -> None:
        self.numbers = {}
        with self.harmless(runner, 'A picture of the validation frames'):
            if is_due(runner, self.interval, times=10):
                frames = evenly_spaced(len(runner.val_dataloader.sampler), self.num_images)
                self.numbers = {frame: number for number, frame in enumerate(frames, 1)}

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        first = batch_idx * (runner.val_dataloader.batch_size or 1)
        for frame, sample in enumerate(outputs, first):
            if frame in self.numbers:
                with self.harmless(runner, 'A picture of a validation frame'):
                    self._draw(runner, sample, self.numbers[frame])

    def _draw(self, runner: Runner, sample: SegDataSample, number: int) -> None:
        meta = runner.val_dataloader.dataset.metainfo
        ground_truth = label_map(sample.gt_sem_seg) if 'gt_sem_seg' in sample else None
        picture = comparison(
            mmcv.imread(sample.img_path),
            label_map(sample.pred_sem_seg),
            meta['classes'],
            meta['palette'],
            ground_truth,
        )
        loop = runner._train_loop
        step = position(runner, loop)[0] if isinstance(loop, BaseLoop) else 0
        runner.visualizer.add_image(f'validation_{number}', picture[..., ::-1].copy(), step)
