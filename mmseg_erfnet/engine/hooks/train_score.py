"""What happens around training and testing, beside mmengine's own hooks."""

from copy import deepcopy

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import Subset

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.datasets.wrappers import inner_configs, with_pipeline
from mmseg_erfnet.registry import DATASETS, HOOKS


@HOOKS.register_module()
class TrainScoreHook(Hook):
    """Score training frames after each validation, with the pipeline of validation: without augmentation.

    The metrics go to the log and the loggers as ``train/mIoU`` and so on; the gap to ``val/mIoU`` is the overfitting.

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
        pipeline = inner_configs(runner.cfg.val_dataloader.dataset)[0].pipeline
        dataset = with_pipeline(runner.cfg.train_dataloader.dataset, pipeline)
        dataset = DATASETS.build(dataset)
        part = Subset(dataset, evenly_spaced(len(dataset), self.num_images))
        loader = dict(deepcopy(runner.cfg.val_dataloader), dataset=part)
        self.dataloader = Runner.build_dataloader(loader, seed=runner.seed)
        self.evaluator = runner.build_evaluator(dict(type='mmseg_erfnet.SegmentationMetric', with_table=False))
        self.evaluator.dataset_meta = dataset.metainfo

    @torch.no_grad()
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self.dataloader is None:
            return
        runner.model.eval()
        for batch in self.dataloader:
            self.evaluator.process(data_samples=runner.model.val_step(batch), data_batch=batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        means = {f'train/{name}': value for name, value in metrics.items() if '/' not in name}
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        runner.visualizer.add_scalars(means, step=runner.epoch if by_epoch else runner.iter)
        text = '  '.join(f'{name}: {value:.4f}' for name, value in means.items())
        runner.logger.info(f'{len(self.dataloader.dataset)} training frames without augmentation: {text}')
