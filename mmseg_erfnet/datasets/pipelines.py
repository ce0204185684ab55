"""Helpers for pipelines: which steps load, which are deterministic, which leave the image unchanged."""

import numpy as np

# By name without scope: some of them are in mmcv, some in mmseg, in modules that differ between versions.
LABEL_STEPS = ('LoadAnnotations', 'LoadSegLabels')
LOADING_STEPS = ('LoadImageFromFile', *LABEL_STEPS)
FIXED_STEPS = (*LOADING_STEPS, 'Resize')  # deterministic
NEUTRAL_STEPS = (*LOADING_STEPS, 'PackSegInputs')  # leave the image unchanged


def step_name(step: object) -> str:
    """Return the name, without scope, of a pipeline step, given as a config dict or as a built transform."""
    return step['type'].rpartition('.')[2] if isinstance(step, dict) else type(step).__name__


def loading_steps(pipeline: list) -> list:
    """Return the steps of a pipeline that load image and labels."""
    return [step for step in pipeline if step_name(step) in LOADING_STEPS]


def evenly_spaced(length: int, number: int) -> list[int]:
    """Return ``number`` indices spaced evenly over ``range(length)``, including first and last, or all of them."""
    return np.linspace(0, length - 1, min(number, length)).round().astype(int).tolist()
