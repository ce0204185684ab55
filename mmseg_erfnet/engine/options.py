"""Check ``--cfg-options`` against the config that they change, and apply them."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process

from mmseg_erfnet import registry
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.text import listed

# Entries that MMEngine's Runner and mmseg_erfnet.engine.launch read; other top-level entries are variables of the file.
ENTRIES = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'val_evaluator',
    'test_evaluator',
    'default_hooks',
    'custom_hooks',
    'visualizer',
    'log_processor',
    'log_level',
    'load_from',
    'resume',
    'work_dir',
    'launcher',
    'env_cfg',
    'randomness',
    'auto_scale_lr',
    'default_scope',
    'experiment_name',
    'model_wrapper_cfg',
    'sync_bn',
    'find_unused_parameters',
    'compile',
    'custom_imports',
    'tta_model',
    'allow_overlap',
)
EDITS = 2


def merge_options(cfg: Config, options: Mapping[str, object]) -> Config:
    """Return a copy of a config with some entries replaced.

    ``data_root`` is replaced in every dataset that has the variable's old value, and a ``..._pipeline`` in every
    dataset whose ``pipeline`` is the old one: both are variables of the config file, which nothing reads later.

    Args:
        cfg: The config.
        options: Values by dotted key, as in ``train_dataloader.dataset.pipeline.3.degree``.

    Raises:
        UsageError: A key looks misspelt, or cannot be set. For any other key that the config lacks, one line of warning
            is printed.
    """
    merged = deepcopy(cfg)
    if not options:
        return merged
    for key in options:
        _check(cfg, key, options)
    # Variables first, so that a key for a single dataset takes precedence.
    variables = [key for key in options if not _is_read(cfg, key.split('.')[0])]
    for key in variables:
        _merge(merged, key, options[key])
    for name in dict.fromkeys(key.split('.')[0] for key in variables):
        _pass_on(merged, name, cfg.get(name))
    for key in options:
        if key not in variables:
            _merge(merged, key, options[key])
    return merged


def _is_read(cfg: Config, name: str) -> bool:
    # The model's own entry takes precedence over the top-level one.
    return name in ENTRIES or (name == 'data_preprocessor' and name not in (cfg.get('model') or {}))


def _merge(cfg: Config, key: str, value: object) -> None:
    try:
        cfg.merge_from_dict({key: deepcopy(value)})
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f'--cfg-options cannot set {key}; set the entry above it as a whole, or change the config file.'
        ) from error


def _check(cfg: Config, key: str, options: Mapping[str, object]) -> None:
    """Refuse a key that must be a mistake, and warn about one that the config does not have."""
    parts = key.split('.')
    if not all(parts):
        raise UsageError(
            f'--cfg-options: {key!r} is not a key; a key is names joined by dots, as in model.backbone.type.'
        )
    node = cfg._cfg_dict
    for number, part in enumerate(parts):
        above = '.'.join(parts[:number])
        if part == 'custom_keys':  # optional, and its entries are parts of parameters' names
            return
        if isinstance(node, Mapping):
            if part not in node:
                _check_unknown(node, part, above, options.get(f'{above}.type', node.get('type')))
                return
            node = node[part]
        elif isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise UsageError(
                    f'--cfg-options {key}: {above} is a list of {len(node)}; give a number from 0 to {len(node) - 1}.'
                )
            node = node[int(part)]
        else:
            raise UsageError(f'--cfg-options {key}: {above} is {node!r} and has no {part}; set {above} as a whole.')


def _check_unknown(level: Mapping, name: str, above: str, kind: object) -> None:
    where = f'{above}.' if above else ''
    known = [str(key) for key in level] if above else [*map(str, level), *ENTRIES]
    if not above and name in ENTRIES:
        return
    arguments = arguments_of(kind)
    if name not in arguments:
        meant = nearest(name, [*known, *arguments])
        if meant:
            raise UsageError(f'--cfg-options: the config has no {where}{name}; did you mean {where}{meant}?')
    note = '' if above else '; nothing reads it'
    warn(f'--cfg-options: the config had no {where}{name}; it is set anyway{note}.')


def _pass_on(cfg: Config, name: str, before: object) -> None:
    """Replace the old value of a variable in the datasets that have it, or warn that nothing reads the variable."""
    after = cfg.get(name)
    key = 'data_root' if name == 'data_root' else 'pipeline' if name.endswith('_pipeline') else None
    replaced = 0
    if key and before is not None:
        for _, level in levels(cfg):
            if key in level and level[key] == before:
                level[key] = deepcopy(after)
                replaced += 1
    if replaced or before is None:
        return
    holders = [f'{path}.{entry}' for path, level in levels(cfg) for entry, value in level.items() if value == before]
    where = f'; set {listed(holders, 3)}' if holders else ''
    warn(f'--cfg-options: {name} is a variable of the config file, and nothing reads it afterwards{where}.')


def levels(cfg: Config | Mapping) -> Iterator[tuple[str, ConfigDict]]:
    """Yield each dict below the entries that are read, with its dotted key, outermost first."""

    def below(node: object, path: str) -> Iterator[tuple[str, ConfigDict]]:
        if isinstance(node, Mapping):
            yield path, node
            for key in node:
                yield from below(node[key], f'{path}.{key}')
        elif isinstance(node, (list, tuple)):
            for index, item in enumerate(node):
                yield from below(item, f'{path}.{index}')

    for name in ENTRIES:
        if cfg.get(name) is not None:
            yield from below(cfg[name], name)


def arguments_of(kind: object) -> list[str]:
    """Return the argument names that a config's ``type`` accepts, including those of its base classes."""
    if isinstance(kind, str):
        kind = registered(kind)
    names = [item.name for _, parameters in parameters_of(kind) for item in parameters]
    return list(dict.fromkeys(names))


