"""Models of one size for runtimes that take a float32 picture and return logits: ncnn and LiteRT.

:mod:`mmseg_erfnet.deploy.fixed` does the pre- and postprocessing: it places a frame on the picture and takes the
argmax.
"""

import contextlib
import importlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.deploy.backends import BACKENDS
from mmseg_erfnet.deploy.metadata import read_files, seal
from mmseg_erfnet.errors import UsageError, UserError
from mmseg_erfnet.export.folding import Downsampler
from mmseg_erfnet.export.graph import FrameResize, FrameScale, FrameToLabels
from mmseg_erfnet.files import write_bytes, write_text
from mmseg_erfnet.silence import silenced

FIXED_FORMATS = {'ncnn': '.param', 'litert': '.tflite'}
PACKAGES = {'ncnn': ('pnnx', 'ncnn'), 'litert': ('litert_torch', 'ai_edge_litert', 'ai_edge_quantizer')}
INSTALL = {'ncnn': 'pip install pnnx ncnn', 'litert': 'pip install litert-torch ai-edge-litert'}


def require_packages(name: str) -> None:
    """Import what a format needs.

    Raises:
        UsageError: A package is not installed.
    """
    for package in PACKAGES[name]:
        try:
            with _quiet():
                importlib.import_module(package)
        except ImportError as error:
            raise UsageError(f'The format {name} needs {error.name or package}: {INSTALL[name]}.') from error


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


def fixed_resize(resize: FrameResize | FrameScale | None, size: tuple[int, int] | None) -> FrameResize | None:
    """Return the resize of a model that takes frames of one size.

    Raises:
        UsageError: Nothing fixes the size.
    """
    if size is None and not isinstance(resize, FrameResize):
        raise UsageError('The formats ncnn and litert need a fixed size, and the config does not set one: give --size.')
    return FrameResize(*resize(*size), keep_ratio=False) if isinstance(resize, FrameScale) else resize


def picture_size(graph: FrameToLabels, resize: FrameResize | None, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size of the picture that a model of one size takes.

    Args:
        graph: The folded segmentor as a graph.
        resize: From :func:`fixed_resize`.
        size: The size of the frames; it counts where nothing resizes them.

    Raises:
        UsageError: The runtime's resize of the logits would differ from the model's.
    """
    if graph.align_corners:
        raise UsageError('The formats ncnn and litert need a head with align_corners=False: use onnx or openvino.')
    # With keep_ratio, a frame may be smaller than these bounds.
    seen = (resize.height, resize.width) if resize else size
    return tuple(-(-side // graph.multiple) * graph.multiple for side in seen)


def save_fixed(graph: FrameToLabels, picture: tuple[int, int], path: Path, metadata: dict) -> None:
    """Write a model of one size, with its metadata in a JSON file next to it.

    Args:
        graph: The folded segmentor as a graph.
        picture: Height and width of the network's input.
        path: The target, ``.param`` or ``.tflite``.
        metadata: The model's metadata; the entries that the runtime needs are added.

    Raises:
        UsageError: The converter cannot convert this network.
        StorageError: The folder cannot be written.
    """
    network = PictureToLogits(graph).eval()
    example = torch.zeros(1, 3, *picture)
    name = next(name for name, suffix in FIXED_FORMATS.items() if suffix == path.suffix)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _quiet():
                files = (_to_ncnn if name == 'ncnn' else _to_litert)(network, example, Path(folder))
        except UserError:
            raise
        # Converters raise exceptions of any type.
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f'The network cannot be converted for {name} ({line}): use onnx or openvino.') from error
    more = dict(picture=list(picture), fill=graph.mean.tolist(), threshold=graph.threshold)
    _write(path, files, metadata | more)


def _write(path: Path, files: dict[str, bytes], metadata: dict) -> None:
    for suffix, content in files.items():
        write_bytes(path.with_suffix(suffix), content)
    write_text(path.with_suffix('.json'), json.dumps(metadata, indent=1, allow_nan=False))
    seal(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converters, which log every pass, some of them from C++ and from processes of their own."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), silenced(1, 2):
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


class LiteRTQuantizer:
    """Quantises for LiteRT; see :class:`mmseg_erfnet.export.int8.Quantizer`.

    The picture and the logits stay float32, so the code around the network does not change. So does the last resize: on
    logits in int8, classes would tie.

    Args:
        path: The model in float32.
    """

    frames = 100  # the calibration takes a second per frame
    restores = False

    def __init__(self, path: Path) -> None:
        contents = read_files(path)
        self.model = contents['.tflite']
        self._backend = BACKENDS[path.suffix](path, contents=contents)
        about = json.loads(contents['.json'])
        self._more = {name: about[name] for name in ('picture', 'fill', 'threshold', 'resize')}
        self._size = about['size']

    def quantize(self, frames: list[np.ndarray]) -> bytes:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import qtyping, quantizer, recipe_manager

        operations, recipe = qtyping.TFLOperationName, recipe_manager.RecipeManager()
        recipe.add_static_config('.*', operations.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        # The converter puts a transposition between the last resize and the output.
        kept = operations.INPUT, operations.OUTPUT, operations.RESIZE_BILINEAR, operations.TRANSPOSE
        for operation in kept:
            recipe.add_quantization_config('.*', operation, algorithm_key='no_quantize')
        ((name, signature),) = Interpreter(model_content=self.model).get_signature_list().items()
        (argument,) = signature['inputs']
        with _quiet():
            quantizer_ = quantizer.Quantizer(self.model, recipe.get_quantization_recipe())
            pictures = [{argument: self._backend.place(frame)[None]} for frame in frames]
            return bytes(quantizer_.quantize(quantizer_.calibrate({name: pictures})).quantized_model)

    def save(self, model: bytes, path: Path, metadata: dict) -> None:
        # Where nothing resizes the frames, the model takes only those of its own size, in the scoring too.
        size = metadata['size'] if self._more['resize'] else self._size
        _write(path, {path.suffix: model}, metadata | self._more | dict(size=size))
