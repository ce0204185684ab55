"""HTML report of a run, with its best and worst images."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import mmcv
import numpy as np
from mmengine.dist import all_gather_object, is_main_process, master_only
from mmengine.runner import Runner

from mmseg_erfnet.engine.hooks.drawing import DrawingHook
from mmseg_erfnet.engine.samples import label_map
from mmseg_erfnet.environment import describe_environment
from mmseg_erfnet.evaluation import confusion_matrix, scores, scoring_arguments
from mmseg_erfnet.files import write_json
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.reports.history import NUMBER_FILE, is_logged, next_number
from mmseg_erfnet.reports.run import (
    EXAMPLES,
    VALIDATED_ON,
    write_examples,
    write_run_report,
)


@HOOKS.register_module()
class ReportHook(DrawingHook):
    """Write ``report.html`` after training and after a test, with the best and the worst images of the test.

    Costs one confusion matrix per test image, and memory for the labels of the images it keeps.

    Args:
        num_examples: Number of best images, and of worst images, to show.
    """

    priority = 'LOWEST'

    def __init__(self, num_examples: int = 3) -> None:
        self.num_examples = num_examples
        self.examples: list[dict] = []
        self.collecting = True

    @master_only
    def before_run(self, runner: Runner) -> None:
        with self.harmless(runner, 'The environment in the report'):
            facts = describe_environment()
            validation = runner.cfg.get('val_dataloader')
            if validation is not None:
                split = validation.dataset.get('ann_file') or validation.dataset.get('data_prefix', {}).get('img_path')
                facts[VALIDATED_ON] = f'{validation.dataset.type}, {split}'
            # Not by name: names are timestamps, and the clock may be set back.
            write_json(Path(runner.log_dir) / NUMBER_FILE, next_number(runner.work_dir))
            write_json(Path(runner.log_dir) / 'environment.json', facts)

    def before_test_epoch(self, runner: Runner) -> None:
        self.examples, self.collecting = [], True

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        if not self.collecting:
            return
        self.collecting = False
        with self.harmless(runner, 'The best and the worst images'):
            ignored = scoring_arguments(runner.cfg.get('test_evaluator')).get('ignore_index', 255)
            self._collect(outputs, len(runner.test_dataloader.dataset.metainfo['classes']), ignored)
            self.collecting = True

    def _collect(self, outputs: Sequence, num_classes: int, ignore_index: int) -> None:
        for sample in outputs:
            if 'gt_sem_seg' not in sample:
                continue
            prediction, ground_truth = label_map(sample.pred_sem_seg), label_map(sample.gt_sem_seg)
            ground_truth = np.where(ground_truth == ignore_index, np.uint8(255), ground_truth)  # also in the pictures
            metrics = scores(confusion_matrix(ground_truth, prediction, num_classes))
            if not np.isnan(metrics['mIoU']):
                self.examples.append(
                    dict(
                        path=sample.img_path,
                        mIoU=metrics['mIoU'],
                        aAcc=metrics['aAcc'],
                        prediction=prediction,
                        ground_truth=ground_truth,
                    )
                )
        self.examples = self._extremes(self.examples)

    def _extremes(self, examples: Iterable[dict]) -> list[dict]:
        examples = sorted(examples, key=lambda example: (example['mIoU'], example['path']))
        count = self.num_examples
        return examples if len(examples) <= 2 * count else examples[:count] + examples[-count:]

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        gathered = chain.from_iterable(all_gather_object(self.examples))
        # A sampler that distributes images evenly among processes may yield an image twice.
        examples = self._extremes({example['path']: example for example in gathered}.values())
        self.examples = []
        if not is_main_process():
            return
        with self.harmless(runner, 'The best and the worst images'):
            for number, example in enumerate(examples):
                path = Path(example['path'])
                example.update(
                    kind='worst' if number < len(examples) // 2 else 'best',
                    name=path.stem,
                    image=mmcv.imread(str(path)),
                )
            # The best images start with the best, the worst with the worst.
            examples.sort(key=lambda example: -example['mIoU'] if example['kind'] == 'best' else 100 + example['mIoU'])
            meta = runner.test_dataloader.dataset.metainfo
            write_examples(Path(runner.work_dir) / EXAMPLES, examples, meta['classes'], meta['palette'])

    @master_only
    def after_run(self, runner: Runner) -> None:
        # MMSegmentation's tools/test.py neither logs scalars nor writes metrics.json: nothing to report, no warning.
        if not (Path(runner.work_dir) / 'metrics.json').is_file() and not is_logged(runner.work_dir):
            return
        with self.harmless(runner, 'report.html'):
            path = write_run_report(runner.work_dir)
            runner.logger.info(f'Report: {path}')
