"""Load checkpoints as data, never as code, and bring them into one form.

All checkpoints are loaded through :func:`load_checkpoint_file`: the ``state_dict`` that it returns has no wrapper
prefixes in its names, and its tensors are dense, real and finite. :func:`make_plain` prepares a checkpoint for saving,
so that it can be loaded without trusting it.
"""

import io
import os
import re
import stat
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.fileio import get_local_path
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as zoo
from torch import Tensor, nn

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.files import check_new, write_bytes
from mmseg_erfnet.models.unpickling import NotDense, Plain, Refused, loads, members_of
from mmseg_erfnet.text import listed

LISTED = 20  # most names of each kind in an error; a file of another network would fill pages
PREFIXES = re.compile(r'^((module|_orig_mod)(\.|$))+')  # DataParallel, test-time augmentation, torch.compile
KINDS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
KINDS |= {torch.int8, torch.int16, torch.int32, torch.int64}


# --- Loading ----------------------------------------------------------------------------------------------------------


def load_checkpoint_file(path: str | Path, map_location='cpu', trust: bool = False) -> dict:
    """Load a checkpoint as data.

    Files of this project, of the authors, of MMEngine and of MMSegmentation 0.x can be loaded. NumPy numbers and arrays
    become Python numbers and lists.

    Args:
        path: A file written by ``torch.save``.
        map_location: The device for the tensors. Other values that ``torch.load`` accepts have no effect.
        trust: Unpickle without restrictions, which runs any code in the file.

    Returns:
        The checkpoint, in the form of :func:`normalise`.

    Raises:
        CheckpointError: If the file is missing, empty, truncated or in another format, would have to run code, or
            contains invalid weights.
    """
    return _load(str(path), str(path), map_location, trust)


def install_safe_loading(trust: bool = False) -> None:
    """Make MMEngine use :func:`load_checkpoint_file` in this process for ``load_from``, ``resume`` and ``init_model``.

    This covers paths, URLs, and names in MMEngine's model zoos. Only programs may call it; imports must not.

    Args:
        trust: As in :func:`load_checkpoint_file`.
    """

    def load_from_file(filename, map_location=None):
        if '://' not in filename:
            return load_checkpoint_file(filename, map_location, trust)
        with _fetched(filename) as path:
            return _load(path, filename, map_location, trust)

    CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), load_from_file, force=True)


@contextmanager
def _fetched(address: str) -> Iterator[str]:
    """Yield the path of a local copy of the file at a URL, or with a name in a model zoo."""
    scheme, _, name = address.partition('://')
    try:
        if scheme in ('modelzoo', 'torchvision'):
            address = zoo.get_torchvision_models()[name]
        elif scheme == 'mmcls':
            address = zoo.get_mmcls_models()[name]
        elif scheme in ('open-mmlab', 'openmmlab'):
            address = zoo.get_external_models()[zoo.get_deprecated_model_names().get(name, name)]
            if '://' not in address:
                address = os.path.join(zoo._get_mmengine_home(), address)
        place = get_local_path(address)
        path = str(place.__enter__())
    except Exception as error:
        raise CheckpointError(
            f'{address} cannot be fetched ({_reason(error)}): check it, or download the file and give its path.'
        ) from error
    try:
        yield path
    finally:
        place.__exit__(None, None, None)


