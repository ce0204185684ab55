"""A graph written in the formats that :mod:`mmseg_erfnet.deploy.backends` reads.

The ONNX model comes from PyTorch and OpenVINO's is made of it, so that both are one graph.
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

from mmseg_erfnet.deploy.runtime import METADATA_KEY


def to_onnx(graph: nn.Module, size: tuple[int, int] | None = None, batch: int | None = None) -> onnx.ModelProto:
    """Export a graph of frames, uint8 (N, H, W, 3), with its dimensions open or fixed."""
    # The numbers in place of open dimensions must be none that means something: not 1, not a multiple of 8.
    height, width = size or (90, 130)
    frames = torch.zeros((batch or 2, height, width, 3), dtype=torch.uint8)
    names = {0: None if batch else 'batch', 1: None if size else 'height', 2: None if size else 'width'}
    return trace(graph, frames, graph.outputs, {axis: Dim(name) for axis, name in names.items() if name})


def trace(module: nn.Module, example: torch.Tensor, outputs: list[str], dynamic: dict[int, Dim]) -> onnx.ModelProto:
    """Export a module of one input, called frames, without the exporter's talk."""
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
    return program.model_proto


def save(model: onnx.ModelProto, path: Path, metadata: dict) -> None:
    """Write a model, in the format that the file's name ends in, with its metadata."""
    metadata = json.dumps(metadata)
    if path.suffix == '.onnx':
        model = deepcopy(model)
        onnx.helper.set_model_props(model, {METADATA_KEY: metadata})
        onnx.save(model, path)
    else:
        save_openvino(to_openvino(model), path, metadata)


def to_openvino(model: onnx.ModelProto):
    """Convert a model to ``openvino.Model``."""
    import openvino

    with tempfile.NamedTemporaryFile(suffix='.onnx') as file:
        file.write(model.SerializeToString())
        file.flush()
        return openvino.convert_model(file.name)


def save_openvino(model, path: Path, metadata: str) -> None:
    """Write an ``openvino.Model`` with its metadata."""
    import openvino

    model.set_rt_info(metadata, [METADATA_KEY])
    openvino.save_model(model, path, compress_to_fp16=False)
