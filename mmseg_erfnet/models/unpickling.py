"""Read ``torch.save`` files without executing their code, in time and memory bounded by the file's size.

A checkpoint is a pickle, and a pickle is a program. ``torch.load(weights_only=True)`` restricts it, but its interpreter
still builds sparse, quantised and meta tensors, allocates sizes that the file only declares, and hangs or kills the
process on deeply nested or shared structures (seen with torch 2.13: a tuple of 10^6 levels as a key, and a list of 60
shared levels in an error message). The interpreter in this module supports dense tensors, containers, plain numbers
and, for MMEngine's checkpoints, NumPy numbers and ``HistoryBuffer``. It refuses everything else by name.

It reads both formats of ``torch.save``: a zip archive with ``data.pkl`` and one member per storage; and, from before
torch 1.6, five pickles followed by the storages.
"""

import io
import pickle
import re
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import PurePath

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

MAX_DEPTH = 100  # levels of nesting; MMEngine's checkpoints have 6
# Shared parts are stored once. When expanded, they may be this many times as large as the file, plus a margin for
# small files; tied weights and the references in a state dict stay far below this limit.
MAX_EXPANSION, SLACK = 8, 1 << 20
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

DTYPES = dict(
    FloatStorage=torch.float32,
    DoubleStorage=torch.float64,
    HalfStorage=torch.float16,
    BFloat16Storage=torch.bfloat16,
    LongStorage=torch.int64,
    IntStorage=torch.int32,
    ShortStorage=torch.int16,
    CharStorage=torch.int8,
    ByteStorage=torch.uint8,
    BoolStorage=torch.bool,
)


class Refused(pickle.UnpicklingError):
    """A file requests something that is not data; the argument names it."""


class NotDense(pickle.UnpicklingError):
    """A file contains a tensor that is not dense and real; the argument names its kind."""


# --- Stand-ins for the classes and functions that a pickle requests ---------------------------------------------------


class _Storage:
    """A block of memory that tensors view. It may be filled later, as in the format from before torch 1.6."""

    def __init__(self, dtype: torch.dtype, size: int) -> None:
        self.dtype, self.size, self.flat = dtype, size, None

    def fill(self, data: bytes, swapped: bool = False) -> None:
        if len(data) != self.size * self.dtype.itemsize:
            raise pickle.UnpicklingError(f'a storage of {self.size} numbers has {len(data)} bytes')
        if swapped and self.dtype.itemsize > 1:
            data = np.frombuffer(data, f'u{self.dtype.itemsize}').byteswap().tobytes()
        # A copy, because a tensor needs writable memory.
        self.flat = torch.frombuffer(bytearray(data), dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)


class _Storages(dict):
    """The storages of a file, by key."""

    def at(self, dtype: torch.dtype, key: str, size: int) -> _Storage:
        found = self.setdefault(key, _Storage(dtype, size))
        if (found.dtype, found.size) != (dtype, size):
            raise pickle.UnpicklingError('a storage has two types or sizes')
        return found