def _load(path: str, name: str, map_location, trust: bool) -> dict:
    try:
        data = _read(path, name)
        _check_form(data, name)
        if trust:
            _check_sums(data)
            checkpoint = Plain()(torch.load(io.BytesIO(data), 'cpu', weights_only=False))
        else:
            checkpoint = loads(data)
    except CheckpointError:
        raise
    except Refused as error:
        raise CheckpointError(
            f'{name} was not loaded, because it is more than data and could run code: it asks for {error}. If '
            'you trust whoever made the file, repeat with --trust-checkpoint.'
        ) from error
    except NotDense as error:
        raise CheckpointError(
            f'{name} holds a tensor that is sparse, quantised, complex or without values ({error}): give a checkpoint '
            'of dense weights.'
        ) from error
    except Exception as error:  # the errors caused by damage have no common class
        raise CheckpointError(
            f'{name} is damaged or not a PyTorch checkpoint ({_reason(error)}): copy or download it again.'
        ) from error

    if not isinstance(checkpoint, dict) or not _holds_weights(checkpoint):
        found = (
            f'({listed(filter(_is_name, checkpoint), LISTED)})'
            if isinstance(checkpoint, dict)
            else f'(a {type(checkpoint).__name__})'
        )
        raise CheckpointError(
            f'{name} holds neither a state_dict nor tensors by name {found}: give the checkpoint of a segmentor.'
        )
    if trust and not isinstance(checkpoint.get('meta'), dict):
        checkpoint.pop('meta', None)  # the executed code may have put anything there
    normalise(checkpoint, name)
    return _moved(checkpoint, map_location)


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, or its type, in printable characters."""
    first = next(iter(str(error).splitlines()), '') or type(error).__name__
    return re.sub(r'[^\x20-\x7e]', '?', first)[:120]


def _read(path: str, name: str) -> bytes:
    """Return a file's content. Its type is checked first, because opening a FIFO would wait for its other end."""
    absent = CheckpointError(f'{name} is not a file: give the path of a checkpoint (.pth).')
    try:
        place = Path(path).expanduser()
        if not stat.S_ISREG(place.stat().st_mode):
            raise absent
        descriptor = os.open(place, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0))
    except (FileNotFoundError, NotADirectoryError, ValueError, RuntimeError) as error:
        raise absent from error
    except OSError as error:
        raise CheckpointError(f'{name} cannot be read ({error.strerror}): check the path and permissions.') from error
    with os.fdopen(descriptor, 'rb') as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise absent
        head = file.read(4)
        if not head:
            raise CheckpointError(f'{name} is empty: copy or download it again, or use the checkpoint before it.')
        # Before torch 1.6, torch.save wrote a pickle of protocol 2.
        if head != b'PK\x03\x04' and head[:1] != b'\x80':
            raise CheckpointError(
                f'{name} is not a PyTorch checkpoint, because torch.save did not write it: give a .pth file.'
            )
        return head + file.read()


def _check_form(data: bytes, name: str) -> None:
    if data[:1] == b'\x80':
        return
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise CheckpointError(f'{name} is truncated: copy or download it again, or use the checkpoint before it.')
    members = {member.rpartition('/')[2] for member in zipfile.ZipFile(io.BytesIO(data)).namelist()}
    if 'constants.pkl' in members:
        raise CheckpointError(f'{name} is a TorchScript archive: give the checkpoint from which it was made.')
    if 'data.pkl' not in members:
        raise CheckpointError(f'{name} is a zip file, but not one that torch.save wrote: give a .pth file.')


def _check_sums(data: bytes) -> None:
    if data[:1] != b'\x80':
        damaged = members_of(data)[0].testzip()
        if damaged:
            raise zipfile.BadZipFile(f'the checksum of {damaged} is wrong')


def _holds_weights(checkpoint: dict) -> bool:
    weights = checkpoint.get('state_dict', checkpoint)
    return isinstance(weights, dict) and any(isinstance(value, Tensor) for value in weights.values())


def _moved(checkpoint: dict, map_location) -> dict:
    if not isinstance(map_location, (str, torch.device)) or torch.device(map_location).type == 'cpu':
        return checkpoint

    def moved(value: object) -> object:
        if isinstance(value, Tensor):
            return value.to(map_location)
        if isinstance(value, OrderedDict):
            for key, item in value.items():
                value[key] = moved(item)
            return value
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        return [moved(item) for item in value] if isinstance(value, list) else value

    return {key: moved(value) for key, value in checkpoint.items()}


# --- One form ---------------------------------------------------------------------------------------------------------


def normalise(checkpoint: dict, name: str = 'The checkpoint') -> dict:
    """Bring a checkpoint into the form on which all other code relies. Repeating this changes nothing.

    - ``state_dict`` exists; a plain dict of tensors becomes one with a ``state_dict``.
    - Its names are those of the model: ``module.``, once or repeated, and torch.compile's ``_orig_mod.`` are stripped.
      ``ema_state_dict``, which MMEngine's ``EMAHook`` writes, has ``module.`` once, and ``steps``.
    - The weights are dense, real and finite.
    - ``meta``, if present, is a dict, and the entries that are used have the right types.

    Args:
        checkpoint: The checkpoint; changed in place.
        name: Its name in error messages.

    Returns:
        The same dict.

    Raises:
        CheckpointError: It cannot be brought into this form; the message names the entry.
    """
    if 'state_dict' not in checkpoint:
        weights = OrderedDict((key, value) for key, value in checkpoint.items() if isinstance(value, Tensor))
        weights._metadata = getattr(checkpoint, '_metadata', None)
        for key in weights:
            del checkpoint[key]
        checkpoint['state_dict'] = weights
    for part in ('state_dict', 'ema_state_dict'):
        if checkpoint.get(part) is None:
            checkpoint.pop(part, None)
        elif not isinstance(checkpoint[part], dict) or not all(map(_is_name, checkpoint[part])):
            raise CheckpointError(f'{name} has no tensors by name as {part}: give the checkpoint of a segmentor.')
        else:
            checkpoint[part] = _stripped(checkpoint[part], f'{name} ({part})')
            _check_values(checkpoint[part], name)
    if not checkpoint.get('state_dict'):
        raise CheckpointError(f'{name} holds no weights: give the checkpoint of a segmentor.')
    averaged = checkpoint.get('ema_state_dict')
    if averaged is not None:
        checkpoint['ema_state_dict'] = {
            key if key == 'steps' else f'module.{key}': value for key, value in averaged.items()
        }
    _check_meta(checkpoint, name)
    return checkpoint


