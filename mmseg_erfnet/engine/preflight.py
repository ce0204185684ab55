"""Checks before a run begins, so that no hour is spent on data or a model that do not fit.

The doctor makes the same checks without a run.
"""

import contextlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseDataPreprocessor
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmseg_erfnet.datasets import check_disjoint
from mmseg_erfnet.datasets.labels import IGNORE
from mmseg_erfnet.datasets.pipelines import evenly_spaced, loading_steps, step_name
from mmseg_erfnet.datasets.transforms.packing import colours_not_ids
from mmseg_erfnet.datasets.wrappers import frames_of
from mmseg_erfnet.engine.options import warn
from mmseg_erfnet.engine.shared_memory import fit_to_room
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.models.building import unwrapped
from mmseg_erfnet.text import listed

# Most labels to check before training, which takes a few seconds; fewer are read if all classes occur sooner.
SAMPLED, ENOUGH = 100, 10


def check_training(cfg: Config, runner: Runner) -> None:
    """Check a training run that has been built but not started.

    Findings that may be intended give a one-line warning each: classes that never occur, labels with only ignored
    pixels, and, with ``allow_overlap`` in the config, frames that are both trained on and scored.

    Raises:
        UsageError: Model, data and losses differ in the number of classes, or /dev/shm is too small.
        DataError: A frame is both trained on and scored, or labels hold colours instead of class ids.
    """
    _check_intervals(cfg)
    _check_preprocessor(cfg, runner)
    loaders = {'train': runner.train_dataloader}
    if cfg.get('val_dataloader') is not None:
        loaders['val'] = runner.val_dataloader
        check_overlap(loaders['train'].dataset, loaders['val'].dataset, allowed=bool(cfg.get('allow_overlap')))
    for part, loader in loaders.items():
        check_loader(part, loader, runner.model)
    check_room(runner, {f'{part}_dataloader': loader for part, loader in loaders.items()})


def _check_intervals(cfg: Config) -> None:
    """Check that a run validates at intervals of 1 or more; MMEngine would divide by it."""
    interval = cfg.train_cfg.get('val_interval', 1)
    if type(interval) is not int or interval < 1:
        raise UsageError(f'train_cfg.val_interval cannot be used: it must be 1 or more, not {interval}; correct it.')


def _check_preprocessor(cfg: Config, runner: Runner) -> None:
    """Check that the model has a preprocessor that batches samples."""
    given = type(getattr(unwrapped(runner.model), 'data_preprocessor', None))
    if given is BaseDataPreprocessor and not cfg.model.get('data_preprocessor'):
        raise UsageError(
            'The model has no data_preprocessor, which scales and batches the frames; set model.data_preprocessor, as '
            'in configs/_base_/models.'
        )


def check_packing(part: str, dataset: BaseDataset) -> None:
    """Check that a sample has the form that a segmentor takes.

    Raises:
        UsageError: The pipeline of the dataset does not pack it.
    """
    with _random_state_kept():
        sample = dataset[0]
    if isinstance(sample, Mapping) and not {'inputs', 'data_samples'} <= sample.keys():
        raise UsageError(
            f'The pipeline of {part}_dataloader.dataset packs no inputs and data_samples for the model; end it with '
            "dict(type='mmseg_erfnet.PackSegInputs')."
        )


def check_room(runner: Runner, loaders: Mapping[str, DataLoader]) -> None:
    """Fit the data loaders of a run to /dev/shm, and log any change.

    Raises:
        UsageError: /dev/shm is too small.
    """
    used = {name: loader for name, loader in loaders.items() if loader.num_workers and len(loader.dataset)}
    settings = {name: (loader.num_workers, loader.prefetch_factor) for name, loader in used.items()}
    with _random_state_kept():
        samples = {name: loader.dataset[0] for name, loader in used.items()}
    text = fit_to_room(used, samples)
    changed = [name for name, loader in used.items() if settings[name] != (loader.num_workers, loader.prefetch_factor)]
    for name in changed:
        # Hooks build their own loaders from the config.
        runner.cfg[name].num_workers, runner.cfg[name].prefetch_factor = used[name].num_workers, 1
    if changed:
        warn(f'{text}.')


def check_loader(part: str, loader: DataLoader, model: nn.Module) -> None:
    """Check one data loader of a run: the number of classes and the labels.

    Args:
        part: 'train', 'val' or 'test'.
        loader: Its dataset may be of any type; unknown types are not checked.
        model: The segmentor.
    """
    dataset = loader.dataset
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes:
        check_classes(part, classes, model)
        for line in look_at_labels(dataset).remarks():
            warn(f'{part}: {line}')
        check_packing(part, dataset)


def check_classes(part: str, classes: Sequence[str], model: nn.Module) -> None:
    """Check that dataset, decode heads and losses have the same number of classes.

    Raises:
        UsageError: They do not.
    """
    model = unwrapped(model)
    for name, head in _heads(model):
        number = head.num_classes
        if number != len(classes):
            raise UsageError(
                f'The dataset of {part}_dataloader has {len(classes)} classes, but model.{name} has '
                f'num_classes={number}; set model.{name}.num_classes={len(classes)}, or choose another dataset.'
            )
    check_class_weights(model)


