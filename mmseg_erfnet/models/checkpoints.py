"""Checkpoints: loaded as data and never as code.

A checkpoint is a pickle, and a pickle is a program. :func:`load_checkpoint_file` runs torch's restricted
interpreter (``weights_only``), which knows tensors and containers. Checkpoints of MMEngine hold two things more, numpy
numbers and ``HistoryBuffer``, whose classes and functions reach further than their data needs: ``builtins.getattr`` is
among them, and ``HistoryBuffer.__setstate__`` writes into its class. The stand-ins below take their place, for data
only. :func:`make_plain` is the other half: what it was applied to before saving loads without any stand-in.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from mmengine.fileio import get_local_path
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.text import listed

LISTED = 20  # names of each kind in an error; a file of another network would fill pages


# --- Loading ----------------------------------------------------------------------------------------------------------


class _Dtype:
    """For ``numpy.dtype``: numbers and strings, and no state but the byte order."""

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        if not re.fullmatch(r'[biufcSU]\d+', name):
            raise pickle.UnpicklingError(f'GLOBAL numpy.dtype({name!r})')
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple):
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """For ``numpy.ndarray``, which a pickle makes empty and then fills."""

    def __new__(cls, *args):
        if args:
            raise pickle.UnpicklingError('GLOBAL numpy.ndarray')
        return super().__new__(cls, 0)

    def __setstate__(self, state: tuple):
        version, shape, dtype, fortran, data = state
        super().__setstate__((version, shape, dtype.dtype, fortran, data))


def _reconstruct(array_type: type, shape: tuple, typecode: bytes) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, data: bytes) -> int | float | complex | str | bytes:
    return np.frombuffer(data, dtype.dtype, 1)[0].item()


class _HistoryBuffer(HistoryBuffer):
    """For MMEngine's ``HistoryBuffer``, which it becomes, without the functions that its state brings along."""

    def __setstate__(self, state: dict):
        self.__init__(*(np.asarray(state[name]) for name in ('_log_history', '_count_history')), state['max_length'])
        self.__class__ = HistoryBuffer


def _getattr(owner: object, name: str) -> str:
    """For ``builtins.getattr``, by which the statistics of a ``HistoryBuffer`` are named: their names will do."""
    if owner is not _HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError('GLOBAL builtins.getattr')
    return name


STAND_INS = [
    (_Dtype, 'numpy.dtype'),
    (_Array, 'numpy.ndarray'),
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
    (_HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_getattr, 'builtins.getattr'),
]


def load_checkpoint_file(path: str | Path, map_location='cpu', trust: bool = False) -> dict:
    """Load a checkpoint as data.

    Files of this project, of the authors, of MMEngine and of MMSegmentation 0.x pass. Numbers and arrays of numpy come
    out as Python's numbers and lists.

    Args:
        path: A file that ``torch.save`` wrote.
        map_location: As in ``torch.load``.
        trust: Unpickle without restriction, which runs whatever code the file brings.

    Returns:
        The checkpoint: a dict with a ``state_dict``, or a dict of tensors by name.

    Raises:
        CheckpointError: If the file is absent, empty, truncated or foreign, or would need to run code.
    """
    path = Path(path).expanduser()
    return _load(path, str(path), map_location, trust)


def install_safe_loading(trust: bool = False) -> None:
    """Make MMEngine load by :func:`load_checkpoint_file` in this process: ``load_from``, ``resume``, ``init_model``.

    It holds for paths and for http addresses. Names in MMEngine's model zoos (``torchvision://``, ``open-mmlab://``)
    stay with MMEngine. To be called by programs, never on import.

    Args:
        trust: As in :func:`load_checkpoint_file`.
    """

    def load_from_file(filename, map_location=None):
        if '://' not in filename:
            return load_checkpoint_file(filename, map_location, trust)
        try:
            with get_local_path(filename) as path:
                return _load(Path(path), filename, map_location, trust)
        except OSError as error:
            raise CheckpointError(f'{filename} cannot be fetched: {error}.') from error

    CheckpointLoader.register_scheme(['', 'http://', 'https://'], load_from_file, force=True)


def _load(path: Path, name: str, map_location, trust: bool) -> dict:
    _check_form(path, name)
    try:
        if trust:
            checkpoint = torch.load(path, map_location, weights_only=False)
        else:
            with torch.serialization.safe_globals(STAND_INS):
                checkpoint = torch.load(path, map_location, weights_only=True)
    except Exception as error:
        wanted = re.search(r'GLOBAL (\S+)', str(error)) or re.search(r'WeightsUnpickler error: (.*)', str(error))
        if wanted and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f'{name} was not loaded, because it is more than data and could run code: it asks for {wanted[1]}. If '
                'you trust whoever made the file, repeat with --trust-checkpoint.'
            ) from error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f'{name} is damaged or no PyTorch checkpoint ({reason}): copy or download it again.'
        ) from error

    if not isinstance(checkpoint, dict) or not _holds_weights(checkpoint):
        found = (
            f'({listed(checkpoint, LISTED)})' if isinstance(checkpoint, dict) else f'(a {type(checkpoint).__name__})'
        )
        raise CheckpointError(
            f'{name} holds neither a state_dict nor tensors by name {found}: give the checkpoint of a segmentor.'
        )
    return _plain(checkpoint)