class _View:
    """A tensor whose storage may not be filled yet."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *rest) -> None:
        numbers = (offset, *shape, *strides)
        if type(storage) is not _Storage or not all(type(number) is int and number >= 0 for number in numbers):
            raise pickle.UnpicklingError('a tensor has no valid storage, shape or strides')
        if len(shape) != len(strides) or len(shape) > 64:
            raise pickle.UnpicklingError('the shape of a tensor does not fit its strides')
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)
        self.numel = int(np.prod(self.shape, dtype=object)) if self.shape else 1
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.numel and offset + last >= storage.size:
            raise pickle.UnpicklingError('a tensor reaches beyond its storage')

    @property
    def nbytes(self) -> int:
        return self.numel * self.storage.dtype.itemsize

    def tensor(self) -> Tensor:
        if self.storage.flat is None:
            raise pickle.UnpicklingError('a storage is missing')
        if not self.numel:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        return self.storage.flat.as_strided(self.shape, self.strides, self.offset)


class _Dtype:
    """Stands in for ``numpy.dtype``: numbers and strings, with the byte order as the only state."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        if isinstance(name, bytes):
            name = name.decode('ascii')
        if type(name) is not str or not re.fullmatch(r'[biufcSU]\d{1,9}', name):
            raise Refused(f'numpy.dtype({name[:20]!r})' if type(name) is str else 'numpy.dtype')
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for ``numpy.ndarray``, which a pickle creates empty and then fills."""

    value = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        # Reshape only if there is data: next to a dimension of size 0, others could make the nested list endless.
        value = np.frombuffer(data, dtype.dtype) if data else np.empty(0, dtype.dtype)
        self.value = value.reshape(shape, order='F' if fortran else 'C') if data else value


def _reconstruct(array_type: object, shape: tuple, typecode: bytes) -> _Array:
    return _Array()


def _new_array(*args) -> None:
    raise Refused('numpy.ndarray')


def _scalar(dtype: _Dtype, data: bytes) -> int | float | complex | str | bytes:
    return np.frombuffer(data, dtype.dtype, 1)[0].item()


class _Buffer:
    """Stands in for MMEngine's ``HistoryBuffer``, without the functions in its state."""

    history = None

    def __setstate__(self, state: dict) -> None:
        histories = [np.asarray(state[name].value) for name in ('_log_history', '_count_history')]
        if type(state['max_length']) is not int or any(
            history.ndim != 1 or history.dtype.kind not in 'biuf' for history in histories
        ):
            raise pickle.UnpicklingError('a HistoryBuffer holds no numbers')
        self.history = HistoryBuffer(*histories, state['max_length'])


def _getattr(owner: object, name: str) -> str:
    """Stands in for ``builtins.getattr``, which looks up the statistics of a ``HistoryBuffer``; returns the name."""
    if owner is not _Buffer or name not in ('min', 'max', 'current', 'mean'):
        raise Refused('builtins.getattr')
    return name


class _Ordered(OrderedDict):
    """Stands in for ``OrderedDict``, whose only state is the module versions of a state dict."""

    def __setstate__(self, state: dict) -> None:
        self._metadata = state.get('_metadata')


def _ordered(pairs: list = ()) -> _Ordered:
    return _Ordered((_key(key), value) for key, value in pairs)


def _counter(counts: dict) -> Counter:
    if type(counts) is not dict:
        raise pickle.UnpicklingError('a Counter is made of no dict')
    return Counter(counts)


def _set(items: list = ()) -> set:
    return {_key(item) for item in items}


def _size(sizes: tuple = ()) -> torch.Size:
    return torch.Size([size for size in sizes if type(size) is int])


def _device(kind: str, index: int | None = None) -> str:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise pickle.UnpicklingError('a device has no name')
    return kind if index is None else f'{kind}:{index}'


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':  # some other encodings take quadratic time
        raise Refused('_codecs.encode')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    return b''


def _parameter(data: _View, *rest) -> _View:
    return data


def _key(key: object) -> object:
    """Return a dict key if hashing it is cheap; hashing a nested key can kill the process."""
    parts = key if type(key) is tuple else (key,)
    if not all(part is None or type(part) in (str, int, float, bool, bytes) for part in parts):
        raise pickle.UnpicklingError(f'a {type(key).__name__} is the key of a dict')
    return key


STAND_INS = {
    'collections.OrderedDict': _ordered,
    'collections.Counter': _counter,
    'builtins.set': _set,
    'builtins.bytes': _no_bytes,
    'builtins.getattr': _getattr,
    '_codecs.encode': _encode,
    'torch.Size': _size,
    'torch.device': _device,
    'torch._utils._rebuild_tensor': _View,
    'torch._utils._rebuild_tensor_v2': _View,
    'torch._utils._rebuild_parameter': _parameter,
    'numpy.dtype': _Dtype,
    'numpy.ndarray': _new_array,
    'mmengine.logging.history_buffer.HistoryBuffer': _Buffer,
    **{f'numpy.{core}.multiarray._reconstruct': _reconstruct for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': _scalar for core in ('core', '_core')},
    **{f'torch.{name}': dtype for name, dtype in DTYPES.items()},
    **{str(dtype): dtype for dtype in DTYPES.values()},
}
# Names from Python 2, which wrote the oldest checkpoints.
MODULES = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}
CALLABLE = {id(stand_in) for stand_in in STAND_INS.values() if not isinstance(stand_in, torch.dtype)}
STATEFUL = (_Ordered, _Array, _Dtype, _Buffer)


