"""Build a model from a config and a checkpoint. Only this module loads a checkpoint's weights into a model."""

from collections.abc import Collection, Iterator
from copy import deepcopy

from mmengine.config import Config
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import CheckpointLoader
from mmseg.apis import init_model
from mmseg.models.segmentors import SegTTAModel
from torch import Size, nn

from mmseg_erfnet.errors import CheckpointError, UsageError, UserError
from mmseg_erfnet.models.checkpoints import check_fit, check_kinds, load_checkpoint_file, normalise
from mmseg_erfnet.registry import DATASETS
from mmseg_erfnet.text import listed

CLASSIFIER = 'conv_seg'  # the layer that depends on the number of classes, in every decode head of MMSegmentation
COUNTER = 'num_batches_tracked'  # of a BN; checkpoints from before torch 0.4.1 lack it, and torch then starts it at 0


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the segmentor inside any wrappers: DataParallel, DDP, test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, SegTTAModel):
        model = model.module
    return model


def load_weights(model: nn.Module, checkpoint: dict, partly: bool = False) -> str:
    """Load the weights of a checkpoint into a model.

    Args:
        model: The model, wrapped or not; changed in place.
        checkpoint: A checkpoint from :func:`~mmseg_erfnet.models.checkpoints.load_checkpoint_file`.
        partly: Allow a partial match, to start training from; see :func:`common_part`. Without it, the checkpoint must
            contain exactly the weights of the model.

    Returns:
        One line that describes what was loaded.

    Raises:
        CheckpointError: Names or shapes do not fit.
    """
    model = unwrapped(model)
    if partly:
        weights, said = common_part(model, checkpoint)
    else:
        check_fit(model, checkpoint)
        weights, said = checkpoint['state_dict'], f'all {len(checkpoint["state_dict"])} weights were loaded'
    found = model.load_state_dict(weights, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(COUNTER)]
    if found.unexpected_keys or (missing and not partly):
        raise AssertionError(f'unexpected {found.unexpected_keys}, missing {missing}')
    return said


def common_part(model: nn.Module, checkpoint: dict, prefix: str | None = None) -> tuple[dict, str]:
    """Return the weights that a model shares with a checkpoint, to start a training run from.

    The classifier may have a different number of classes, a head may be of another type, parts of the network may be
    missing, and the checkpoint may have parts that the model lacks. Obvious mistakes are refused: a backbone with other
    shapes, no weights for the backbone, names that differ only in their prefix.

    Args:
        model: The model, or a part of one.
        checkpoint: A checkpoint from :func:`~mmseg_erfnet.models.checkpoints.load_checkpoint_file`.
        prefix: The prefix of an ``init_cfg``: use only the weights whose names start with it, such as ``backbone.``.
            None: the checkpoint comes from ``load_from``, which has no prefix.

    Returns:
        The weights by the model's names, and one line that describes what is loaded, newly initialised and ignored.

    Raises:
        CheckpointError: The model would be trained from random weights or from those of another network.
    """
    begin = prefix or ''
    weights = {
        name.removeprefix(begin): value for name, value in checkpoint['state_dict'].items() if name.startswith(begin)
    }
    own = model.state_dict()
    expected = {name: value.shape for name, value in own.items()}
    if not weights:
        there = listed(dict.fromkeys(name.partition('.')[0] for name in checkpoint['state_dict']))
        raise CheckpointError(
            f"The checkpoint has no weights under '{prefix}', but under {there}: correct the prefix of init_cfg."
        )
    _check_names({name: value.shape for name, value in weights.items()}, expected, prefix)
    other = _other_heads({name: value.shape for name, value in weights.items()}, expected)
    taken = {name: value for name, value in weights.items() if name in expected and not name.startswith(other)}
    _check_taken(taken, weights, expected)
    check_kinds(taken, own)
    return taken, _account(taken, weights, expected)


