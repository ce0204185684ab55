"""Compare the values in a config with the types that the classes' constructors take."""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from mmseg_erfnet.engine.options import levels, parameters_of, registered
from mmseg_erfnet.errors import UsageError

NUMBERS = (bool, int, float)


def check_numbers(cfg: Config) -> None:
    """Refuse text where a class takes numbers, as in ``lr=fast``. Third-party code may find it late or never.

    Raises:
        UsageError: An entry is such a text.
    """
    for path, level in levels(cfg):
        kind = level.get('type')
        kind = registered(kind) if isinstance(kind, str) else kind
        if not inspect.isclass(kind):
            continue
        texts = {name: value for name, value in level.items() if isinstance(value, str) and name != 'type'}
        for name in mistyped(kind, texts) if texts else ():
            if _takes_numbers(kind, name):
                raise UsageError(
                    f'{path}.{name} cannot be used: it is {level[name]!r}, but {kind.__name__} takes numbers there; '
                    'correct it in the config.'
                )


def mistyped(kind: object, arguments: Mapping) -> list[str]:
    """Return the names of the arguments whose values have neither the annotated type nor that of the default."""
    if not inspect.isclass(kind):
        return []
    known = dict(_hints(kind))
    return [name for name, value in arguments.items() if name in known and not _suits(value, *known[name])]


def _hints(kind: type) -> Iterator[tuple[str, tuple[object, object]]]:
    """Yield the annotation and the default of each argument, ``inspect.Parameter.empty`` for none."""
    for function, parameters in reversed(parameters_of(kind)):
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # third-party annotations may name anything
            hints = {}
        for parameter in parameters:
            yield parameter.name, (hints.get(parameter.name, parameter.empty), parameter.default)


def _suits(value: object, hint: object, default: object) -> bool:
    if value is default or (hint is inspect.Parameter.empty and default is hint):
        return True
    if hint is not inspect.Parameter.empty:
        return _fits(value, hint)
    if isinstance(default, NUMBERS):
        return not isinstance(value, (str, list, tuple, dict))
    return not (isinstance(default, (list, tuple)) and isinstance(value, str))


def _takes_numbers(kind: type, name: str) -> bool:
    """Return whether the numbers 0 and 1, or lists of them, would be the right type."""
    hint, default = dict(_hints(kind))[name]
    if hint is not inspect.Parameter.empty:
        return any(_fits(one, hint) for one in (1, 1.0, [1], [1.0], (1, 1)))
    return isinstance(default, NUMBERS) or (
        isinstance(default, (list, tuple)) and bool(default) and all(isinstance(one, NUMBERS) for one in default)
    )


def _fits(value: object, hint: object) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    kind = type(None) if hint is None else origin or hint
    if not inspect.isclass(kind):
        return True
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (tuple, list):
        kind = (tuple, list)
    try:
        if not isinstance(value, kind) or (isinstance(value, str) and kind is not str and origin is not None):
            return False
    except TypeError:
        return True
    items = [one for one in typing.get_args(hint) if one is not Ellipsis]
    if isinstance(value, (tuple, list)) and len(items) == 1:
        return all(_fits(item, items[0]) for item in value)
    return True
