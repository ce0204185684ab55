"""From a config and a checkpoint to a model. The only code of the project that puts a checkpoint's weights into one."""

from mmengine.config import Config
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmseg.apis import init_model
from mmseg.models.segmentors import SegTTAModel
from torch import nn

from mmseg_erfnet.errors import CheckpointError, UsageError, UserError
from mmseg_erfnet.models.checkpoints import check_fit, load_checkpoint_file, weights_of
from mmseg_erfnet.registry import DATASETS

CLASSIFIER = '.conv_seg.'  # the layer that depends on the number of classes, in every decode head of MMSegmentation


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the segmentor inside DataParallel, DDP, test-time augmentation, or several of them."""
    while is_model_wrapper(model) or isinstance(model, SegTTAModel):
        model = model.module
    return model


def load_weights(model: nn.Module, checkpoint: dict, partly: bool = False) -> str:
    """Put the weights of a checkpoint into a model.

    Args:
        model: The model, wrapped or not; changed in place.
        checkpoint: What :func:`~mmseg_erfnet.models.checkpoints.load_checkpoint_file` returned.
        partly: To start a training run from: the classifier may differ, and parts may be missing or unknown. Without
            it, the checkpoint must hold just the weights of the model.

    Returns:
        One line that says what was loaded.

    Raises:
        CheckpointError: Names or shapes do not fit.
    """
    model = unwrapped(model)
    weights = dict(weights_of(checkpoint))
    expected = {name: value.shape for name, value in model.state_dict().items()}
    if not partly:
        check_fit(model, checkpoint)
        said = f'all {len(weights)} weights were loaded'
    else:
        weights, said = _common_part(weights, expected)
    # Strict but for what check_fit allows: before torch 0.4.1 a BN did not count its batches.
    found = model.load_state_dict(weights, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith('num_batches_tracked')]
    if found.unexpected_keys or (missing and not partly):
        raise AssertionError(f'unexpected {found.unexpected_keys}, missing {missing}')
    return said


def _common_part(weights: dict, expected: dict) -> tuple[dict, str]:
    """Return the weights that a model shares with a checkpoint, and what is to be said of the others."""
    shared = [name for name in weights if name in expected and CLASSIFIER not in f'.{name}']
    if not shared:
        raise CheckpointError(
            f'The checkpoint has no weight that the model knows ({next(iter(weights), "none at all")}, ...): give one '
            "of this network. tools/convert_checkpoint.py converts the authors' own."
        )
    wrong = [name for name in shared if weights[name].shape != expected[name]]
    if wrong:
        first = wrong[0]
        raise CheckpointError(
            f'The checkpoint does not fit the model: {len(wrong)} weights have other shapes, the first of them {first} '
            f'{tuple(weights[first].shape)} instead of {tuple(expected[first])}.'
        )
    taken = {name: value for name, value in weights.items() if expected.get(name) == value.shape}
    left = sorted({name.rpartition('.')[0] for name in expected if name not in taken})
    classes = [
        (shapes[name][0])
        for shapes in ({name: value.shape for name, value in weights.items()}, expected)
        for name in shapes
        if name.endswith('conv_seg.bias')
    ]
    if left == sorted({name.rpartition('.')[0] for name in expected if CLASSIFIER in f'.{name}'}):
        numbers = f': {classes[0]} classes there, {classes[-1]} here' if len(classes) > 1 else ''
        return taken, f'all weights but the classifier were loaded{numbers}'
    if not left:
        return taken, f'all {len(taken)} weights were loaded'
    return taken, f'{len(taken)} of {len(expected)} weights were loaded; initialised anew: {", ".join(left[:5])}' + (
        f' and {len(left) - 5} more' if len(left) > 5 else ''
    )


def load_segmentor(cfg: Config, checkpoint: str | None, trust: bool = False) -> nn.Module:
    """Build the segmentor of a config and load its weights, all of which must fit.

    Args:
        cfg: The config; it is not changed.
        checkpoint: The checkpoint file, or None for weights as the initialisation leaves them.
        trust: Load a checkpoint that holds more than data.

    Returns:
        The segmentor, for prediction, with the classes and palette in ``dataset_meta``.

    Raises:
        CheckpointError: The checkpoint cannot be loaded or does not fit.
        UsageError: The dataset has another number of classes than the model.
    """
    cfg = cfg.copy()
    model = revert_sync_batchnorm(init_model(cfg, None, device='cpu'))
    model.dataset_meta = {}
    if checkpoint is not None:
        loaded = load_checkpoint_file(checkpoint, trust=trust)
        load_weights(model, loaded)
        model.dataset_meta = (loaded.get('meta') or {}).get('dataset_meta') or {}
    # What the config itself says comes first, then what the checkpoint was trained on.
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
    """Return the config of the dataset that is tested on; of a wrapper such as RepeatDataset, of the first one inside.

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
    """Return classes and palette as the config's test dataset has them, ``metainfo`` included; no file is read.

    Raises:
        UsageError: The dataset names no classes.
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