def _check_names(found: dict[str, Size], expected: dict[str, Size], prefix: str | None) -> None:
    """Refuse weights whose names lack a prefix or have an extra one."""
    absent = {name: shape for name, shape in expected.items() if name not in found}
    unknown = {name: shape for name, shape in found.items() if name not in expected}
    for theirs, ours, more in (
        *((name, end, name) for name, shape in unknown.items() for end in _ends(name) if absent.get(end) == shape),
        *((end, name, name) for name, shape in absent.items() for end in _ends(name) if unknown.get(end) == shape),
    ):
        part = more.removesuffix(ours if more is theirs else theirs)
        if more is theirs:
            remedy = f"give prefix='{prefix or ''}{part}' in its init_cfg"
            if prefix is None:
                remedy = (
                    f"replace load_from by model.init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='{part}')"
                )
        elif prefix is None:
            remedy = f"replace load_from by model.{part}init_cfg=dict(type='Pretrained', checkpoint=FILE)"
        else:
            remedy = f"correct the prefix '{prefix}' of its init_cfg, or give the init_cfg to {part.rstrip('.')}"
        raise CheckpointError(
            f'The checkpoint calls {prefix or ""}{theirs} what the model calls {ours}, and would not be loaded: '
            f'{remedy}.'
        )


def _ends(name: str) -> Iterator[str]:
    """Yield a dotted name without its first part, without its first two parts, and so on."""
    while '.' in name:
        name = name.partition('.')[2]
        if '.' in name:  # the last part alone, such as "weight", identifies nothing
            yield name


def _other_heads(found: dict[str, Size], expected: dict[str, Size]) -> tuple[str, ...]:
    """Return the names, each with a trailing dot, of the classifiers and heads whose shapes differ in the model."""
    other = set()
    for name in found.keys() & expected.keys():
        if found[name] != expected[name] and 'head' in name.partition('.')[0]:
            module = name.rpartition('.')[0]
            other.add(f'{module}.' if module.endswith(CLASSIFIER) else f'{name.partition(".")[0]}.')
    return tuple(other)


def _check_taken(taken: dict, weights: dict, expected: dict[str, Size]) -> None:
    if not taken:
        raise CheckpointError(
            f'The checkpoint has no weight that the model knows ({listed(weights, 3)}): give one of this network. '
            "tools/convert_checkpoint.py converts the authors' own."
        )
    wrong = [name for name in taken if taken[name].shape != expected[name]]
    if wrong:
        raise CheckpointError(
            f'The checkpoint does not fit the model: {len(wrong)} weights have other shapes, the first {wrong[0]} '
            f'{tuple(taken[wrong[0]].shape)} instead of {tuple(expected[wrong[0]])}; give one of this network.'
        )
    backbone = {name for name in expected if name.startswith('backbone.')}
    if backbone and not backbone & taken.keys():
        raise CheckpointError(
            f'The checkpoint has no weight of the backbone, only {listed(_modules(taken, taken))}: give one of this '
            'network.'
        )


def _account(taken: dict, weights: dict, expected: dict[str, Size]) -> str:
    """Describe which weights are loaded, which weights of the model are not, and which of the checkpoint are unused."""
    anew = [name for name in expected if name not in taken and not name.endswith(COUNTER)]
    aside = [name for name in weights if name not in taken and name not in expected]
    classifiers = {name for name in expected if f'.{CLASSIFIER}.' in f'.{name}'}
    classes = [
        next((shapes[name] for name in shapes if name.endswith(f'decode_head.{CLASSIFIER}.bias')), None)
        for shapes in ({name: value.shape for name, value in weights.items()}, expected)
    ]
    numbers = f': {classes[0][0]} classes there, {classes[1][0]} here' if all(classes) and len(set(classes)) > 1 else ''
    if not anew:
        said = f'all {len(expected)} weights were loaded'
    elif set(anew) == classifiers:
        said = f'all weights but the classifier were loaded{numbers}'
    else:
        said = f'{len(taken)} of {len(expected)} weights were loaded{numbers}'
        said += f'; newly initialised: {listed(_modules(anew, expected))}'
    return said + (f'; unused: {listed(_modules(aside, weights))}' if aside else '')


def _modules(names: Collection[str], among: Collection[str]) -> list[str]:
    """Return the largest modules that contain only weights with the given names."""
    named = set(names)
    apart = [name for name in among if name not in named and not name.endswith(COUNTER)]
    others = {start for name in apart for start in _starts(name)}
    return list(dict.fromkeys(next(start for start in _starts(name) if start not in others) for name in names))


def _starts(name: str) -> Iterator[str]:
    """Yield the first part of a dotted name, the first two parts, and so on."""
    parts = name.split('.')
    for length in range(1, len(parts) + 1):
        yield '.'.join(parts[:length])


