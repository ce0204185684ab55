"""What happens around training and testing, beside mmengine's own hooks."""

import random
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmseg_erfnet.registry import FUNCTIONS, HOOKS
from mmseg_erfnet.visualization.painting import comparison


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every random number generator anew before each training epoch, from the run's seed, the epoch and the rank.

    mmengine seeds a worker by the run's seed alone, so that workers which start anew each epoch augment each epoch
    alike; and a resumed run continues with other random numbers than the uninterrupted one. With this hook,
    ``seed_worker`` and workers that are not persistent, neither is so. A run that counts iterations is one long epoch:
    it is seeded when it starts and, anew, when it is resumed, so that it does not augment as at its start.
    """

    priority = 'HIGHEST'

    def before_train_epoch(self, runner: Runner) -> None:
        state = np.random.SeedSequence([runner.seed, runner.epoch or runner.iter, get_rank()]).generate_state(1)
        seed = int(state[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data loader's worker from the seed that torch drew for it. For ``worker_init_fn`` of a data loader."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


@HOOKS.register_module()
class TrainScoreHook(Hook):
    """Score training frames after each validation, with the pipeline of validation: without augmentation.

    The figures go to the log and the loggers as ``train/mIoU`` and so on; the gap to ``val/mIoU`` is the overfitting.

    Args:
        num_images: How many frames, spread evenly over the training set; all of them if there are fewer.
    """

    # Before the checkpoint hook, so that what is logged for an epoch is logged when its checkpoint exists.
    priority = 'LOW'

    def __init__(self, num_images: int = 100) -> None:
        if num_images < 1:
            raise ValueError(f'num_images is {num_images}; it takes at least one image')
        self.num_images = num_images
        self.dataloader = None

    def before_train(self, runner: Runner) -> None:
        dataset = deepcopy(runner.cfg.train_dataloader.dataset)
        if 'pipeline' not in dataset:
            raise ValueError(f'TrainScoreHook cannot give a {dataset.type} the pipeline of validation; remove the hook')
        dataset.pipeline = runner.cfg.val_dataloader.dataset.pipeline
        loader = dict(deepcopy(runner.cfg.val_dataloader), dataset=dataset)
        self.dataloader = Runner.build_dataloader(loader, seed=runner.seed)
        dataset = self.dataloader.dataset
        indices = np.linspace(0, len(dataset) - 1, min(self.num_images, len(dataset))).round().astype(int)
        dataset.get_subset_(indices.tolist())
        # The sampler has counted the whole dataset.
        self.dataloader = Runner.build_dataloader(dict(loader, dataset=dataset), seed=runner.seed)
        self.evaluator = runner.build_evaluator(dict(type='mmseg_erfnet.SegmentationMetric', with_table=False))
        self.evaluator.dataset_meta = dataset.metainfo

    @torch.no_grad()
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self.dataloader is None:
            return
        runner.model.eval()
        for batch in self.dataloader:
            self.evaluator.process(data_samples=runner.model.val_step(batch), data_batch=batch)
        figures = self.evaluator.evaluate(len(self.dataloader.dataset))
        means = {f'train/{name}': value for name, value in figures.items() if '/' not in name}
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        runner.visualizer.add_scalars(means, step=runner.epoch if by_epoch else runner.iter)
        text = '  '.join(f'{name}: {value:.4f}' for name, value in means.items())
        runner.logger.info(f'{len(self.dataloader.dataset)} training frames without augmentation: {text}')


@HOOKS.register_module()
class PredictionHook(Hook):
    """Write the predictions of a test to files, named after their images.

    Args:
        out_dir: Where to write label maps, as PNG with a class a pixel; None for none.
        show_dir: Where to write pictures of input, truth and prediction; None for none.
    """

    def __init__(self, out_dir: str | None = None, show_dir: str | None = None) -> None:
        self.out_dir = out_dir and Path(out_dir)
        self.show_dir = show_dir and Path(show_dir)
        for folder in filter(None, (self.out_dir, self.show_dir)):
            folder.mkdir(parents=True, exist_ok=True)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                        outputs: Sequence | None = None) -> None:
        meta = runner.test_dataloader.dataset.metainfo
        for sample in outputs:
            prediction = label_map(sample.pred_sem_seg)
            name = f'{Path(sample.img_path).stem}.png'
            if self.out_dir:
                _write(self.out_dir / name, prediction)
            if self.show_dir:
                truth = label_map(sample.gt_sem_seg) if 'gt_sem_seg' in sample else None
                image = mmcv.imread(sample.img_path)
                _write(self.show_dir / name, comparison(image, prediction, meta['classes'], meta['palette'], truth))


def label_map(pixels) -> np.ndarray:
    return pixels.data.squeeze(0).cpu().numpy().astype(np.uint8)


def _write(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f'{path} could not be written; is the disk full, or the folder read-only?')
