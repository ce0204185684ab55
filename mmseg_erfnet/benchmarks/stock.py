"""MMSegmentation's own ERFNet, which both benchmarks measure against."""

import inspect

from mmseg.models.backbones import ERFNet


def stock_backbone(backbone: dict) -> dict:
    """Return the config of MMSegmentation's ERFNet.

    Args:
        backbone: Config of ours; it is not changed. Arguments that the other does not know are left out; so is dropout,
            of which it takes one ratio only and keeps its own.
    """
    known = inspect.signature(ERFNet).parameters.keys() - {'dropout_ratio'}
    return {name: value for name, value in backbone.items() if name in known} | dict(type='mmseg.ERFNet')
