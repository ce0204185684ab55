"""Curves of a run, kept up to date in its work dir."""

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
    """Draw ``curves.png`` after each validation: loss, mIoU and learning rate, as ``LocalVisBackend`` has logged them.

    Costs about 0.4 s a validation, and 1 s more at the first.
    """

    # After the hooks that log what the validation has found.
    priority = 'LOWEST'

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        with self.harmless(runner, 'curves.png'):
            history = read_history(runner.work_dir)
            if history.train or history.val:
                write_bytes(Path(runner.work_dir) / 'curves.png', png(draw_curves(history)))
