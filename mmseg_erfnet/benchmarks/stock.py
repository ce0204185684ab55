"""MMSegmentation's own ERFNet, the baseline of both benchmarks."""

import inspect

from mmseg.models.backbones import ERFNet


def stock_backbone(backbone: dict) -> dict:
    """Return the config of MMSegmentation's ERFNet.

    Args:
        backbone: Config of our ERFNet; it is not changed. Arguments that MMSegmentation's does not have are dropped.
            So is ``dropout_ratio``, of which MMSegmentation's takes only one; its default is used.
    """
    known = inspect.signature(ERFNet).parameters.keys() - {'dropout_ratio'}
    return {name: value for name, value in backbone.items() if name in known} | dict(type='mmseg.ERFNet')
