"""A PyTorch model with the interface of exported models."""

from copy import copy

import numpy as np
import torch
from mmengine.config import Config

from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.export.folding import fold
from mmseg_erfnet.export.graph import FrameToLabels, frame_resize
from mmseg_erfnet.export.metadata import describe
from mmseg_erfnet.models.building import load_segmentor


class TorchBackend:
    """A graph that PyTorch runs, in the memory layout in which its convolutions are fastest.

    Args:
        graph: A :class:`~mmseg_erfnet.export.graph.FrameToLabels` of a folded segmentor.
        device: A torch device.
    """

    def __init__(self, graph: torch.nn.Module, device: str = 'cpu') -> None:
        self.device = device
        self.graph = graph.eval().to(device, memory_format=torch.channels_last)
        self.resize, self.without_resize = graph.resize, copy(self.graph)
        self.without_resize.resize = None

    def run(self, frames: np.ndarray) -> np.ndarray:
        """Run the graph on frames, uint8 (N, H, W, 3), and return its output."""
        size = frames.shape[1:3]
        graph = self.graph if self.resize and self.resize(*size) != size else self.without_resize
        with torch.inference_mode():
            return graph(torch.from_numpy(frames).to(self.device)).cpu().numpy()


def torch_predictor(
    cfg: Config,
    checkpoint: str,
    device: str | None = None,
    threads: int | None = None,
    trust_checkpoint: bool = False,
    scale: float = 1.0,
) -> Predictor:
    """Return a config's model as a :class:`Predictor`, without exporting it.

    Args:
        cfg: The config.
        checkpoint: The checkpoint file.
        device: A torch device. The default is the GPU if there is one.
        threads: Number of CPU threads, for the whole process.
        trust_checkpoint: Load a checkpoint that contains more than data.
        scale: Factor on the size that the network sees, as in :func:`~mmseg_erfnet.export.graph.frame_resize`.

    Raises:
        UsageError: The device is not available, or the model is not supported.
        CheckpointError: The checkpoint cannot be loaded or does not fit.
    """
    device = _device(device)
    if threads is not None:
        if threads < 1:
            raise UsageError(f'threads must be 1 or more: got {threads}.')
        torch.set_num_threads(threads)
    segmentor = load_segmentor(cfg, checkpoint, trust_checkpoint)
    metadata = describe(cfg, segmentor, checkpoint, scale) | dict(output='labels', size=None, batch=None)
    graph = FrameToLabels(fold(segmentor), frame_resize(cfg, scale))
    return Predictor.of(metadata['config'], TorchBackend(graph, device), metadata)


def _device(name: str | None) -> str:
    """Return the name of an available torch device; the default is the GPU if there is one."""
    name = name.lower() if name else 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.zeros(1, device=name)
    # Each kind of missing device raises a different exception.
    except Exception as error:
        raise UsageError(
            f'PyTorch finds no device {name} here (CUDA {"is" if torch.cuda.is_available() else "is not"} available): '
            'use --device cpu.'
        ) from error
    return name
