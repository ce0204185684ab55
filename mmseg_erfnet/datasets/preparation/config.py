"""Write the config of a data set: a dozen lines with what is specific to it, based on `_base_/erfnet_own.py`."""

import ast
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmseg_erfnet.configs import copy_missing_bases, shipped_file
from mmseg_erfnet.datasets.preparation.prepare import Prepared
from mmseg_erfnet.datasets.statistics import class_weights
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import shown, write_text

BASE = '_base_/erfnet_own.py'
WEIGHTS = 'erfnet_camvid11_trainval'
MARK = 'Written by prepare_dataset'
LONG, SHORT = 640, 360  # the largest sides of the network's input
DIVISOR, LEAST = 8, 32
TEXT = """\
# {what}: {classes} classes, {train} training frames. {mark}; change it as you like.
_base_ = {base!r}
load_from = {weights!r}{weights_note}
data_root, size = {root!r}, {size}  # height and width of the network's input
weighted = dict(class_weight={class_weight})  # 1 / ln(1.10 + share of the pixels)
model = dict(data_preprocessor=dict(size=size), decode_head=dict(num_classes={classes}, loss_decode=weighted))
resize = dict(type='RandomResize', scale=size[::-1], ratio_range=(0.5, 2.0), keep_ratio=True)
train_pipeline = [*_base_.loading, resize, dict(type='RandomCrop', crop_size=size), *_base_.augmentation]
test_pipeline = _base_.loading[:1] + [dict(_base_.resize, scale=size[::-1])] + _base_.packing
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader, val_evaluator = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline)), weighted
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline, ann_file={test!r}))
"""


def network_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Choose the size of the network's input.

    It has the aspect ratio of the median frame, sides divisible by 8, and at most 640x360 pixels (landscape or
    portrait). Frames are not enlarged.

    Args:
        sizes: (height, width) of the frames.

    Returns:
        (height, width).
    """
    height, width = sorted(sizes, key=lambda size: (size[1] / size[0], size))[len(sizes) // 2]
    part = min(1.0, LONG / max(height, width), SHORT / min(height, width))
    return tuple(max(LEAST, round(side * part / DIVISOR) * DIVISOR) for side in (height, width))


def config_text(prepared: Prepared, root: str, weights: str | None) -> str:
    """Return the config of a data set, 12 lines.

    Args:
        prepared: The data set.
        root: Its folder, as written in the config.
        weights: The checkpoint to start from, or None to start from scratch.
    """
    return TEXT.format(
        what=shown(prepared.out.name),
        classes=len(prepared.classes.names),
        train=len(prepared.splits['train']),
        mark=MARK,
        base=BASE,
        weights=weights,
        weights_note='' if weights else '  # the package contains no weights, so training starts from scratch',
        root=root,
        size=network_size(prepared.sizes),
        class_weight=[round(float(weight), 3) for weight in class_weights(prepared.pixels)],
        test='splits/test.txt' if 'test' in prepared.splits else 'splits/val.txt',
    )


def config_path(out: Path, folder: Path = Path('configs')) -> Path:
    """Return the path of a data set's config: `configs/NAME.py` in the current folder.

    Raises:
        UsageError: There is another config of that name; see `check_config`.
    """
    path = folder / f'{re.sub(r"[^A-Za-z0-9_-]", "_", out.resolve().name)}.py'
    check_config(path, out)
    return path


def check_config(path: Path, out: Path, classes: int | None = None) -> None:
    """Check that an existing config was written for a data set. It is only parsed, never executed.

    A user may have edited it: a folder or a number that it computes is not checked.

    Args:
        path: The config, which need not exist.
        out: The folder of the data set.
        classes: The number of its classes, if known.

    Raises:
        UsageError: The config cannot be read, was not written by prepare_dataset, or is for another data set.
    """
    try:
        if not path.exists():
            return
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise UsageError(f'{path} cannot be read ({error.strerror}); choose another --out, or move it.') from error
    first = text.partition('\n')[0]
    if MARK not in first:
        raise UsageError(f'{path} exists and was not written by prepare_dataset; choose another --out, or move it.')
    roots = [root for root in _literals(text, 'data_root') if isinstance(root, str)]
    if roots and os.path.realpath(out) not in map(os.path.realpath, roots):
        raise UsageError(
            f'{path} exists and trains on {shown(roots[0])}, not on {shown(_short(out))}; give --out another folder '
            f'name, move the config, or set data_root = {_short(out)!r} in it.'
        )
    numbers = _literals(text, 'num_classes')
    # The first line keeps the number that the config was written for, even if the user trains on some of the classes.
    written = [int(number) for number in re.findall(rf'(\d+) classes, \d+ training frames\. {MARK}', first)]
    if classes and numbers and classes not in (*numbers, *written):
        raise UsageError(
            f'{path} exists and is for {numbers[0]} classes, but the data set has {classes}; give --out another folder '
            'name, or move the config.'
        )


def _literals(text: str, name: str) -> list[object]:
    """The values that a config gives to a variable, argument or key; none if it cannot be parsed or computes one."""
    try:
        bound = [value for node in ast.walk(ast.parse(text)) for key, value in _bound(node) if key == name]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    bound = [value for value in bound if not isinstance(value, ast.Name)]
    values = [value.value for value in bound if isinstance(value, ast.Constant)]
    # MMEngine replaces {{ fileDirname }} and its like; no path contains a zero byte.
    computed = len(values) < len(bound) or any('{{' in str(value) or '\0' in str(value) for value in values)
    return [] if computed else values


def _bound(node: ast.AST) -> Iterator[tuple[object, ast.expr]]:
    """Each name that a node of a config gives a value, and the value."""
    if isinstance(node, ast.keyword):
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        yield from zip((getattr(key, 'value', None) for key in node.keys), node.values, strict=True)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            tuples = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            values = node.value.elts if tuples and len(names) == len(node.value.elts) else [node.value] * len(names)
            yield from ((getattr(name, 'id', None), value) for name, value in zip(names, values, strict=True))


def write_config(prepared: Prepared, path: Path) -> str:
    """Write the config of a data set, and its bases; existing files are kept.

    Returns:
        A description of what was done, and of the next step.

    Raises:
        UsageError: There is another config of that name; see `check_config`.
        StorageError: It cannot be written.
    """
    check_config(path, prepared.out, len(prepared.classes.names))
    copy_missing_bases(BASE, path.parent)
    following = f'Next: mmseg-erfnet train {path}'
    if path.exists():
        return f'{path} exists and was left unchanged.\n{following}'
    weights = shipped_file(f'{WEIGHTS}.pth')
    write_text(path, config_text(prepared, _short(prepared.out), weights and _short(weights)))
    height, width = network_size(prepared.sizes)
    start = (
        f'fine-tunes {_short(weights)}' if weights else 'trains from scratch, because the package contains no weights'
    )
    return f'{path} {start} at {height}x{width} pixels.\n{following}'


def _short(path: Path) -> str:
    """A path, relative to the current folder if it is inside it."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