def check_class_weights(model: nn.Module) -> None:
    """Check that losses have one weight per class.

    Raises:
        UsageError: They do not.
    """
    for name, head in _heads(unwrapped(model)):
        losses = head.loss_decode
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            weights = getattr(loss, 'class_weight', None)
            # A binary head has one output channel, but its loss takes one weight for each of its classes.
            if weights is not None and len(weights) != head.num_classes:
                raise UsageError(
                    f'model.{name}.loss_decode.class_weight has {len(weights)} weights for {head.num_classes} classes; '
                    'give one per class, in the order of the classes.'
                )


def _heads(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the decode heads of a segmentor with their keys in the config."""
    found = []
    for name in ('decode_head', 'auxiliary_head'):
        head = getattr(model, name, None)
        if isinstance(head, nn.ModuleList):
            found += [(f'{name}.{index}', one) for index, one in enumerate(head)]
        elif head is not None:
            found.append((name, head))
    return [(name, head) for name, head in found if hasattr(head, 'num_classes') and hasattr(head, 'loss_decode')]


def check_overlap(train: BaseDataset, other: BaseDataset, name: str = 'validation', allowed: bool = False) -> None:
    """Check that no frame is both trained on and scored; if that is allowed, only warn.

    Raises:
        DataError: Some frames are, and it is not allowed.
    """
    try:
        check_disjoint(train, other, name)
    except DataError as error:
        what = str(error).partition(';')[0]
        if not allowed:
            raise DataError(
                f'{what}; remove them from one of the two ann_file lists, or, to check whether a model can overfit a '
                'few frames, set --cfg-options allow_overlap=True.'
            ) from error
        warn(f'{what}; allow_overlap is set, so the metrics only show how well the model has memorised these frames.')


@dataclass
class Labels:
    """Contents of a sample of a dataset's labels.

    Attributes:
        classes: The dataset's classes.
        values: All values that occur.
        number: Number of labels checked.
        void: Names of labels with only ignored pixels.
    """

    classes: Sequence[str]
    values: set[int] = field(default_factory=set)
    number: int = 0
    void: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """Classes that do not occur."""
        return [name for index, name in enumerate(self.classes) if index not in self.values]

    @property
    def is_mask(self) -> bool:
        """Whether the labels are masks of 0 and 255: the second class was saved as 255, which is ignored."""
        return len(self.classes) > 1 and self.values == {0, IGNORE}

    def add(self, values: set[int], path: str) -> None:
        """Add one label: its values and the path of its frame."""
        self.values |= values
        self.number += 1
        if values <= {IGNORE}:
            self.void.append(path)

    def remarks(self) -> list[str]:
        """Return one line per suspicious finding: the problem and its remedy."""
        if self.number and len(self.void) == self.number:
            return [
                f'all {self.number} labels checked contain only 255, which is ignored, {self.void[0]} among them; '
                'check the label map and the palette.'
            ]
        if self.is_mask:
            return [
                f'the {self.number} labels checked contain only 0 and 255, and 255 is ignored, so that '
                f'{self.classes[0]} is the only class that counts; write {self.classes[1]} as 1.'
            ]
        if self.missing and IGNORE in self.values and self.number:
            return [
                f'none of the {self.number} labels checked contains {listed(self.missing, 8)}, but they contain 255, '
                'which is ignored; if a class should occur, check the label map.'
            ]
        return []


def look_at_labels(dataset: BaseDataset, number: int = SAMPLED) -> Labels:
    """Load labels, spread evenly over a dataset, until every class has occurred.

    Args:
        dataset: The dataset.
        number: Maximum number of labels.

    Raises:
        DataError: A label has several channels: colours that were loaded as class ids.
    """
    found, frames = Labels(dataset.metainfo['classes']), frames_of(dataset)
    indices = evenly_spaced(len(frames), number)
    # Neighbouring frames look alike, so load both ends and the middle first, then those in between.
    for inner, index in (frames[place] for place in sorted(indices, key=lambda index: f'{index:b}'[::-1])):
        if not hasattr(inner, 'pipeline'):
            return found
        results = inner.get_data_info(index)
        path = results['img_path']
        for step in loading_steps(inner.pipeline.transforms):
            if step_name(step) == 'LoadImageFromFile':
                continue
            results = step(results)
            if results is None:
                return found
        if 'gt_seg_map' not in results:
            return found
        label = results['gt_seg_map']
        if label.ndim != 2:
            raise colours_not_ids(results.get('seg_map_path', path))
        found.add(set(np.unique(label).tolist()), path)
        # A missing class is suspicious only if some pixels are ignored.
        if not found.missing or (found.number >= ENOUGH and IGNORE not in found.values):
            break
    return found


def check_scored(metrics: dict, dataset: BaseDataset) -> None:
    """Check after a test that at least one pixel was scored.

    Raises:
        DataError: No pixel is labelled, so every metric is NaN.
    """
    if 'aAcc' in metrics and math.isnan(metrics['aAcc']):
        raise DataError(
            f'None of the {len(dataset)} test frames has a labelled pixel, so that there is nothing to score: all are '
            '255, which is ignored; check ann_file, the label map and the palette of test_dataloader.dataset.'
        )


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """Restore Python's and NumPy's random number generators afterwards."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
