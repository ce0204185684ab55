"""The metadata of a model."""

import hashlib
from pathlib import Path

from mmengine.config import Config
from torch import nn

from mmseg_erfnet.deploy.metadata import OPEN_CHECKSUM
from mmseg_erfnet.environment import versions
from mmseg_erfnet.export.graph import frame_resize


def describe(cfg: Config, segmentor: nn.Module, checkpoint: str | None, scale: float = 1.0) -> dict:
    """Return the metadata of an exported model, except its output, size and batch."""
    resize = frame_resize(cfg)
    return dict(
        checksum=OPEN_CHECKSUM,
        classes=list(segmentor.dataset_meta['classes']),
        palette=[list(map(int, colour)) for colour in segmentor.dataset_meta['palette']],
        config=Path(cfg.filename or 'config.py').name,
        config_text=cfg.pretty_text,
        resize=None if resize is None else vars(frame_resize(cfg, scale)),
        scale=scale,
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        checkpoint_sha256=None if checkpoint is None else hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
        versions=versions(),
    )
