"""Metrics on training frames, for comparison with validation."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Subset

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.datasets.wrappers import inner_configs, with_pipeline
from mmseg_erfnet.engine.hooks.drawing import is_due
from mmseg_erfnet.engine.log_processor import decimals, step_of
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.evaluation import scoring_arguments
from mmseg_erfnet.progress import progress
from mmseg_erfnet.registry import DATASETS, HOOKS


@HOOKS.register_module()
class TrainScoreHook(Hook):
    """Score training frames after validations, using the validation pipeline, that is, without augmentation.

    The metrics go to the log and the loggers as ``train/mIoU`` and so on; the gap to ``val/mIoU`` shows overfitting.

    Args:
        num_images: Number of frames, spread evenly over the training set; all frames if there are fewer.
        interval: Score them in every ``interval``-th validation; None for about 40 times per run. The last validation
            of a run is always included.

    Raises:
        UsageError: An argument is less than 1.
    """

    # Before EMAHook takes the validated averages out of the model, and before the checkpoint hook, so that all metrics
    # of an epoch are logged by the time its checkpoint exists.
    priority = 'ABOVE_NORMAL'

    def __init__(self, num_images: int = 100, interval: int | None = None) -> None:
        if num_images < 1 or (interval is not None and interval < 1):
            raise UsageError(f'num_images {num_images} and interval {interval} of TrainScoreHook must be 1 or more.')
        self.num_images, self.interval = num_images, interval
        self.dataloader = None

    def before_train(self, runner: Runner) -> None:
        validation = runner.cfg.get('val_dataloader')
        if validation is None:
            runner.logger.warning('Without a val_dataloader, training frames are not scored.')
            return
        pipeline = inner_configs(validation.dataset)[0].pipeline
        dataset = DATASETS.build(with_pipeline(runner.cfg.train_dataloader.dataset, pipeline))
        frames = Subset(dataset, evenly_spaced(len(dataset), self.num_images))
        loader = {**validation.to_dict(), 'dataset': frames}
        self.dataloader = Runner.build_dataloader(loader, seed=runner.seed)
        arguments = scoring_arguments(runner.cfg.get('val_evaluator'))
        self.evaluator = runner.build_evaluator(
            dict(arguments, type='mmseg_erfnet.SegmentationMetric', with_table=False)
        )
        self.evaluator.dataset_meta = dataset.metainfo

    @torch.no_grad()
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self.dataloader is None or not is_due(runner, self.interval, times=40):
            return
        runner.model.eval()
        number = len(self.dataloader.dataset)
        with progress('training frames', number, 'frames', leave=False, delay=2) as bar:
            for batch in self.dataloader:
                self.evaluator.process(data_samples=runner.model.val_step(batch), data_batch=batch)
                bar.update(len(batch['inputs']))
        found = self.evaluator.evaluate(number)
        means = {name: value for name, value in found.items() if '/' not in name}
        runner.visualizer.add_scalars(
            {f'train/{name}': value for name, value in means.items()}, step=step_of(runner)[1]
        )
        text = '  '.join(f'{name} {value:.{decimals(name)}f}' for name, value in means.items())
        runner.logger.info(f'{number} training frames without augmentation: {text}')
