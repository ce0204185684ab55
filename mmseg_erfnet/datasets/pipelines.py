"""What several rooms need to know of pipelines: which steps load, which leave a frame alone, which to sample."""

import numpy as np

# By name without scope: mmcv and mmseg each have some of them, in places that differ between versions.
LABEL_STEPS = ('LoadAnnotations', 'LoadSegLabels')
LOADING_STEPS = ('LoadImageFromFile', *LABEL_STEPS)
FIXED_STEPS = (*LOADING_STEPS, 'Resize')  # without chance
NEUTRAL_STEPS = (*LOADING_STEPS, 'PackSegInputs')  # they leave the image as it is


def step_name(step: object) -> str:
    """Return the name, without scope, of a step of a pipeline: a config's dict or a built transform."""
    return step['type'].rpartition('.')[2] if isinstance(step, dict) else type(step).__name__


def loading_steps(pipeline: list) -> list:
    """Return the steps of a pipeline that load image and labels."""
    return [step for step in pipeline if step_name(step) in LOADING_STEPS]


def evenly_spaced(length: int, number: int) -> list[int]:
    """Return ``number`` indices spread evenly over ``range(length)``, first and last included, or all of them."""
    return np.linspace(0, length - 1, min(number, length)).round().astype(int).tolist()
