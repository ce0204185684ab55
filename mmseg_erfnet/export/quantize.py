"""Post-training quantisation with NNCF, for OpenVINO and ONNX Runtime; :mod:`mmseg_erfnet.export.int8` scores it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import nncf
import numpy as np
import onnx
import openvino

from mmseg_erfnet.deploy.signal_stack import signal_stack_kept
from mmseg_erfnet.evaluation.scores import confusion_matrix, scores
from mmseg_erfnet.export.formats import save, save_openvino, to_openvino
from mmseg_erfnet.export.int8 import CALIBRATION_FRAMES, ScoredImages

# Asymmetric activations. The convolutions that resize the logits (see graph.labels_of_doubled) stay in float, so that
# the logits do too.
OPTIONS = dict(
    preset=nncf.QuantizationPreset.MIXED, ignored_scope=nncf.IgnoredScope(types=['GroupConvolution'], validate=False)
)
# Number of frames for ranking the layers when some must stay in float.
RANKING_FRAMES = 24


class OpenVINOQuantizer:
    """Quantises for OpenVINO; see :class:`mmseg_erfnet.export.int8.Quantizer`.

    Args:
        model: A model with dynamic dimensions whose output is labels.
    """

    frames = CALIBRATION_FRAMES
    restores = True

    def __init__(self, model: onnx.ModelProto) -> None:
        nncf.set_log_level(40)  # NNCF logs at length by default
        self.model = to_openvino(model)

    def quantize(self, frames: list[np.ndarray]) -> openvino.Model:
        return quantize(self.model, [frame[None] for frame in frames])

    @signal_stack_kept()
    def restore(self, frames: list[np.ndarray], validation: ScoredImages, max_drop: float) -> openvino.Model:
        return nncf.quantize_with_accuracy_control(
            self.model,
            nncf.Dataset([frame[None] for frame in frames]),
            nncf.Dataset(range(len(validation))),
            _validation(validation),
            max_drop=max_drop / 100,
            drop_type=nncf.DropType.ABSOLUTE,
            subset_size=len(frames),
            **OPTIONS,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=RANKING_FRAMES
            ),
        )

    def save(self, model: openvino.Model, path: Path, metadata: dict) -> None:
        model = model.clone()
        if metadata['size'] or metadata['batch']:
            model.reshape([metadata['batch'] or -1, *(metadata['size'] or (-1, -1)), 3])
        save_openvino(model, path, metadata)


class OnnxQuantizer:
    """Quantises for ONNX Runtime; see :class:`mmseg_erfnet.export.int8.Quantizer`.

    Args:
        model: A model with dynamic dimensions whose output is labels.
    """

    frames = 100  # NNCF takes ten times as long per frame as for OpenVINO
    restores = False

    def __init__(self, model: onnx.ModelProto) -> None:
        nncf.set_log_level(40)
        self.model = model

    def quantize(self, frames: list[np.ndarray]) -> onnx.ModelProto:
        # As above, what resizes the logits stays in float.
        grouped = [node.name for node in self.model.graph.node if node.op_type == 'Conv' and _groups(node) > 1]
        return nncf.quantize(
            self.model,
            nncf.Dataset([{'frames': frame[None]} for frame in frames]),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=grouped, validate=False),
            subset_size=len(frames),
        )

    def save(self, model: onnx.ModelProto, path: Path, metadata: dict) -> None:
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        for value in (*fixed.graph.input, *fixed.graph.output):
            for dimension, length in zip(
                value.type.tensor_type.shape.dim, (metadata['batch'], *(metadata['size'] or ())), strict=False
            ):
                if length:
                    dimension.dim_value = length
        save(fixed, path, metadata)


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == 'group'), 1)


@signal_stack_kept()
def quantize(model: openvino.Model, batches: Sequence[np.ndarray]) -> openvino.Model:
    """Quantise every layer that OpenVINO's CPU kernels can compute in int8.

    Args:
        model: The model in float32.
        batches: Inputs for calibration.
    """
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches), **OPTIONS)


def _validation(images: ScoredImages) -> Callable:
    def validate(model: openvino.CompiledModel, indices: list[int]) -> tuple[float, list[float]]:
        """Return the mIoU, and the pixel accuracy of each image, by which NNCF ranks the layers; from 0 to 1."""
        confusion, accuracies = 0, []
        for index in indices:
            frame, labels = images[index]
            found = confusion_matrix(labels, model(frame[None])[0][0], len(images.dataset.metainfo['classes']))
            accuracies.append(float(np.trace(found) / max(found.sum(), 1)))
            confusion += found
        return scores(confusion)['mIoU'] / 100, accuracies

    return validate
