"""Training curves, kept up to date in the work dir."""

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
    """Draw ``curves.png`` after each validation: loss, mIoU and learning rate, as logged by ``LocalVisBackend``.

    Takes about 0.4 s per validation, plus 1 s for the first.
    """

    # After the hooks that log the validation metrics.
    priority = 'LOWEST'

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        with self.harmless(runner, 'curves.png'):
            history = read_history(runner.work_dir)
            if history.train or history.val:
                write_bytes(Path(runner.work_dir) / 'curves.png', png(draw_curves(history)))
