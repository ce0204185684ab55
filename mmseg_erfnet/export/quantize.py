"""Post-training quantisation to int8 for OpenVINO with NNCF, always scored before and after."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import nncf
import numpy as np
import onnx
import openvino
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.deploy.signal_stack import signal_stack_kept
from mmseg_erfnet.errors import DataError, QuantizationError, UsageError
from mmseg_erfnet.evaluation.scores import confusion_matrix, scores
from mmseg_erfnet.export.formats import save_openvino, to_openvino
from mmseg_erfnet.export.graph import FrameResize, frame_resize
from mmseg_erfnet.export.parity import read_frame
from mmseg_erfnet.progress import progress
from mmseg_erfnet.registry import DATASETS

# NNCF's default for calibration.
CALIBRATION_FRAMES = 300
# Asymmetric activations. The convolutions that resize the logits (see graph.labels_of_doubled) stay in float, so that
# the logits do too.
OPTIONS = dict(
    preset=nncf.QuantizationPreset.MIXED, ignored_scope=nncf.IgnoredScope(types=['GroupConvolution'], validate=False)
)
# Number of frames for ranking the layers when some must stay in float.
RANKING_FRAMES = 24


@signal_stack_kept()
def export_int8(
    model: onnx.ModelProto,
    path: Path,
    metadata: dict,
    cfg: Config,
    max_drop: float = 0.3,
    report: Callable[[str], None] = print,
    scale: float = 1.0,
) -> None:
    """Quantise a model, score it and the float32 model on the validation set, and write it.

    All layers are quantised first. If that loses too much, the most sensitive layers are left in float, one by one,
    until the loss is acceptable.

    Args:
        model: A model with dynamic dimensions whose output is labels.
        path: The file to write; its folder exists.
        metadata: The metadata of the float model; the scores are added under ``int8``.
        cfg: The config, for the training images and the validation set.
        max_drop: Points of mIoU that may be lost.
        report: Called with each line of the results.
        scale: Factor on the size that the network sees, as in the export of the model.

    Raises:
        UsageError: The config has no training or validation set.
        DataError: The data are not where the config says.
        QuantizationError: The loss exceeds the limit, or a score is NaN.
    """
    # NNCF logs at length by default.
    nncf.set_log_level(40)
    check_data(cfg)
    validation = DATASETS.build(dict(cfg.val_dataloader.dataset))
    frames = calibration_frames(cfg, scale=scale)
    batches = [frame[None] for frame in frames]
    float_model = to_openvino(model)

    def score_of(candidate: openvino.Model, what: str) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / 'model.xml'
            save_openvino(candidate.clone(), file, metadata)
            return score(Predictor(file), validation, what)

    before = score_of(float_model, 'fp32')
    quantised, after, method = quantize(float_model, batches), None, 'post-training'
    after = score_of(quantised, 'int8')
    if not before['mIoU'] - after['mIoU'] <= max_drop:
        report(f'int8 loses {before["mIoU"] - after["mIoU"]:.2f} points of mIoU; leaving layers in float')
        method = 'post-training, some layers in float'
        quantised = nncf.quantize_with_accuracy_control(
            float_model,
            nncf.Dataset(batches),
            nncf.Dataset(range(len(validation))),
            _validation(validation),
            max_drop=max_drop / 100,
            drop_type=nncf.DropType.ABSOLUTE,
            subset_size=len(batches),
            **OPTIONS,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=RANKING_FRAMES
            ),
        )
        after = score_of(quantised, 'int8')
    line = f'mIoU on {len(validation)} validation images: fp32 {before["mIoU"]:.2f}, int8 {after["mIoU"]:.2f}'
    # Written so that NaN fails too.
    if not before['mIoU'] - after['mIoU'] <= max_drop:
        raise QuantizationError(
            f'{line}: more than {max_drop:g} points are lost. The model was not kept; train '
            'longer, calibrate on more images, or allow it with --max-drop.'
        )
    metadata = metadata | dict(
        int8=dict(
            method=method,
            calibration_images=len(frames),
            validation_images=len(validation),
            fp32={name: before[name] for name in ('mIoU', 'aAcc')},
            int8={name: after[name] for name in ('mIoU', 'aAcc')},
        )
    )
    if metadata['size'] or metadata['batch']:
        quantised.reshape([metadata['batch'] or -1, *(metadata['size'] or (-1, -1)), 3])
    save_openvino(quantised, path, metadata)
    report(f'{path.name}: {line}')


def check_data(cfg: Config) -> None:
    """Check that a config has the data for int8.

    Raises:
        UsageError: It has no training or validation set.
    """
    for loader, purpose in (('train_dataloader', 'calibrated'), ('val_dataloader', 'scored')):
        if not cfg.get(loader):
            raise UsageError(
                f'The config has no {loader}, and int8 is {purpose} on its images: export with a config that has one.'
            )


@signal_stack_kept()
def quantize(model: openvino.Model, batches: Sequence[np.ndarray]) -> openvino.Model:
    """Quantise every layer that OpenVINO's CPU kernels can compute in int8.

    Args:
        model: The model in float32.
        batches: Inputs for calibration.
    """
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches), **OPTIONS)


def calibration_frames(cfg: Config, number: int = CALIBRATION_FRAMES, scale: float = 1.0) -> list[np.ndarray]:
    """Return evenly spaced training images at the size that the network sees.

    Args:
        cfg: The config, for its training set.
        number: Maximum number of images.
        scale: Factor on that size. If the test pipeline has no resize, the model itself scales.
    """
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset))
    resize = frame_resize(cfg, scale)
    frames = []
    for index in evenly_spaced(len(dataset), number):
        frame = read_frame(dataset.get_data_info(index)['img_path'])
        height, width = resize(*frame.shape[:2]) if isinstance(resize, FrameResize) else frame.shape[:2]
        frames.append(cv2.resize(frame, (width, height)))
    return frames


def scored_sample(dataset: BaseSegDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame and its labels, both at the size at which the config scores.

    This is the image's own size if the labels have it, else the size to which the pipeline resizes both.
    """
    data = dataset[index]
    labels = data['data_samples'].gt_sem_seg.data[0].numpy()
    path = dataset.get_data_info(index)['img_path']
    for frame in (read_frame(path), data['inputs'].permute(1, 2, 0).numpy()):
        if frame.shape[:2] == labels.shape:
            return np.ascontiguousarray(frame), labels
    raise DataError(
        f'{path}: its labels are {labels.shape} at the end of the pipeline, which is the size of neither the image '
        'nor the processed image.'
    )


def score(predictor: Predictor, dataset: BaseSegDataset, what: str = 'Scored') -> dict:
    """Score a model that returns labels; return the metrics of :func:`mmseg_erfnet.evaluation.scores.scores`."""
    confusion = 0
    with progress(what, len(dataset), 'images') as bar:
        for index in range(len(dataset)):
            frame, labels = scored_sample(dataset, index)
            confusion += confusion_matrix(labels, predictor.predict(frame), len(predictor.classes))
            bar.update()
    return scores(confusion)


def _validation(dataset: BaseSegDataset) -> Callable:
    def validate(model: openvino.CompiledModel, indices: list[int]) -> tuple[float, list[np.ndarray]]:
        """Return the mIoU, from 0 to 1, and the labels of each image, which NNCF uses to compare two models."""
        confusion, outputs = 0, []
        for index in indices:
            frame, labels = scored_sample(dataset, index)
            outputs.append(model(frame[None])[0][0])
            confusion += confusion_matrix(labels, outputs[-1], len(dataset.metainfo['classes']))
        return scores(confusion)['mIoU'] / 100, outputs

    return validate
