"""The datasets inside MMEngine's and MMSegmentation's wrappers: repeated, balanced, concatenated, mixed."""

from copy import deepcopy

from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset


def inner_datasets(dataset) -> list[BaseDataset]:
    """Return the datasets that a dataset consists of: itself, or those that it wraps, at any depth."""
    if hasattr(dataset, 'datasets'):
        return [inner for part in dataset.datasets for inner in inner_datasets(part)]
    if hasattr(dataset, 'dataset'):
        return inner_datasets(dataset.dataset)
    return [dataset]


def frames_of(dataset) -> list[tuple[BaseDataset, int]]:
    """Return each frame of a dataset once, as the innermost dataset that contains it and its index there."""
    return [(inner, index) for inner in inner_datasets(dataset) for index in range(len(inner))]


def inner_configs(config: ConfigDict) -> list[ConfigDict]:
    """Return the configs of the datasets that a dataset's config consists of; see `inner_datasets`."""
    if 'datasets' in config:
        return [inner for part in config.datasets for inner in inner_configs(part)]
    if isinstance(config.get('dataset'), dict):
        return inner_configs(config.dataset)
    return [config]


def with_pipeline(config: ConfigDict, pipeline: list) -> ConfigDict:
    """Return the config of a dataset with each frame once, and with another pipeline.

    Wrappers that repeat, balance or mix are removed; several datasets stay concatenated.
    """
    inner = [deepcopy(part) for part in inner_configs(config)]
    for part in inner:
        part.pipeline = deepcopy(pipeline)
        part.pop('cache_gb', None)  # the training set has its own cache
    if len(inner) == 1:
        return inner[0]
    return ConfigDict(type='mmengine.ConcatDataset', datasets=inner)
