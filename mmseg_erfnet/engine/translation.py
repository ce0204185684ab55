"""Translate errors of MMEngine, MMCV, MMSegmentation and torch that a user can cause into one sentence each.

Only this module distinguishes user errors from bugs of this project. It applies these rules, in this order:

1. A :class:`~mmseg_erfnet.errors.UserError` is a user error.
2. While an object is built from a config (a frame of MMEngine's ``build_from_cfg``, of ``Runner``'s construction, or of
   MMCV's layer builders is on the stack), any error raised by third-party code is a user error, because its arguments
   come from the config. In our own code, a ``ValueError`` from a ``raise`` statement is one, because it comes from an
   argument check; so is any error if an argument does not have the type that the constructor's annotation specifies.
3. While a pipeline runs, any error that third-party code raises in a step is a user error; in our own code, again only
   ``raise ValueError``.
4. Some kinds of errors are recognised by their text, wherever they come from: devices, memory, dead workers, different
   sizes within a batch, a head that does not fit its backbone, a missing package.
5. While a run uses what its config describes, any error raised by code of MMEngine, MMCV or MMSegmentation, or of torch
   that they call, is a user error.
6. An ``OSError`` about a file that cannot be written is a user error. So is one about a missing file, unless our own
   line of code that opens it contains its name; otherwise, the name comes from the command line or the config.

Anything else is a bug: it is left unchanged and ends with a traceback.
"""

import errno
import linecache
import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import Registry

from mmseg_erfnet.engine.argument_types import mistyped
from mmseg_erfnet.engine.options import ENTRIES, arguments_of, levels, nearest, registered, registered_names
from mmseg_erfnet.engine.shared_memory import LOADERS, room
from mmseg_erfnet.errors import DataError, StorageError, UsageError, UserError
from mmseg_erfnet.files import REMEDIES, storage_error

OURS = str(Path(__file__).resolve().parents[1])
BUILDERS = ('build_from_cfg', 'build_scheduler_from_cfg', 'build_runner_from_cfg')
# MMCV's functions that look up a layer and build it without build_from_cfg.
LAYER_BUILDERS = ('build_conv_layer', 'build_norm_layer', 'build_activation_layer', 'build_padding_layer')
LONGEST = 200


@dataclass
class Frame:
    """One frame of a traceback.

    Attributes:
        file: Path of the file.
        line: Line number.
        function: Name of the function.
        variables: Its local variables; empty if only the text of the traceback is available.
    """

    file: str
    line: int
    function: str
    variables: Mapping = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.file.startswith(OURS)

    @property
    def is_openmmlab(self) -> bool:
        return re.search(r'[\\/](mmengine|mmcv|mmseg)[\\/]', self.file) is not None

    @property
    def code(self) -> str:
        """The line itself."""
        return linecache.getline(self.file, self.line).strip()


def translate(error: BaseException, cfg: Config | None = None) -> UserError | None:
    """Return a one-sentence error if the user can have caused it, or None for a bug of this project.

    Args:
        error: Any error, with its traceback.
        cfg: The config in use; by default, the outermost one among the variables of the traceback.
    """
    if isinstance(error, UserError):
        return error
    frames = _frames(error)
    if not frames:
        return None
    cfg = cfg or next((value for frame in frames for value in frame.variables.values() if type(value) is Config), None)
    for rule in (_by_text, _incomplete, _built, _in_pipeline, _missing_package, _file, _used):
        found = rule(error, frames, cfg)
        if found is not None:
            return found
    return None


