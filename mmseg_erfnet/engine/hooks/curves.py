"""Training curves, kept up to date in the work dir."""

import time
from pathlib import Path

from mmengine.dist import master_only
from mmengine.runner import Runner

from mmseg_erfnet.engine.hooks.drawing import DrawingHook
from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.reports.history import draw_curves, read_history
from mmseg_erfnet.visualization.charts import png


@HOOKS.register_module()
class CurvesHook(DrawingHook):
    """Draw ``curves.png`` after validations: loss, mIoU and learning rate, as logged by ``LocalVisBackend``.

    Drawing takes about 0.4 s, plus 1 s for the first time. A validation is left out if drawing would then take more
    than 1 % of the run's time; the curves are always drawn at the end of a run.
    """

    # After the hooks that log the validation metrics.
    priority = 'LOWEST'
    share = 0.01  # of the time since the last drawing

    def __init__(self) -> None:
        self.drawn_at, self.took = -float('inf'), 0.0

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        started = time.monotonic()
        if started - self.drawn_at >= self.took / self.share:
            self._draw(runner)
            self.drawn_at = time.monotonic()
            self.took = self.drawn_at - started

    @master_only
    def after_train(self, runner: Runner) -> None:
        self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        with self.harmless(runner, 'curves.png'):
            history = read_history(runner.work_dir)
            if history.train or history.val:
                write_bytes(Path(runner.work_dir) / 'curves.png', png(draw_curves(history)))
