"""What of a run is printed."""

import re

from mmengine.runner import LogProcessor

from mmseg_erfnet.registry import LOG_PROCESSORS


@LOG_PROCESSORS.register_module()
class ShortLogProcessor(LogProcessor):
    """mmengine's ``LogProcessor``, less the figures of the single classes in the line after an epoch.

    They stand in the metric's table; to TensorBoard and the other loggers they go as ever.
    """

    def get_log_after_epoch(self, *args, **kwargs) -> tuple[dict, str]:
        tag, text = super().get_log_after_epoch(*args, **kwargs)
        return tag, re.sub(r'\S*(?:IoU|Acc)/[^:]+: \S+  ', '', text + '  ').rstrip()