def _frames(error: BaseException) -> list[Frame]:
    """Return the frames, outermost first, including those in a data loader's worker."""
    # MMEngine 0.10.7 re-raises a constructor's error with the same type and a longer text.
    while error.__context__ is not None and str(error).startswith('class `'):
        error = error.__context__
    frames = [
        Frame(frame.f_code.co_filename, line, frame.f_code.co_name, frame.f_locals)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if 'Original Traceback' in str(error):
        lines = re.findall(r'^  File "(.+)", line (\d+), in (\S+)', str(error), re.MULTILINE)
        frames += [Frame(file, int(line), function) for file, line, function in lines]
    return frames


def reason(error: BaseException) -> str:
    """Return an error's text as one line of limited length, without the text that MMEngine and torch add to it."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'Original Traceback' in text:
        text = re.split(r'\n(?=\S)', text.strip())[-1].partition(': ')[2]
    text = re.sub(r'^(class `\w+` in \S+: |There are syntax errors in config file \S+: )+', '', text.strip())
    text = text.replace('(<unknown>, line', '(line')  # the file name that ast uses for source given as text
    line = (text.splitlines() or [''])[0].strip().rstrip('.:,')
    if isinstance(error, KeyError) and re.fullmatch(r'\w+', line):
        line = f'it has no {line!r}'
    return (line if len(line) <= LONGEST else f'{line[:LONGEST]} ...') or type(error).__name__


# --- 2. Objects that are built from a config --------------------------------------------------------------------------


def _built(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    builds = [index for index, frame in enumerate(frames) if _builds(frame)]
    last = max(builds, default=-1)
    layer = max((index for index, frame in enumerate(frames) if _builds_layer(frame)), default=-1)
    loader = max((index for index, frame in enumerate(frames) if frame.function == 'build_dataloader'), default=-1)
    found = None
    if 'None' in str(error):  # in the messages of MMEngine and MMCV about a name that they could not find
        found = _unknown_type(cfg)
    if found is None and loader >= last:
        return _by_runner(error, frames, cfg) if layer < 0 else None
    known = [frames[index] for index in builds]
    if found is None and known and not isinstance(known[-1].variables.get('cfg'), Mapping):
        return _no_config(frames[: last + 1], known, cfg)
    if found is None and last == len(frames) - 1:
        found = _not_built(error, known, cfg)
    argument = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is None and argument:
        found = _unknown_argument(argument[1], known, cfg)
    if found is None and _is_users(error, frames, known):
        found = _value(error, known, cfg, layer > last)
    return found


def _no_config(frames: list[Frame], builds: list[Frame], cfg: Config | None) -> UserError:
    """Translate an error about an entry that should be a dict with a ``type``."""
    asked = (re.search(r'\.build\((\w+)\)', frame.code) for frame in reversed(frames))
    name = next((found[1] for found in asked if found and found[1] != 'cfg'), 'An entry')
    where = f'{_key_of(cfg, builds[-2])}.{name}' if len(builds) > 1 else name
    return UsageError(
        f'{where} cannot be used: it is {builds[-1].variables.get("cfg")!r}, not a dict with a type; correct it in the '
        'config.'
    )


def _value(error: BaseException, builds: list[Frame], cfg: Config | None, is_layer: bool) -> UserError | None:
    """Translate a constructor's error about its arguments."""
    if isinstance(error, ImportError) or (isinstance(error, OSError) and error.filename):
        return None  # later rules give more specific messages about packages and files
    where = _key_of(cfg, builds[-1])
    if is_layer:
        return UsageError(f'{where} asks for a layer that cannot be built: {reason(error)}; correct it.')
    name = _argument_meant(builds[-1], reason(error))
    return UsageError(f'{where}{"." + name if name else ""} cannot be used: {reason(error)}; correct it in the config.')


def _builds_layer(frame: Frame) -> bool:
    return frame.function in LAYER_BUILDERS and not frame.is_ours


def _builds(frame: Frame) -> bool:
    return frame.function in BUILDERS and frame.file.endswith('build_functions.py')


def _is_users(error: BaseException, frames: list[Frame], builds: list[Frame]) -> bool:
    """Return whether an error during construction is caused by the config: rule 2."""
    last = frames[-1]
    if not last.is_ours or _is_check(error, last):
        return True
    return any(mistyped(frame.variables.get('obj_cls'), _arguments(frame)) for frame in builds)


def _is_check(error: BaseException, frame: Frame) -> bool:
    """Return whether our own code raised an error deliberately."""
    return type(error) is ValueError and frame.code.startswith('raise ')


def _arguments(frame: Frame) -> dict:
    arguments = frame.variables.get('args')
    return dict(arguments) if isinstance(arguments, Mapping) else {}


def _not_built(error: BaseException, builds: list[Frame], cfg: Config | None) -> UserError | None:
    """Translate errors of ``build_from_cfg`` itself: no type, or one that is not registered."""
    frame = builds[-1]
    if not isinstance(error, (KeyError, TypeError)):
        return None
    variables, where = frame.variables, _key_of(cfg, frame)
    kind, registry = variables.get('obj_type'), variables.get('registry')
    if isinstance(kind, str) and variables.get('obj_cls', variables.get('scheduler_cls')) is None:
        meant = _nearest_type(kind, registry) if isinstance(registry, Registry) else None
        return _unknown(f'{where}.type', kind, meant)
    missing = re.search(r'missing \d+ required (?:positional|keyword-only) arguments?: (.+)$', reason(error))
    if missing:
        names = re.findall(r"'(\w+)'", missing[1])
        return UsageError(f'{where} lacks {", ".join(names)}, which {_named(frame)} needs; set it in the config.')
    if 'must contain the key "type"' in str(error):
        return UsageError(f'{where} has no type; set it to the name of a class.')
    return None


def _unknown_type(cfg: Config | None) -> UserError | None:
    """Return the error for the first type in a config that no registry knows."""
    for path, level in levels(cfg) if cfg is not None else ():
        kind = level.get('type')
        if isinstance(kind, str) and registered(kind) is None:
            return _unknown(f'{path}.type', kind, nearest(kind.rpartition('.')[2], registered_names()))
    return None


def _unknown(key: str, kind: str, meant: str | None) -> UserError:
    hint = f'did you mean {meant}?' if meant and meant != kind else 'correct it, or name its module in custom_imports.'
    return UsageError(f'{key} is {kind!r}, which is not a registered name; {hint}')


def _nearest_type(kind: str, registry: Registry) -> str | None:
    """Return the most similar registered name, written as this registry's scope requires."""
    scope, _, name = kind.rpartition('.')
    written = {}
    for prefix, names in _below(registry):
        written |= {one: f'{prefix}.{one}' for one in names if one not in written or prefix == scope}
    while registry is not None and not scope:
        written |= {one: one for one in registry.module_dict}
        registry = registry.parent
    return written.get(nearest(name, list(written)))


def _below(registry: Registry) -> list[tuple[str, list[str]]]:
    """Return the scopes below a registry, including its own and its parent's, each with its registered names."""
    found = [(registry.scope, list(registry.module_dict))]
    for child in registry.children.values():
        found += _below(child)
    return found


def _unknown_argument(name: str, builds: list[Frame], cfg: Config | None) -> UserError | None:
    # A class that passes its arguments on to its base class is further out than the failing call.
    for frame in reversed(builds):
        if name in _arguments(frame):
            kind = frame.variables.get('obj_cls')
            meant = nearest(name, [one for one in arguments_of(kind) if one not in _arguments(frame)])
            remedy = f'did you mean {meant}?' if meant else 'remove it, or choose another type.'
            return UsageError(f'{_key_of(cfg, frame)}.{name} is not an argument of {_named(frame)}; {remedy}')
    return None


def _named(frame: Frame) -> str:
    return getattr(frame.variables.get('obj_cls'), '__name__', str(frame.variables.get('obj_type')))


def _argument_meant(frame: Frame, text: str) -> str | None:
    """Return the argument that an error's text names, or the only one whose value the text ends with."""
    arguments = _arguments(frame)
    named = [name for name in arguments if re.search(rf'\b{re.escape(name)}\b', text)]
    if named:
        return max(named, key=len)
    wrong = mistyped(frame.variables.get('obj_cls'), arguments)
    if len(wrong) == 1:
        return wrong[0]
    got = re.search(r'(?:got|:) (\S+)$', text)
    same = [name for name, value in arguments.items() if got and str(value) == got[1].strip('.\'"')]
    return same[0] if len(same) == 1 else None


def _key_of(cfg: Config | None, frame: Frame) -> str:
    """Return the dotted key of the config dict from which an object is built."""
    given = frame.variables.get('cfg')
    kind = given.get('type') if isinstance(given, Mapping) else None
    known = list(levels(cfg)) if cfg is not None else []
    for same in (
        lambda level: level == given,
        lambda level: all(key in given and _equal(given[key], value) for key, value in level.items()),
        lambda level: True,
    ):
        for path, level in known:
            if isinstance(given, Mapping) and level.get('type') == kind and same(level):
                return path
    return f'the config of {getattr(kind, "__name__", kind)}'


def _equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except (RuntimeError, ValueError):  # tensors
        return False


def _by_runner(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    """Translate errors that ``Runner`` and ``DataLoader`` raise themselves, without a registry."""
    steps = {frame.function: frame for frame in frames if frame.file.endswith('runner.py') and not frame.is_ours}
    if frames[-1].is_ours or isinstance(error, (ImportError, OSError)):
        return None
    if 'build_dataloader' in steps:
        given = steps['build_dataloader'].variables.get('dataloader')
        where = _loader_of(cfg, given) or 'A dataloader of the config'
        argument = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        from torch.utils.data import DataLoader

        meant = argument and nearest(argument[1], arguments_of(DataLoader))
        what = f'has {argument[1]}, which no data loader takes' if argument else f'cannot be used: {reason(error)}'
        remedy = f'did you mean {meant}?' if meant else 'correct it in the config.'
        return UsageError(f'{where} {what}; {remedy}')
    if '_maybe_compile' in steps:  # wraps the function only; it is compiled when it is called
        return UsageError(f'compile cannot be used: {reason(error)}; correct it in the config.')
    if any(name in ('__init__', 'from_cfg') or name.startswith(('build_', 'register_')) for name in steps):
        return UsageError(f'The config does not describe a valid run: {reason(error)}; correct it.')
    return None


def _loader_of(cfg: Config | None, given: object) -> str | None:
    """Return the data loader of a config that has the same dataset, and most of the same other settings."""
    loaders = {name: cfg[name] for name in LOADERS if cfg is not None and isinstance(cfg.get(name), Mapping)}
    if not isinstance(given, Mapping):
        return None
    same = {
        name: sum(loader[key] == given.get(key) for key in loader)
        for name, loader in loaders.items()
        if loader.get('dataset') == given.get('dataset')
    }
    return max(same, key=same.get, default=None)


# --- 3. Pipelines -----------------------------------------------------------------------------------------------------


def _in_pipeline(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    steps = [frame for frame in frames if frame.function == 'transform' and re.search(r'transforms?\b', frame.file)]
    if not steps or isinstance(error, OSError):
        return None
    last = frames[-1]
    if last.is_ours and not _is_check(error, last):
        return None
    name = type(steps[-1].variables['self']).__name__ if 'self' in steps[-1].variables else ''
    results = steps[-1].variables.get('results') or {}
    path = results.get('img_path') if isinstance(results, Mapping) else None
    who = f'The step {name} of the pipeline' if name else 'A step of the pipeline'
    return DataError(
        f'{who} cannot work{f" on {path}" if path else ""}: {reason(error)}; correct the pipeline in the config, or '
        'the file.'
    )


# --- 4. By text -------------------------------------------------------------------------------------------------------

SHM = 'give the container more shared memory (docker run --shm-size=1g), or set num_workers and batch_size lower'
TEXTS = (
    (
        r'Torch not compiled with CUDA enabled|Found no NVIDIA driver|No CUDA GPUs are available',
        'torch finds no CUDA device here; choose --device cpu, or install a torch with CUDA and its driver.',
    ),
    (
        r'Expected one of cpu, cuda.* device type at start of device string: (\S+)',
        'There is no device {0}; choose cpu or cuda.',
    ),
    (r'Invalid device string: (.+)', 'There is no device {0}; choose cpu or cuda.'),
    (r'CUDA error: invalid device ordinal', 'There is no GPU with that number; numbers start at 0.'),
    (
        r'CUDA out of memory|CUDA error: out of memory',
        'The GPU has too little memory; set a smaller batch_size or crop, or use --amp.',
    ),
    (
        r"can't allocate memory|not enough memory",
        'This machine has too little memory; set a smaller size, batch_size or crop.',
    ),
    (
        r'DataLoader timed out after (\S+) seconds',
        'No batch came from the data loader within {0} s (/dev/shm has {room} free): a worker hangs, or cannot pass a '
        'batch on; ' + SHM + ', or, if the data are slow, set timeout of the dataloader higher.',
    ),
    (
        r'DataLoader worker \(pid.*\) is killed by signal: Bus error',
        'A data loader worker died for lack of shared memory (/dev/shm has {room} free); ' + SHM + '.',
    ),
    (
        r'unable to (?:write to|allocate|open) (?:file|shared memory|mmap).*(?:No space left|shm|/torch_)',
        'There is too little shared memory for the batches (/dev/shm has {room} free); ' + SHM + '.',
    ),
    (
        r'DataLoader worker \(pid.*\) (?:is killed by signal|exited unexpectedly)',
        'A data loader worker was killed, most likely for lack of memory; lower num_workers, batch_size, or cache_gb '
        'of the dataset.',
    ),
    (
        r'image size in a batch should be the same|stack expects each tensor to be equal size|'
        r'Sizes of tensors must match except in dimension 0',
        'The frames of a batch differ in size; resize or crop them to one size in the pipeline, or set batch_size=1.',
    ),
    (
        r'only one of size and size_divisor should be valid',
        'model.data_preprocessor needs either size or size_divisor for training; set one of them.',
    ),
    (
        r'expected input.* to have (\d+) channels, but got (\d+) channels',
        'A layer of the model takes {0} channels, but gets {1}; set in_channels, in_index and the channels of '
        'backbone, neck and heads so that they fit.',
    ),
    (
        r'Expected more than 1 value per channel when training',
        'BatchNorm cannot train on a single value per channel; set a batch_size above 1.',
    ),
    (
        r'A label is (\d+), but the model has (\d+) classes',
        'A label is {0}, but the model has {1} classes; check num_classes, and that the dataset fits its labels.',
    ),
)


def _by_text(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError':
        text = f'CUDA out of memory {text}' if 'CUDA' in text else "can't allocate memory"
    for pattern, sentence in TEXTS:
        found = re.search(pattern, text)
        if found:
            free = room()
            values = [group.strip("'.") for group in found.groups()]
            return UsageError(sentence.format(*values, room='nothing' if free is None else f'{free / 1e6:.0f} MB'))
    return None


# --- 5. What a config describes, in use -------------------------------------------------------------------------------


def _used(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    if cfg is None or isinstance(error, (OSError, ImportError, MemoryError)):
        return None
    known = [frame for frame in frames if frame.is_ours or frame.is_openmmlab]
    if known[-1].is_ours:
        return None
    for frame in reversed(known):
        user = frame.variables.get('self')
        # A loop is on the stack of every error; it is the cause only if it raised the error itself.
        if user is None or (hasattr(user, 'run_iter') and frame is not known[-1]):
            continue
        where = next((path for path, level in levels(cfg) if _describes(level, user)), None)
        if where:
            return UsageError(
                f'{where} ({type(user).__name__}) cannot be used: {reason(error)}; correct it in the config.'
            )
    return None


def _describes(level: Mapping, thing: object) -> bool:
    kind = level.get('type')
    if isinstance(kind, str) and kind.rpartition('.')[2] == type(thing).__name__:
        kind = registered(kind)
    return kind is type(thing)


# Entries that our code reads from every config. Any other missing attribute is a bug of ours.
NEEDED = (*ENTRIES, 'dataset', 'type', 'pipeline', 'batch_size', 'num_workers', 'optimizer', 'backbone', 'decode_head')


def _incomplete(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    found = re.search(r"'Config(?:Dict)?' object has no attribute '(\w+)'", str(error))
    if isinstance(error, AttributeError) and found and found[1] in NEEDED:
        return UsageError(
            f'The config has no {found[1]}, which is needed here; add it, as the shipped configs have it.'
        )
    return None


def _missing_package(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    if not isinstance(error, ImportError) or frames[-1].is_ours:
        return None
    asked = re.search(r'pip install (?:-U )?([\w-]+)', str(error))
    name = asked[1] if asked else (error.name or '').partition('.')[0]
    if not name or name == 'mmseg_erfnet':
        return None
    users = [type(frame.variables['self']).__name__ for frame in frames if 'self' in frame.variables]
    user = next((name for name in reversed(users) if name.endswith('Backend')), None)
    kinds = [path for path, level in levels(cfg) if str(level.get('type')).endswith(user)] if cfg and user else []
    asks = f', which {kinds[0]} ({user}) asks for,' if kinds else ''
    return UsageError(f'{name}{asks} cannot be imported here; pip install {name}, or remove it from the config.')


# --- 6. Files ---------------------------------------------------------------------------------------------------------


def _file(error: BaseException, frames: list[Frame], cfg: Config | None) -> UserError | None:
    if not isinstance(error, OSError) or isinstance(error, UserError):
        return None
    if 'Original Traceback' in str(error):
        return DataError(
            f'A file of the dataset cannot be read: {reason(error)}; restore it, or remove it from the split.'
        )
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename and _is_unreadable(error.filename):
        return UsageError(f'{error.filename} cannot be read ({error.strerror}); check its permissions.')
    if error.errno in REMEDIES:
        found = storage_error(error.filename or 'A file', error)
        return found if isinstance(found, StorageError) else None
    if error.errno == errno.ENOENT and error.filename is not None:
        if not any(frame.is_ours and repr(error.filename)[1:-1] in frame.code for frame in frames):
            return UsageError(f'There is no {error.filename}; check the path, on the command line and in the config.')
    elif isinstance(error, FileNotFoundError) and not frames[-1].is_ours:  # MMEngine's, which has only a text
        return UsageError(f'A file is missing: {reason(error)}; check the path in the config.')
    return None


def _is_unreadable(path: str) -> bool:
    return Path(path).exists() and not os.access(path, os.R_OK)
