"""Models of one size for runtimes that take a float32 picture and return logits: ncnn and LiteRT.

:mod:`mmseg_erfnet.deploy.fixed` does the pre- and postprocessing: it places a frame on the picture and takes the
argmax.
"""

import contextlib
import io
import json
import logging
import tempfile
import warnings
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.deploy.metadata import seal
from mmseg_erfnet.errors import UsageError, UserError
from mmseg_erfnet.export.folding import Downsampler
from mmseg_erfnet.export.graph import FrameResize, FrameScale, FrameToLabels
from mmseg_erfnet.files import write_bytes, write_text

FIXED_FORMATS = {'ncnn': '.param', 'litert': '.tflite'}
INSTALL = {'ncnn': 'pip install pnnx ncnn', 'litert': 'pip install litert-torch ai-edge-litert'}


class PictureToLogits(nn.Module):
    """A folded network for one size. Input: float32 (1, 3, H, W), BGR from 0 to 255; output: logits (1, C, H, W).

    Args:
        graph: A :class:`FrameToLabels` of a folded segmentor; its network is copied.
    """

    def __init__(self, graph: FrameToLabels) -> None:
        super().__init__()
        graph = deepcopy(graph)
        self.backbone, self.head = graph.backbone, graph.head
        # The stem already takes colours in the frame's order, but in the memory layout of a frame.
        stem = self.backbone.encoder[0].block
        if not isinstance(stem, Downsampler):
            raise UsageError('This format needs a folded network.')
        stem.take.weight.data = stem.take.weight.data[:, :3]
        self.backbone.encoder[0] = stem
        _replace_transposed(self)
        for name in ('mean', 'std'):
            self.register_buffer(name, getattr(graph, name).view(1, 3, 1, 1).clone())

    def forward(self, picture: Tensor) -> Tensor:
        logits = self.head(self.backbone((picture - self.mean) / self.std))
        size = picture.shape[2:]
        return logits if logits.shape[2:] == size else F.interpolate(logits, size, mode='bilinear', align_corners=False)


class CutTransposed(nn.Module):
    """A transposed convolution of stride 2, padding 1 and output padding 1, rewritten without both paddings.

    LiteRT's converter refuses output padding. The result is computed from the same products.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 3, stride=2, bias=conv.bias is not None)
        self.conv.load_state_dict(conv.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., 1:, 1:]


def _replace_transposed(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.ConvTranspose2d) and layer.output_padding == (1, 1) and layer.padding == (1, 1):
                setattr(parent, name, CutTransposed(layer))


def picture_size(
    graph: FrameToLabels, resize: FrameResize | FrameScale | None, size: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the size of the picture that a model of one size takes.

    Raises:
        UsageError: Nothing fixes the size, or the runtime's resize of the logits would differ from the model's.
    """
    if graph.align_corners:
        raise UsageError('The formats ncnn and litert need a head with align_corners=False: use onnx or openvino.')
    if isinstance(resize, FrameResize):
        height, width = resize.height, resize.width
    elif size is not None:
        height, width = resize(*size) if resize else size
    else:
        raise UsageError('The formats ncnn and litert need a fixed size, and the config does not set one: give --size.')
    return tuple(-(-side // graph.multiple) * graph.multiple for side in (height, width))


def save_fixed(graph: FrameToLabels, picture: tuple[int, int], path: Path, metadata: dict) -> None:
    """Write a model of one size, with its metadata in a JSON file next to it.

    Args:
        graph: The folded segmentor as a graph.
        picture: Height and width of the network's input.
        path: The target, ``.param`` or ``.tflite``.
        metadata: The model's metadata; the entries that the runtime needs are added.

    Raises:
        UsageError: The converter is not installed, or cannot convert this network.
        StorageError: The folder cannot be written.
    """
    network = PictureToLogits(graph).eval()
    example = torch.zeros(1, 3, *picture)
    name = next(name for name, suffix in FIXED_FORMATS.items() if suffix == path.suffix)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _quiet():
                files = (_to_ncnn if name == 'ncnn' else _to_litert)(network, example, Path(folder))
        except ImportError as error:
            raise UsageError(f'The format {name} needs {error.name}: {INSTALL[name]}.') from error
        except UserError:
            raise
        # Converters raise exceptions of any type.
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f'The network cannot be converted for {name} ({line}): use onnx or openvino.') from error
        for suffix, content in files.items():
            write_bytes(path.with_suffix(suffix), content)
    more = dict(picture=list(picture), fill=graph.mean.tolist(), threshold=graph.threshold)
    write_text(path.with_suffix('.json'), json.dumps(metadata | more, indent=1, allow_nan=False))
    seal(path)


@contextlib.contextmanager
def _quiet():
    """Silence the converters, which log every pass."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


def _to_ncnn(network: nn.Module, example: Tensor, folder: Path) -> dict[str, bytes]:
    import pnnx

    target = folder / 'model.pt'
    pnnx.export(network, str(target), (example,), fp16=False, check_trace=False)
    return {suffix: (folder / f'model.ncnn{suffix}').read_bytes() for suffix in ('.param', '.bin')}


def _to_litert(network: nn.Module, example: Tensor, folder: Path) -> dict[str, bytes]:
    import litert_torch

    target = folder / 'model.tflite'
    litert_torch.convert(network, (example,)).export(str(target))
    return {'.tflite': target.read_bytes()}
