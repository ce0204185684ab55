"""Writes a graph in the formats that :mod:`mmseg_erfnet.deploy.backends` reads.

PyTorch exports the ONNX model, and OpenVINO's model is converted from it, so both have the same graph.
"""

import json
import logging
import tempfile
import warnings
from copy import deepcopy
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.export import Dim

from mmseg_erfnet.deploy.metadata import METADATA_KEY, seal
from mmseg_erfnet.files import storage_error


def to_onnx(graph: nn.Module, size: tuple[int, int] | None = None, batch: int | None = None) -> onnx.ModelProto:
    """Export a graph that takes frames, uint8 (N, H, W, 3), with dynamic or fixed dimensions."""
    # The example sizes of dynamic dimensions must not be special values: neither 1 nor a multiple of 8.
    height, width = size or (90, 130)
    frames = torch.zeros((batch or 2, height, width, 3), dtype=torch.uint8)
    names = {0: None if batch else 'batch', 1: None if size else 'height', 2: None if size else 'width'}
    return trace(graph, frames, graph.outputs, {axis: Dim(name) for axis, name in names.items() if name})


def trace(module: nn.Module, example: torch.Tensor, outputs: list[str], dynamic: dict[int, Dim]) -> onnx.ModelProto:
    """Export a module with a single input, named frames, without the exporter's log output."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=18,
                input_names=['frames'],
                output_names=outputs,
                dynamic_shapes=(dynamic,),
            )
    finally:
        logger.setLevel(level)
    return without_traces(program.model_proto)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove, in place, the exporter's notes on each node: stack traces with paths of the exporting machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ''
    return model


def save(model: onnx.ModelProto, path: Path, metadata: dict) -> None:
    """Write a model, in the format given by the file's suffix, with its metadata and the checksum.

    Raises:
        StorageError: The file cannot be written.
    """
    if path.suffix == '.onnx':
        model = deepcopy(model)
        onnx.helper.set_model_props(model, {METADATA_KEY: as_text(metadata)})
        try:
            onnx.save(model, path)
        except OSError as error:
            raise storage_error(path, error) from error
        seal(path)
    else:
        save_openvino(to_openvino(model), path, metadata)


def as_text(metadata: dict) -> str:
    """Return metadata as standard JSON, in which NaN is not allowed."""
    return json.dumps(metadata, allow_nan=False)


def to_openvino(model: onnx.ModelProto):
    """Convert a model to ``openvino.Model``."""
    import openvino

    with tempfile.NamedTemporaryFile(suffix='.onnx') as file:
        file.write(model.SerializeToString())
        file.flush()
        return openvino.convert_model(file.name)


def save_openvino(model, path: Path, metadata: dict) -> None:
    """Write an ``openvino.Model`` with its metadata; see :func:`save`."""
    import openvino

    model.set_rt_info(as_text(metadata), [METADATA_KEY])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise storage_error(path, OSError(str(error).strip().splitlines()[-1])) from error
    seal(path)