def check_pretrained(model: nn.Module) -> list[str]:
    """Check the weights that ``init_cfg=dict(type='Pretrained', ...)`` will load; MMEngine only warns about a mismatch.

    Args:
        model: The model, wrapped or not; it is not changed.

    Returns:
        One line per such ``init_cfg`` that describes what will be loaded.

    Raises:
        CheckpointError: A file cannot be loaded, or has no weights for its module; see :func:`common_part`.
        UsageError: An ``init_cfg`` is not a dict.
    """
    said = []
    for place, module in unwrapped(model).named_modules():
        found = getattr(module, 'init_cfg', None) or []
        for cfg in found if isinstance(found, (list, tuple)) else [found]:
            if not isinstance(cfg, dict):
                raise UsageError(f'init_cfg of {place or "the model"} is {cfg!r}; give a dict with a type, or None.')
            if cfg.get('type') not in ('Pretrained', PretrainedInit):
                continue
            checkpoint = normalise(CheckpointLoader.load_checkpoint(cfg['checkpoint'], 'cpu'), cfg['checkpoint'])
            prefix = cfg.get('prefix') or ''
            prefix += '.' if prefix and not prefix.endswith('.') else ''
            try:
                _, line = common_part(module, checkpoint, prefix)
            except CheckpointError as error:
                raise CheckpointError(
                    f'{cfg["checkpoint"]}, for init_cfg of {place or "the model"}: {error}'
                ) from error
            said.append(f'{cfg["checkpoint"]}, for {place or "the model"}: {line}')
    return said


def load_segmentor(cfg: Config, checkpoint: str | None, trust: bool = False) -> nn.Module:
    """Build the segmentor of a config and load its weights, all of which must fit.

    Args:
        cfg: The config; it is not changed.
        checkpoint: The checkpoint file, or None for freshly initialised weights.
        trust: Load the checkpoint even if it contains more than data.

    Returns:
        The segmentor in evaluation mode, with classes and palette in ``dataset_meta``.

    Raises:
        CheckpointError: The checkpoint cannot be loaded or does not fit.
        UsageError: The number of classes differs between dataset and model.
    """
    cfg = deepcopy(cfg)  # init_model changes entries of the model
    model = revert_sync_batchnorm(init_model(cfg, None, device='cpu'))
    model.dataset_meta = {}
    if checkpoint is not None:
        loaded = load_checkpoint_file(checkpoint, trust=trust)
        load_weights(model, loaded)
        model.dataset_meta = (loaded.get('meta') or {}).get('dataset_meta') or {}
    # Classes from the config take precedence over those in the checkpoint.
    if innermost_dataset(cfg).get('metainfo') or not {'classes', 'palette'} <= model.dataset_meta.keys():
        model.dataset_meta = dataset_meta(cfg)
    classes = model.dataset_meta['classes']
    if len(classes) != model.num_classes:
        raise UsageError(
            f'The model has {model.num_classes} classes, but its dataset names {len(classes)}: set '
            'num_classes of the decode head, or the dataset, to fit.'
        )
    return model.eval()


def innermost_dataset(cfg: Config) -> dict:
    """Return the config of the test dataset or, for a wrapper such as RepeatDataset, of the first dataset inside it.

    Raises:
        UsageError: The config has no ``test_dataloader``.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if not loader or not loader.get('dataset'):
        raise UsageError(
            'The config has no test_dataloader with a dataset, which names the classes and how frames are prepared: '
            'add one, as configs/_base_/datasets has them.'
        )
    dataset = loader['dataset']
    while inner := dataset.get('dataset') or dataset.get('datasets'):
        dataset = inner[0] if isinstance(inner, (list, tuple)) else inner
    return dataset


def dataset_meta(cfg: Config) -> dict:
    """Return classes and palette of the config's test dataset, including its ``metainfo``, without reading data files.

    Raises:
        UsageError: The dataset does not define its classes.
    """
    try:
        meta = DATASETS.build(dict(innermost_dataset(cfg), pipeline=[], lazy_init=True)).metainfo
    except UserError:
        raise
    except (AssertionError, ValueError) as error:
        raise UsageError(f'The metainfo of the test dataset does not fit it ({error}): correct its classes.') from error
    if not meta.get('classes'):
        raise UsageError(
            'Neither the checkpoint nor the dataset of the config names classes: give the dataset '
            'metainfo=dict(classes=(...), palette=[...]).'
        )
    return meta