def _is_name(key: object) -> bool:
    """Return whether a key can be the name of a weight, and can be shown in a one-line error."""
    return isinstance(key, str) and len(key) <= 300 and key.isprintable()


def _stripped(weights: dict, name: str) -> OrderedDict:
    """Return weights with the prefixes of wrappers stripped from their names."""
    found = OrderedDict((PREFIXES.sub('', key), value) for key, value in weights.items())
    if len(found) < len(weights):
        (twice, _), *_ = Counter(PREFIXES.sub('', key) for key in weights).most_common(1)
        raise CheckpointError(
            f'{name} holds {twice} twice, with and without "module." before it: save the weights of one model alone.'
        )
    versions = getattr(weights, '_metadata', None)
    if versions:
        found._metadata = OrderedDict((PREFIXES.sub('', key), value) for key, value in versions.items())
    return found


def _check_values(weights: Mapping[str, object], name: str) -> None:
    for key, value in weights.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f'{name} holds a {type(value).__name__} as {key} where a tensor should be.')
        kind = kind_of(value)
        if kind:
            raise CheckpointError(
                f'{name} holds a tensor that is {kind}, {key}: give a checkpoint of dense, real weights.'
            )
        if not is_finite(value):
            raise CheckpointError(
                f'{name} holds NaN or infinity in {key}: it is damaged or its run diverged; use an earlier one.'
            )


def kind_of(value: Tensor) -> str:
    """Return why a tensor is not dense, real and in memory, or an empty string if it is."""
    if value.is_meta:
        return 'without values'
    if value.is_quantized:
        return 'quantised'
    if value.is_nested or value.layout != torch.strided:
        return 'sparse'
    return '' if value.dtype in KINDS else f'{value.dtype}'.removeprefix('torch.')


def is_finite(value: Tensor) -> bool:
    """Return whether all numbers of a dense tensor are finite."""
    return not value.is_floating_point() or bool(value.detach().isfinite().all())


def _check_meta(checkpoint: dict, name: str) -> None:
    if checkpoint.get('meta') is None:
        checkpoint.pop('meta', None)
    meta = checkpoint.get('meta', {})
    dataset = (meta.get('dataset_meta') or {}) if isinstance(meta, dict) else None
    wrong = ''
    if not isinstance(meta, dict):
        wrong = 'meta'
    elif not isinstance(dataset, dict):
        wrong = 'meta.dataset_meta'
    elif not _are_classes(dataset.get('classes')):
        wrong = 'meta.dataset_meta.classes'
    elif not _is_palette(dataset.get('palette')):
        wrong = 'meta.dataset_meta.palette'
    if wrong:
        raise CheckpointError(f'{name} holds something of a wrong type as {wrong}: use another checkpoint of its run.')


def _are_classes(value: object) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and all(map(_is_name, value)))


def _is_palette(value: object) -> bool:
    return value is None or (
        isinstance(value, (list, tuple))
        and all(
            isinstance(colour, (list, tuple)) and len(colour) == 3 and all(type(part) is int for part in colour)
            for colour in value
        )
    )


# --- Saving -----------------------------------------------------------------------------------------------------------


