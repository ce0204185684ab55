"""Diagnose an installation, a config and its data: the library behind ``tools/doctor.py``."""

import importlib
import importlib.metadata
import math
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmseg_erfnet.environment import version
from mmseg_erfnet.text import listed

FAMILIES = {
    'onedl': ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation'),
    'openmmlab': ('mmengine', 'mmcv', 'mmsegmentation'),
}
INSTALL = 'install one family in a fresh environment: pip install "mmseg_erfnet[onedl]"'
LOOK_UPS = (
    ('mmseg', 'mmseg_erfnet.ERFNet', True),
    ('mmseg', 'ERFNet', False),
    ('mmseg_erfnet', 'ERFNet', True),
    ('mmseg_erfnet', 'mmseg.ERFNet', False),
)
SAMPLED_LABELS = 20


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: What was checked.
        text: What was found.
        remedy: How to fix it; empty if nothing is wrong.
    """

    subject: str
    text: str
    remedy: str = ''

    def __str__(self) -> str:
        mark = 'PROBLEM' if self.remedy else 'ok'
        return f'{mark:8}{self.subject}: {self.text}' + (f'; {self.remedy}' if self.remedy else '')


def examine(config: str | None = None, options: dict | None = None) -> Iterator[Finding]:
    """Check the installation and, if a config is given, its model and its data.

    Args:
        config: A config file.
        options: Values that override the config's entries, by dotted key.

    Yields:
        One finding at a time, stopping after one that makes further checks pointless.
    """
    usable = True
    for finding in (*_python(), *_packages()):
        usable &= not finding.remedy
        yield finding
    if not usable:
        return
    yield from _devices()
    yield from _look_ups()
    if config is not None:
        yield from _config(config, options or {})


def _python() -> Iterator[Finding]:
    number = platform.python_version()
    remedy = '' if sys.version_info >= (3, 11) else 'use Python 3.11 or newer'
    yield Finding('Python', f'{number} on {platform.system()} {platform.machine()}', remedy)


def _packages() -> Iterator[Finding]:
    installed = {family: {name: version(name) for name in names} for family, names in FAMILIES.items()}
    present = {
        family: {name: version for name, version in versions.items() if version}
        for family, versions in installed.items()
    }
    text = ', '.join(f'{name} {version}' for versions in present.values() for name, version in versions.items())
    if all(present.values()):
        yield Finding('family', f'{text}: of two families, which overwrite one another', INSTALL)
        return
    family = next((family for family, versions in present.items() if versions), None)
    if family is None:
        yield Finding('family', 'neither mmengine nor mmcv nor mmsegmentation is installed', INSTALL)
        return
    missing = [name for name, version in installed[family].items() if not version]
    if missing:
        yield Finding('family', f'{text}; {", ".join(missing)} missing', f'pip install "mmseg_erfnet[{family}]"')
        return
    yield Finding('family', f'{family}: {text}')
    for module in ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmseg'):
        try:
            found = importlib.import_module(module).__version__
        except Exception as error:  # an import can raise anything: a missing library, a version check
            yield Finding(module, f'cannot be imported: {error}', f'pip install "mmseg_erfnet[{family}]"')
            return
        yield Finding(module, found)
    try:
        importlib.import_module('mmcv._ext')
        yield Finding('compiled ops of mmcv', 'present; ERFNet needs none')
    except ImportError:
        yield Finding('compiled ops of mmcv', 'absent; ERFNet needs none')


def _devices() -> Iterator[Finding]:
    import torch

    from mmseg_erfnet.engine.amp import amp_advice

    if torch.cuda.is_available():
        names = ', '.join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Finding('device', f'{names}; CUDA {torch.version.cuda}')
    else:
        yield Finding('device', f'CPU, {torch.get_num_threads()} threads; no GPU that torch can use')
    yield Finding('mixed precision', amp_advice()[1].rstrip('.'))


def _look_ups() -> Iterator[Finding]:
    from mmengine.registry import MODELS, DefaultScope

    from mmseg_erfnet.models import ERFNet

    for scope, kind, ours in LOOK_UPS:
        with DefaultScope.overwrite_default_scope(scope):
            try:
                found = type(MODELS.build(dict(type=kind)))
            except Exception as error:  # the registry of a broken installation can raise anything
                yield Finding('registry', f'{kind} in scope {scope} cannot be built: {error}', INSTALL)
                continue
        remedy = '' if (found is ERFNet) == ours else 'something else registers this name; remove its import'
        owner = 'ours' if found is ERFNet else 'that of MMSegmentation'
        yield Finding('registry', f'{kind} in scope {scope} is {owner}', remedy)


def _config(path: str, options: dict) -> Iterator[Finding]:
    from mmengine.registry import init_default_scope

    from mmseg_erfnet.engine.launch import load_config
    from mmseg_erfnet.engine.shared_memory import fit_loaders
    from mmseg_erfnet.errors import UserError

    try:
        cfg = load_config(path, options=options)
        fit_loaders(cfg)
    except UserError as error:
        yield Finding('config', *_apart(error, 'name an existing file'))
        return
    init_default_scope(cfg.get('default_scope') or 'mmseg')
    yield Finding('config', path)

    model = yield from _passed_on(_model(cfg))
    if model is not None:
        yield from _optimizer(cfg, model)
    datasets = yield from _datasets(cfg, model)
    yield from _leaks(datasets, bool(cfg.get('allow_overlap')))
    if model is not None and 'train' in datasets:
        yield from _batch(cfg, model, datasets['train'])
    yield from _shared_memory(cfg, datasets)
    yield from _disk(cfg.work_dir)


def _passed_on(found: Iterator) -> Iterator:
    """Yield the findings of a check, and return the other item that it yields, a model or a dataset, or None."""
    other = None
    for item in found:
        if isinstance(item, Finding):
            yield item
        else:
            other = item
    return other


def _datasets(cfg, model) -> Iterator:
    """Yield findings on each split, and return by split the datasets that can be built."""

    datasets = {}
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        if loader is None:
            continue
        if part == 'test' and loader == cfg.get('val_dataloader'):
            yield Finding('test', 'the same as val')
            continue
        dataset = yield from _passed_on(_split(part, model, cfg))
        if dataset is not None:
            datasets[part] = dataset
    return datasets


def _model(cfg) -> Iterator:
    """Yield findings, and the model if it can be built."""
    from mmseg.registry import MODELS

    from mmseg_erfnet.engine.preflight import check_class_weights
    from mmseg_erfnet.errors import UsageError
    from mmseg_erfnet.models import ERFNet

    if cfg.get('model') is None:
        yield Finding('model', 'the config has none', 'set `model`, or give the config of a whole run')
        return
    try:
        model = MODELS.build(deepcopy(cfg.model))
    except Exception as error:  # whatever a wrong argument raises
        yield Finding('model', *_apart(error, "correct the config's `model`", cfg))
        return
    kind = cfg.model.backbone.type
    remedy = (
        ''
        if isinstance(model.backbone, ERFNet) or not kind.endswith('ERFNet')
        else "write type='mmseg_erfnet.ERFNet', unless you want MMSegmentation's"
    )
    parameters = sum(value.numel() for value in model.parameters())
    where = 'ours' if isinstance(model.backbone, ERFNet) else type(model.backbone).__module__
    text = f'{kind} ({where}), {parameters / 1e6:.2f} M parameters, {model.num_classes} classes'
    yield Finding('model', text, remedy)
    try:
        check_class_weights(model)
    except UsageError as error:
        yield Finding('class weights', *_apart(error, 'give one per class'))
    yield model


def _optimizer(cfg, model) -> Iterator[Finding]:
    from mmengine.optim import build_optim_wrapper

    if cfg.get('optim_wrapper') is None:
        return
    wrapper = deepcopy(cfg.optim_wrapper)
    wrapper.pop('paramwise_cfg', None)  # MMEngine logs one line for each parameter that it affects
    try:
        build_optim_wrapper(model, wrapper)
    except Exception as error:  # whatever a wrong argument raises
        yield Finding('optimizer', *_apart(error, "correct the config's `optim_wrapper`", cfg))


def _split(part: str, model, cfg) -> Iterator:
    """Yield findings, and the dataset if it can be built."""
    from mmseg_erfnet.datasets.building import build_dataset
    from mmseg_erfnet.engine.preflight import check_classes
    from mmseg_erfnet.errors import UsageError

    try:
        dataset = build_dataset(cfg, part)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    except Exception as error:  # our own DataError, or anything from other code
        yield Finding(part, *_apart(error, 'correct data_root, data_prefix and ann_file of its dataset', cfg))
        return
    classes = dataset.metainfo['classes']
    yield Finding(part, f'{len(dataset)} frames, {len(classes)} classes, {_where(dataset)}')
    yield dataset
    if model is not None:
        try:
            check_classes(part, classes, model)
        except UsageError as error:
            if 'class_weight' not in str(error):
                yield Finding(part, *_apart(error, 'correct num_classes'))
    yield from _labels(part, dataset)


def _where(dataset) -> str:
    """Describe which folder and which list a split is read from."""
    while not hasattr(dataset, 'data_prefix') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if not hasattr(dataset, 'data_prefix'):
        parts = getattr(dataset, 'datasets', [])
        return listed([_where(part) for part in parts], 3, ' and ') or 'from a dataset of its own kind'
    folder = dataset.data_prefix.get('img_path') or dataset.data_root or '.'
    return f'from {folder}' + (f' by {dataset.ann_file}' if dataset.ann_file else '')


def _labels(part: str, dataset) -> Iterator[Finding]:
    import numpy as np

    from mmseg_erfnet.datasets.pipelines import evenly_spaced, loading_steps
    from mmseg_erfnet.datasets.wrappers import frames_of
    from mmseg_erfnet.engine.preflight import Labels, colours_not_ids

    frames = frames_of(dataset)
    indices = evenly_spaced(len(frames), SAMPLED_LABELS)
    found, sizes, label_sizes = Labels(dataset.metainfo['classes']), set(), set()
    for inner, index in (frames[place] for place in indices):
        results = inner.get_data_info(index)
        name = results['img_path']
        try:
            for step in loading_steps(inner.pipeline.transforms):
                results = step(results)
        except Exception as error:  # our own DataError, or anything from a decoder
            yield Finding(part, *_apart(error, f'replace {name} or its label'))
            return
        sizes.add(results['img'].shape[1::-1])
        if 'gt_seg_map' not in results:
            yield Finding(part, f'{name} has no label', 'load labels in its pipeline, and name their folder')
            return
        if results['gt_seg_map'].ndim != 2:
            yield Finding(part, *_apart(colours_not_ids(results['seg_map_path']), 'load it with LoadSegLabels'))
            return
        label_sizes.add(results['gt_seg_map'].shape[::-1])
        found.add(set(np.unique(results['gt_seg_map']).tolist()), name)
    yield from _label_findings(part, found, f'frames of {_shown(sizes)}, labels of {_shown(label_sizes)}')


def _label_findings(part: str, found, sizes: str) -> Iterator[Finding]:
    """Yield findings from the checked labels of a split; ``found`` is a :class:`.engine.preflight.Labels`."""
    classes = len(found.classes)
    occur = f'{classes - len(found.missing)} of {classes} classes occur'
    if found.missing and 255 in found.values:
        occur += f', not {listed(found.missing)}, while 255, which is ignored, does'
    yield Finding(part, f'{found.number} checked: {sizes}; {occur}')
    if found.is_mask:
        yield Finding(part, *found.remarks()[0].rstrip('.').rsplit('; ', 1))
    elif found.void:
        yield Finding(
            part,
            f'{len(found.void)} of them with nothing but ignored pixels, {found.void[0]} among them',
            'check the label map and the palette',
        )
    wrong = sorted(value for value in found.values if value >= classes and value != 255)
    if wrong:
        yield Finding(
            part,
            f'labels hold {wrong[:8]}, but there are {classes} classes',
            "load them with the dataset's own loader, or set a label map",
        )


def _shown(sizes: set[tuple[int, int]]) -> str:
    return listed((f'{width}x{height}' for width, height in sorted(sizes)), 4)


def _leaks(datasets: dict, allowed: bool) -> Iterator[Finding]:
    from mmseg_erfnet.datasets import check_disjoint
    from mmseg_erfnet.errors import DataError

    for other, name in (('val', 'validation'), ('test', 'test')):
        if 'train' in datasets and other in datasets:
            try:
                check_disjoint(datasets['train'], datasets[other], name)
                yield Finding('splits', f'no frame of {other} is trained on')
            except DataError as error:
                text, remedy = _apart(error, 'remove those frames from one list')
                if allowed:
                    text, remedy = f'{text}, which allow_overlap permits: the metrics show memorisation', ''
                yield Finding('splits', text, remedy)
            except (AttributeError, KeyError, NotImplementedError):  # a dataset that does not list its images
                yield Finding('splits', f'not compared: a dataset of train or {other} does not list its images')


def _batch(cfg, model, dataset) -> Iterator[Finding]:
    import torch
    from mmengine.dataset import pseudo_collate

    from mmseg_erfnet.engine.preflight import check_packing

    try:
        check_packing('train', dataset)
        batch = pseudo_collate([dataset[index % len(dataset)] for index in range(2)])
        model.train()
        with torch.no_grad():
            data = model.data_preprocessor(batch, training=True)
            losses = model(**data, mode='loss')
        loss = model.parse_losses(losses)[0].item()
    except Exception as error:  # a pipeline that does not fit the model can raise anything
        yield Finding('batch', *_apart(error, 'correct the train pipeline, or the model that it feeds', cfg))
        return
    size = 'x'.join(map(str, data['inputs'].shape[-2:]))
    remedy = '' if math.isfinite(loss) else 'check the labels and the class weights'
    yield Finding('batch', f'two training samples of {size} through pipeline and model: loss {loss:.3f}', remedy)


def _shared_memory(cfg, datasets: dict) -> Iterator[Finding]:
    """Yield whether the workers' prefetched batches fit in /dev/shm."""
    from mmengine.runner import Runner

    from mmseg_erfnet.engine.shared_memory import fit_to_room
    from mmseg_erfnet.errors import UsageError

    loaders, samples = {}, {}
    try:
        for part in ('train', 'val'):
            loader = cfg.get(f'{part}_dataloader')
            if part in datasets and loader.get('num_workers'):
                name = f'{part}_dataloader'
                loaders[name] = Runner.build_dataloader(dict(deepcopy(loader), dataset=datasets[part]))
                samples[name] = datasets[part][0]
        if loaders:
            yield Finding('shared memory', fit_to_room(loaders, samples))
    except UsageError as error:
        yield Finding('shared memory', *_apart(error, 'give the container more shared memory'))
    except Exception as error:  # a wrong argument of a loader can raise anything
        yield Finding('data loaders', *_apart(error, 'correct train_dataloader and val_dataloader', cfg))


def _disk(work_dir: str) -> Iterator[Finding]:
    folder = Path(work_dir).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    remedy = '' if free > 1 else 'free some space, or choose another --work-dir'
    yield Finding('disk', f'{free:.1f} GiB free for {work_dir}', remedy)


def _apart(error: Exception, remedy: str, cfg=None) -> tuple[str, str]:
    """Return problem and remedy: the two halves of our own error's sentence, or the text of any other error."""
    from mmseg_erfnet.engine.translation import reason, translate

    found = translate(error, cfg)
    if found is None:
        return reason(error), remedy
    text = ' '.join(str(found).split()).rstrip('.')
    for mark in ('; ', ': '):
        what, separator, ours = text.rpartition(mark)
        if separator:
            return what, ours
    return text, remedy


def report(findings: Iterator[Finding], say: Callable[[str], None] = print) -> int:
    """Print findings as they are yielded.

    Returns:
        The number of problems.
    """
    problems = 0
    for finding in findings:
        problems += bool(finding.remedy)
        say(str(finding))
    say(f'{problems} problem{"" if problems == 1 else "s"}.' if problems else 'No problem found.')
    return problems
