"""What hooks read from the data samples of MMSegmentation, and the frames that they score."""

from copy import deepcopy

import numpy as np


def label_map(pixels) -> np.ndarray:
    """Return the labels of a ``PixelData`` of shape (1, H, W) as uint8 (H, W)."""
    return pixels.data.squeeze(0).cpu().numpy().astype(np.uint8)


def with_pipeline(dataset: dict, pipeline: list) -> dict:
    """Return the config of a dataset whose frames go through another pipeline.

    A wrapper that only repeats, weights or mixes frames (RepeatDataset, ClassBalancedDataset, MultiImageMixDataset) is
    taken off; of one that joins datasets, each gets the pipeline.
    """
    dataset = deepcopy(dataset)
    if 'datasets' in dataset:
        dataset['datasets'] = [with_pipeline(part, pipeline) for part in dataset['datasets']]
        return dataset
    if isinstance(dataset.get('dataset'), dict):
        return with_pipeline(dataset['dataset'], pipeline)
    dataset['pipeline'] = deepcopy(pipeline)
    return dataset


def pipeline_of(dataset: dict) -> list:
    """Return the pipeline in the config of a dataset, of the first one where it wraps or joins others."""
    if 'datasets' in dataset:
        return pipeline_of(dataset['datasets'][0])
    return pipeline_of(dataset['dataset']) if isinstance(dataset.get('dataset'), dict) else dataset['pipeline']
