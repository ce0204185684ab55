"""Pictures for MMSegmentation's own ``tools/test.py --show-dir``."""

import warnings

from mmengine.runner import Runner
from mmseg.engine.hooks import SegVisualizationHook

from mmseg_erfnet.registry import HOOKS


@HOOKS.register_module()
class VisualizationHook(SegVisualizationHook):
    """MMSegmentation's hook without the warning when it draws nothing, and with the visualizer of its own run."""

    def __init__(self, *args, **kwargs) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='The draw is False')
            super().__init__(*args, **kwargs)

    def before_run(self, runner: Runner) -> None:
        self._visualizer = runner.visualizer
