"""Write the config of a data set: a dozen lines with what is specific to it, based on `_base_/erfnet_own.py`."""

import re
from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.configs import copy_missing_bases, shipped_file
from mmseg_erfnet.datasets.preparation.prepare import Prepared
from mmseg_erfnet.datasets.statistics import class_weights
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_text

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
        what=prepared.out.name,
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
        UsageError: There is another config of that name.
    """
    path = folder / f'{re.sub(r"[^A-Za-z0-9_-]", "_", out.resolve().name)}.py'
    if path.exists() and MARK not in path.read_text(errors='replace').partition('\n')[0]:
        raise UsageError(f'{path} exists and was not written by prepare_dataset; choose another --out, or move it.')
    return path


def write_config(prepared: Prepared, path: Path) -> str:
    """Write the config of a data set, and its bases; existing files are kept.

    Returns:
        A description of what was done, and of the next step.

    Raises:
        StorageError: It cannot be written.
    """
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