def make_plain(checkpoint: dict) -> dict:
    """Prepare a checkpoint for saving, so that it can be loaded without trusting it.

    NumPy numbers and arrays become Python numbers and lists. The history of logged scalars is dropped, because it only
    smooths the log. Other objects stay unchanged.

    Args:
        checkpoint: As in a hook's ``before_save_checkpoint``; changed in place, but not the objects in it.

    Returns:
        The same dict.
    """
    hub = checkpoint.get('message_hub')
    if isinstance(hub, dict):
        resumed = {key: value for key, value in hub['resumed_keys'].items() if key not in hub['log_scalars']}
        checkpoint['message_hub'] = dict(hub, log_scalars={}, resumed_keys=resumed)
    plain = Plain()
    for key, value in checkpoint.items():
        checkpoint[key] = plain(value)
    return checkpoint


def checkpoint_bytes(checkpoint: dict) -> bytes:
    """Return the bytes that ``torch.save`` writes for a checkpoint."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def save_checkpoint_file(checkpoint: dict, path: str | Path) -> None:
    """Write a new checkpoint atomically.

    Raises:
        UsageError: A different file of that name exists.
        StorageError: It cannot be written.
    """
    data = checkpoint_bytes(checkpoint)
    check_new(path, data)
    write_bytes(path, data)


def publishable(checkpoint: Mapping) -> dict:
    """Reduce a checkpoint to what others need: the weights, and the names and colours of the classes.

    Convolution weights are stored in float16, at half the size, unless they exceed its range; biases and BN's
    parameters and statistics stay in float32. Loading converts all to the model's dtype.

    Args:
        checkpoint: A checkpoint from :func:`load_checkpoint_file`.

    Returns:
        ``state_dict``, and ``meta`` with ``dataset_meta``, ``epoch`` and ``iter`` if known.
    """
    weights = {name: _halved(value) if value.ndim == 4 else value for name, value in checkpoint['state_dict'].items()}
    meta = checkpoint.get('meta', {})
    return {'meta': {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter') if key in meta}, 'state_dict': weights}


def _halved(value: Tensor) -> Tensor:
    half = value.half() if value.is_floating_point() else value
    return half if is_finite(half) else value


# --- Fitting ----------------------------------------------------------------------------------------------------------


def check_fit(model: nn.Module, checkpoint: dict) -> None:
    """Check that a checkpoint has exactly the weights of a model; MMEngine would only warn about a mismatch.

    Args:
        model: The model, not wrapped.
        checkpoint: A checkpoint from :func:`load_checkpoint_file`.

    Raises:
        CheckpointError: If names are unknown or missing, or shapes differ; it lists them. Or as :func:`check_kinds`.
    """
    own = model.state_dict()
    compare(checkpoint['state_dict'], {name: value.shape for name, value in own.items()}, 'the model')
    check_kinds(checkpoint['state_dict'], own)


def check_kinds(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Check that torch can convert weights to the types of a model without loss of their meaning.

    Raises:
        CheckpointError: They are whole numbers where the model has fractions, as in a quantised model; or they exceed
            the range of the model's type.
    """
    for name, value in weights.items():
        if name not in own or not own[name].is_floating_point():
            continue
        if not is_finite(value.to(own[name].dtype)):
            raise CheckpointError(
                f'The checkpoint holds numbers as {name} that are too large for the model; it is damaged: use another.'
            )
        if not value.is_floating_point():
            kind = f'{value.dtype}'.removeprefix('torch.')
            raise CheckpointError(
                f'The checkpoint holds whole numbers ({kind}) as {name}, where the model has fractions; give a '
                'checkpoint that is not quantised.'
            )


def compare(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple],
    whose: str,
    optional: Iterable[str] = (),
    hint: str = '',
) -> None:
    """Compare the names and shapes of weights with those expected.

    Args:
        weights: Tensors by name.
        expected: Shapes by name.
        whose: What the weights must fit, for the error message.
        optional: Names that may be missing. So may BN's batch counter, as before torch 0.4.1; torch adds it.
        hint: A sentence to append to the error message.

    Raises:
        CheckpointError: If names are unknown or missing, or shapes differ; it lists them.
    """
    unknown = [name for name in weights if name not in expected]
    missing = [
        name
        for name in expected
        if name not in weights and name not in optional and not name.endswith('num_batches_tracked')
    ]
    shapes = [
        f'{name} {tuple(value.shape)} instead of {tuple(expected[name])}'
        for name, value in weights.items()
        if name in expected and value.shape != torch.Size(expected[name])
    ]
    found = [
        f'{what}: {listed(names, LISTED)}'
        for what, names in (('unknown', unknown), ('missing', missing), ('wrongly shaped', shapes))
        if names
    ]
    if found:
        raise CheckpointError(f'The checkpoint does not fit {whose}: {"; ".join(found)}.{hint}')
