"""What a model tells of itself."""

import contextlib
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmseg
import torch
from mmengine.config import Config
from torch import nn

import mmseg_erfnet

from .graph import frame_resize


def describe(cfg: Config, segmentor: nn.Module, checkpoint: str | None) -> dict:
    """Return what an exported model tells of itself, but for its form."""
    resize = frame_resize(cfg)
    return dict(
        classes=list(segmentor.dataset_meta['classes']),
        palette=[list(map(int, colour)) for colour in segmentor.dataset_meta['palette']],
        config=Path(cfg.filename).name,
        config_text=cfg.pretty_text,
        resize=None if resize is None else vars(resize),
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        checkpoint_sha256=None if checkpoint is None else hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
        versions=versions())


def versions() -> dict[str, str]:
    """Return the versions of what makes and runs a model, as far as it is installed."""
    found = {'mmseg_erfnet': mmseg_erfnet.__version__, 'torch': torch.__version__, 'mmseg': mmseg.__version__}
    for name in ('numpy', 'onnx', 'onnxruntime', 'openvino', 'nncf'):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