# --- The interpreter --------------------------------------------------------------------------------------------------


OPERATIONS = [pickle.PROTO, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.NONE, pickle.NEWTRUE]
OPERATIONS += [pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT]
OPERATIONS += [pickle.BINUNICODE, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.EMPTY_DICT, pickle.EMPTY_LIST]
OPERATIONS += [pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.BINGET]
OPERATIONS += [pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT, pickle.GLOBAL, pickle.BINPERSID]


class _Operations(dict):
    def __missing__(self, operation: int) -> None:
        raise pickle.UnpicklingError(f'torch.save writes no operation {operation}')


class _Interpreter(pickle._Unpickler):
    """Python's pickle interpreter, restricted so that only the stand-ins can be called.

    Args:
        file: The pickle.
        storage: Returns the storage for a dtype, a key and a number of elements.
    """

    def __init__(self, file: io.BytesIO, storage: Callable[[torch.dtype, str, int], _Storage]) -> None:
        super().__init__(file, encoding='utf-8')
        self.storage = storage

    def find_class(self, module: str, name: str) -> object:
        full = f'{MODULES.get(module, module)}.{name}'
        if full in STAND_INS:
            return STAND_INS[full]
        shown = re.sub(r'[^\x21-\x7e]', '?', full)[:80]
        if re.match(r'torch\._(utils|tensor)\._rebuild_|torch\.(storage\.)?\w*Storage$', full):
            raise NotDense(shown)
        raise Refused(shown)

    def persistent_load(self, identity: tuple) -> _Storage:
        kind, dtype, key, _, size, *view = identity
        if kind not in ('storage', b'storage') or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError('a storage has no known type')
        if type(size) is not int or size < 0 or type(key) not in (str, int) or any(view):
            raise pickle.UnpicklingError('a storage has no valid name, size or view')
        return self.storage(dtype, str(key), size)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        # By identity: comparing or printing objects from the file may take forever.
        if id(function) not in CALLABLE:
            raise pickle.UnpicklingError(f'a {type(function).__name__} is called')
        self.stack[-1] = function(*arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        if self.stack.pop() is not _Buffer or arguments:
            raise pickle.UnpicklingError('an object is made')
        self.append(_Buffer())

    def load_build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) not in STATEFUL:
            raise pickle.UnpicklingError(f'a {type(self.stack[-1]).__name__} gets a state')
        self.stack[-1].__setstate__(state)

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError(f'a {type(self.stack[-1]).__name__} is appended to')
        self.stack[-1].extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list) -> None:
        if type(self.stack[-1]) not in (dict, _Ordered, Counter):
            raise pickle.UnpicklingError(f'items of a {type(self.stack[-1]).__name__} are set')
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    # Only the operations that torch.save writes, including those of Python 2.
    dispatch = _Operations()
    dispatch |= {code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPERATIONS}
    dispatch |= {
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def loads(data: bytes) -> object:
    """Read a checkpoint.

    Args:
        data: The content of the file.

    Returns:
        The saved object, made of tensors, containers, numbers and text. Shared parts stay shared. NumPy numbers and
        arrays become Python numbers and lists; devices become text.

    Raises:
        Refused: The file contains more than data.
        NotDense: A tensor is sparse, quantised, complex, or has no memory.
        Exception: The file is damaged; the type depends on the damage.
    """
    found = _from_zip(data) if data[:4] == b'PK\x03\x04' else _from_pickles(data)
    return Plain(MAX_EXPANSION * len(data) + SLACK)(found)


def members_of(data: bytes) -> tuple[zipfile.ZipFile, set[str]]:
    """Open an archive and return it with its member names, after checking that reading needs no more than its size."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise zipfile.BadZipFile('its members are compressed')
    names = {member.filename for member in members}
    if len(names) < len(members) or sum(member.file_size for member in members) > len(data):
        raise zipfile.BadZipFile('its members overlap')
    return archive, names


def _from_zip(data: bytes) -> object:
    archive, names = members_of(data)
    (pickled,) = (name for name in names if name.count('/') == 1 and name.endswith('/data.pkl'))
    root = pickled.removesuffix('data.pkl')
    order = archive.read(f'{root}byteorder').decode('ascii') if f'{root}byteorder' in names else 'little'
    if order not in ('little', 'big'):
        raise pickle.UnpicklingError('its byte order is unknown')
    storages = _Storages()
    found = _Interpreter(io.BytesIO(archive.read(pickled)), storages.at).load()
    for key, storage in storages.items():
        # ZipFile.read verifies the checksum.
        storage.fill(archive.read(f'{root}data/{key}'), swapped=order != sys.byteorder)
    return found


def _from_pickles(data: bytes) -> object:
    file, storages = io.BytesIO(data), _Storages()

    def read() -> object:
        return _Interpreter(file, storages.at).load()

    if read() != LEGACY_MAGIC or read() != LEGACY_PROTOCOL:
        raise pickle.UnpicklingError('torch.save did not write it')
    if read().get('little_endian') is not True:
        raise pickle.UnpicklingError('its byte order is unknown')
    found = read()
    for key in read():
        storage = storages[str(key) if type(key) in (str, int) else None]
        if file.read(8) != struct.pack('<q', storage.size):
            raise pickle.UnpicklingError('a storage has two sizes')
        storage.fill(file.read(storage.size * storage.dtype.itemsize), swapped=sys.byteorder != 'little')
    return found


class Plain:
    """Converts all NumPy numbers in a structure to Python numbers; shared parts stay shared.

    Args:
        budget: Maximum size of the structure with its shared parts expanded, in items plus bytes of tensors, because
            later code may not know which parts are shared. None for our own data, which is not checked.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget, self.spent = budget, 0
        self.done = {}  # id of a container: the container, its converted form, its size
        self.open = 0

    def __call__(self, value: object) -> object:
        self._spend(1)
        simple = self._simple(value)
        if simple is not NotImplemented:
            return simple
        if id(value) in self.done:
            _, result, size = self.done[id(value)]
            if result is NotImplemented:
                raise pickle.UnpicklingError('a container holds itself')
            self._spend(size)
            return result
        if self.budget is not None and self.open > MAX_DEPTH:
            raise pickle.UnpicklingError(f'it is nested over more than {MAX_DEPTH} levels')
        before = self.spent
        self.done[id(value)] = value, NotImplemented, 0
        self.open += 1
        result = self._container(value)
        self.open -= 1
        self.done[id(value)] = value, result, self.spent - before
        return result

    def _spend(self, size: int) -> None:
        self.spent += size
        if self.budget is not None and self.spent > self.budget:
            raise pickle.UnpicklingError('its shared parts make it many times as large as the file')

    def _simple(self, value: object) -> object:
        if value is None or isinstance(value, (bool, int, float, str, bytes, torch.Size, torch.dtype)):
            # Subclasses, such as NumPy's float64, become Python's own types.
            return value.item() if isinstance(value, np.generic) else value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, (_View, Tensor)):
            self._spend(value.nbytes if isinstance(value, _View) else 0)
            return value.tensor() if isinstance(value, _View) else value
        if isinstance(value, (_Array, np.ndarray)):
            array = value.value if isinstance(value, _Array) else value
            self._spend(array.size)
            return array.tolist()
        if isinstance(value, _Buffer):
            return value.history
        return NotImplemented

    def _container(self, value: object) -> object:
        if isinstance(value, dict):
            items = {self(key): self(item) for key, item in value.items()}
            if isinstance(value, Counter):
                return Counter(items)
            if not hasattr(value, '_metadata'):
                return items
            result = OrderedDict(items)
            result._metadata = value._metadata if self.budget is None else _versions(value._metadata)
            return result
        if isinstance(value, (list, tuple)):
            return (tuple if isinstance(value, tuple) else list)(self(item) for item in value)
        if isinstance(value, set):
            return {self(item) for item in value}
        if self.budget is None:
            return value
        raise pickle.UnpicklingError(f'it holds a {type(value).__name__} that is not data')


def _versions(metadata: object) -> OrderedDict:
    """Return only the module versions from a state dict's metadata; loading the modules needs them."""
    found = OrderedDict()
    for name, entry in metadata.items() if isinstance(metadata, dict) else ():
        if isinstance(name, str) and isinstance(entry, dict) and type(entry.get('version')) is int:
            found[name] = dict(version=entry['version'])
    return found