def _check_form(path: Path, name: str) -> None:
    if not path.is_file():
        raise CheckpointError(f'{name} is not a file: give the path of a checkpoint (.pth).')
    try:
        with path.open('rb') as file:
            head = file.read(4)
    except OSError as error:
        raise CheckpointError(f'{name} cannot be read: {error.strerror}.') from error
    if not head:
        raise CheckpointError(f'{name} is empty: copy or download it again, or use the checkpoint before it.')
    if head != b'PK\x03\x04':
        # torch.save's form before 1.6 is a pickle of protocol 2.
        if head[:1] != b'\x80':
            raise CheckpointError(f'{name} is not a PyTorch checkpoint: torch.save did not write it.')
        return
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f'{name} is truncated: copy or download it again, or use the checkpoint before it.')
    with zipfile.ZipFile(path) as archive:
        members = {member.rpartition('/')[2] for member in archive.namelist()}
    if 'constants.pkl' in members:
        raise CheckpointError(f'{name} is a TorchScript archive: give the checkpoint from which it was made.')
    if 'data.pkl' not in members:
        raise CheckpointError(f'{name} is a zip file, but not one that torch.save wrote.')


def _holds_weights(checkpoint: dict) -> bool:
    weights = checkpoint.get('state_dict', checkpoint)
    return isinstance(weights, dict) and any(isinstance(value, Tensor) for value in weights.values())


def make_plain(checkpoint: dict) -> dict:
    """Turn a checkpoint into what ``torch.load(weights_only=True)`` loads without an allow-list, for saving.

    Numbers and arrays of numpy become Python's numbers and lists. The history of logged scalars is dropped: it only
    smooths the log. Other objects stay as they are.

    Args:
        checkpoint: As in a hook's ``before_save_checkpoint``; changed in place. The objects that it holds are not.

    Returns:
        The same dict.
    """
    hub = checkpoint.get('message_hub')
    if isinstance(hub, dict):
        resumed = {key: value for key, value in hub['resumed_keys'].items() if key not in hub['log_scalars']}
        checkpoint['message_hub'] = dict(hub, log_scalars={}, resumed_keys=resumed)
    for key, value in checkpoint.items():
        checkpoint[key] = _plain(value)
    return checkpoint


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        # A state dict stays itself: its _metadata is an attribute, which a copy would lose.
        if value and all(isinstance(item, Tensor) for item in value.values()):
            return value
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return (tuple if isinstance(value, tuple) else list)(_plain(item) for item in value)
    return value


def save_checkpoint_file(checkpoint: dict, path: str | Path) -> bytes:
    """Write a checkpoint whole or not at all; return what was written.

    Raises:
        StorageError: It cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_bytes(path, buffer.getvalue())
    return buffer.getvalue()


def publishable(checkpoint: Mapping) -> dict:
    """Reduce a checkpoint to what others need: the weights, and the names and colours of the classes.

    Convolutions are stored in float16, half the size; BN's parameters and statistics, which may lie outside its range,
    and biases stay in float32. Loading turns all into the model's type.

    Args:
        checkpoint: What :func:`load_checkpoint_file` returned.

    Returns:
        ``state_dict`` and ``meta`` with ``dataset_meta``, ``epoch`` and ``iter``, where known.
    """
    weights = {name: value.half() if value.ndim == 4 else value for name, value in weights_of(checkpoint).items()}
    meta = checkpoint.get('meta', {})
    return {'meta': {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter') if key in meta}, 'state_dict': weights}


# --- Fitting ----------------------------------------------------------------------------------------------------------


def check_fit(model: nn.Module, checkpoint: dict) -> None:
    """Check that a checkpoint has just the weights of a model, which MMEngine would only warn about.

    Args:
        model: The model, wrapped or not.
        checkpoint: What :func:`load_checkpoint_file` returned.

    Raises:
        CheckpointError: If names are unknown or missing, or shapes differ; it lists them.
    """
    expected = {name: value.shape for name, value in weights_of(model.state_dict()).items()}
    compare(weights_of(checkpoint), expected, 'the model')


def weights_of(checkpoint: Mapping) -> dict[str, Tensor]:
    weights = checkpoint.get('state_dict', checkpoint)
    # Before the names stands what wraps the model: DataParallel, test-time augmentation, or both.
    return {re.sub(r'^(module\.)+', '', name): value for name, value in weights.items()}


def compare(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple],
    whose: str,
    optional: Iterable[str] = (),
    hint: str = '',
) -> None:
    unknown = [name for name in weights if name not in expected]
    # Before torch 0.4.1 a BN did not count its batches; torch sets the number itself where it is missing.
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
