"""Build the datasets of a config outside a run."""

from copy import deepcopy

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.registry import DATASETS


def build_dataset(cfg: Config, part: str, **changes) -> BaseSegDataset:
    """Build the dataset of a config's ``train``, ``val`` or ``test_dataloader``.

    A dataset's pipeline is looked up from MMEngine's own registry, which only finds MMSegmentation's transforms, and
    ours, in the config's scope. A run sets that scope; here, it is set while the dataset is built.

    Args:
        cfg: The config, which has this data loader; it is not changed.
        part: 'train', 'val' or 'test'.
        **changes: Arguments of the dataset to replace.

    Raises:
        DataError: The data are not where the config says.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        return DATASETS.build(dict(deepcopy(cfg[f'{part}_dataloader'].dataset), **changes))
