"""Test-time augmentation, derived from the test set's own pipeline."""

from collections.abc import Sequence
from copy import deepcopy

from mmengine.config import Config, ConfigDict

from mmseg_erfnet.datasets.pipelines import LOADING_STEPS, step_name
from mmseg_erfnet.errors import UsageError

# Replaced by ours, which differs only for binary heads, where theirs is wrong.
STOCK_MODELS = (None, 'SegTTAModel', 'mmseg.SegTTAModel')
FLIPS = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]


def use_tta(cfg: Config, scales: Sequence[float] = (1.0,)) -> None:
    """Make a config's test average over each image and its mirror image, at one or more scales; ``cfg`` is changed.

    Args:
        cfg: A config with a ``test_dataloader``. The pipeline of its dataset is used; a ``tta_pipeline`` is for
            MMSegmentation's tools and is ignored.
        scales: Factors relative to the size after the pipeline's ``Resize``, or else to the image's own size.

    Raises:
        UsageError: A scale is not above 0, or the pipeline does not load an image first.
    """
    if not scales or any(not scale > 0 for scale in scales):
        raise UsageError(f'--tta-scales are factors above 0, such as 0.75 1 1.25: got {", ".join(map(str, scales))}.')
    cfg.test_dataloader.dataset = _augmented(cfg.test_dataloader.dataset, scales)
    model = dict(cfg.get('tta_model') or {})
    if model.get('type') in STOCK_MODELS:
        model['type'] = 'mmseg_erfnet.SegTTAModel'
    cfg.model = ConfigDict(**model, module=cfg.model)


def _augmented(dataset: dict, scales: Sequence[float]) -> ConfigDict:
    """Return a dataset's config with test-time augmentation in its pipeline, or in those of a wrapper's datasets."""
    dataset = ConfigDict(dataset)
    if 'pipeline' in dataset:
        dataset.pipeline = tta_pipeline(dataset.pipeline, scales)
    if isinstance(dataset.get('dataset'), dict):
        dataset.dataset = _augmented(dataset.dataset, scales)
    if 'datasets' in dataset:
        dataset.datasets = [_augmented(one, scales) for one in dataset.datasets]
    return dataset


def tta_pipeline(pipeline: Sequence[dict], scales: Sequence[float] = (1.0,)) -> list[dict]:
    """Return a test pipeline with test-time augmentation: each ``Resize`` at all scales, with and without a flip.

    Args:
        pipeline: A test pipeline without test-time augmentation.
        scales: See :func:`use_tta`.

    Returns:
        The steps up to the one that loads the image, and a ``TestTimeAug`` of the remaining steps.
    """
    pipeline = deepcopy(list(pipeline))
    loads = [index for index, step in enumerate(pipeline) if step_name(step) == 'LoadImageFromFile']
    if not loads or any(step_name(step) == 'TestTimeAug' for step in pipeline):
        raise UsageError(
            '--tta needs a test_dataloader.dataset.pipeline that loads an image with LoadImageFromFile and has no '
            'TestTimeAug of its own.'
        )
    first, rest = pipeline[: loads[0] + 1], pipeline[loads[0] + 1 :]
    choices = [_at_scales(step, scales) for step in rest]
    if tuple(scales) != (1.0,) and not any(step_name(step) == 'Resize' for step in rest):
        choices.insert(0, [dict(type='Resize', scale_factor=float(scale), keep_ratio=True) for scale in scales])
    # A label loaded after the flip is not flipped, so that it can be compared with the averaged prediction.
    names = [step_name(step[0]) for step in choices]
    moving = [index + 1 for index, name in enumerate(names) if name == 'Resize']
    labels = [index for index, name in enumerate(names) if name in LOADING_STEPS or name.startswith('Pack')]
    place = min((index for index in labels if index >= max(moving, default=0)), default=len(choices))
    choices.insert(place, deepcopy(FLIPS))
    return [*first, dict(type='TestTimeAug', transforms=choices)]


def _at_scales(step: dict, scales: Sequence[float]) -> list[dict]:
    """Return a ``Resize`` once for each scale, and any other step as it is."""
    if step_name(step) != 'Resize':
        return [step]
    if 'scale' in step:
        return [dict(step, scale=tuple(round(side * scale) for side in _pair(step['scale']))) for scale in scales]
    factor = step.get('scale_factor', 1.0)
    if isinstance(factor, (list, tuple)):
        return [dict(step, scale_factor=tuple(side * scale for side in factor)) for scale in scales]
    return [dict(step, scale_factor=factor * scale) for scale in scales]


def _pair(scale: int | Sequence[int]) -> Sequence[int]:
    return (scale, scale) if isinstance(scale, int) else scale