def parameters_of(kind: object) -> list[tuple[Callable, list[inspect.Parameter]]]:
    """Return the named parameters of a class or function: for a class, those of its constructor and of the base
    classes' constructors, as far as ``**kwargs`` pass them on.
    """
    found = []
    for one in inspect.getmro(kind) if inspect.isclass(kind) else [kind]:
        function = one.__dict__.get('__init__') if inspect.isclass(one) else one
        if not callable(function) or one is object:
            continue
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # implemented in C
            continue
        named = [item for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
        found.append((function, [item for item in named if item.name != 'self']))
        if not any(item.kind is item.VAR_KEYWORD for item in parameters):
            break
    return found


def registries() -> list[registry.Registry]:
    """Return this project's registries, which give access to those of MMSegmentation and MMEngine."""
    return [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


def registered(name: str) -> object | None:
    """Return what is registered under a name, in any registry, or None."""
    for one in registries():
        with contextlib.suppress(ImportError):  # a dotted name may name a module that is not installed
            found = one.get(name)
            if found is not None:
                return found
    return None


def registered_names() -> list[str]:
    """Return all registered names, without scope."""
    names = {}
    for one in registries():
        while one is not None:
            names |= dict.fromkeys(one.module_dict)
            one = one.parent
    return list(names)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the closest known name within two edits: letters added, removed, replaced or swapped."""
    best = min(known, key=lambda other: edits(name, other), default=None)
    # More edits than half of its letters would make any short name similar.
    return best if best is not None and edits(name, best) <= min(EDITS, len(name) // 2) else None


def edits(one: str, other: str) -> int:
    """Return the edit distance of two names; swapping two adjacent letters is one edit (Damerau, 1964)."""
    before, row = [], list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, target in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != target))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == target:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def warn(text: str) -> None:
    """Print a one-line warning, only in the first process."""
    if is_main_process():
        print(f'warning: {text}', file=sys.stderr)
