"""Write a segmentor as self-sufficient models, each checked against PyTorch before it appears."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import onnx
from mmengine.config import Config
from mmseg.apis import inference_model
from torch import nn

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.deploy.backends import BACKENDS
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import DataError, UsageError, UserError
from mmseg_erfnet.export.folding import fold
from mmseg_erfnet.export.formats import save, to_onnx
from mmseg_erfnet.export.graph import OUTPUTS, FrameToLabels, frame_resize
from mmseg_erfnet.export.metadata import describe
from mmseg_erfnet.files import make_folder
from mmseg_erfnet.mmseg_import import export_packages
from mmseg_erfnet.models.building import load_segmentor
from mmseg_erfnet.registry import DATASETS

FORMATS = {'onnx': '.onnx', 'openvino': '.xml'}
# How far an exported model in float32 may be from PyTorch.
LOGIT_TOLERANCE, LABEL_AGREEMENT = 1e-3, 0.999
PARITY_FRAMES = 4


class ParityError(UserError, RuntimeError):
    """An exported model does not compute what PyTorch computes."""


def export(
    cfg: Config,
    checkpoint: str | None,
    out: str | Path,
    formats: Sequence[str] = ('onnx',),
    output: str = 'labels',
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    int8: bool = False,
    max_drop: float = 0.3,
    trust_checkpoint: bool = False,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Write the model of a config and a checkpoint, and compare each file with PyTorch.

    Args:
        cfg: The config, from :func:`mmseg_erfnet.engine.launch.load_config`.
        checkpoint: The checkpoint file, or None for weights as the initialisation leaves them.
        out: Folder for the models. It gets nothing before all of them have passed.
        formats: 'onnx', 'openvino' or both.
        output: What the model returns: 'labels', 'logits' or 'probabilities'.
        size: Height and width to fix, or None for any.
        batch: Number of frames to fix, or None for any.
        int8: Also write OpenVINO's model in int8, calibrated and scored on the config's data.
        max_drop: Points of mIoU that the model in int8 may lose.
        trust_checkpoint: Load a checkpoint that holds more than data.
        report: Takes the lines that say what was found.

    Returns:
        The files; of OpenVINO's pairs, the ``.xml``.

    Raises:
        UsageError: What was asked for cannot be done.
        CheckpointError: The checkpoint cannot be loaded or does not fit.
        ParityError: A model differs from PyTorch.
        QuantizationError: The model in int8 loses too much.
    """
    unknown = set(formats) - set(FORMATS)
    if unknown or not formats or output not in OUTPUTS:
        raise UsageError(
            f'formats are among {", ".join(FORMATS)} and the output among {", ".join(OUTPUTS)}: got '
            f'{", ".join(formats) or "none"} and {output}.'
        )
    if int8 and ('openvino' not in formats or output != 'labels'):
        raise UsageError('int8 is for the format openvino and the output labels.')
    if int8:
        with export_packages():
            from mmseg_erfnet.export.quantize import export_int8
    if any(number is not None and number < 1 for number in (*(size or ()), batch)):
        raise UsageError(f'size and batch are 1 or more: got {size} and {batch}.')
    segmentor = load_segmentor(cfg, checkpoint, trust_checkpoint)
    metadata = describe(cfg, segmentor, checkpoint) | dict(output=output, size=size, batch=batch)
    resize = frame_resize(cfg)
    folded = fold(deepcopy(segmentor))
    frames = sample_frames(cfg, PARITY_FRAMES)
    stem = Path(cfg.filename).stem

    out = make_folder(out)
    try:
        with tempfile.TemporaryDirectory(prefix='.unfinished-', dir=out) as folder:
            logits = to_onnx(FrameToLabels(folded, resize, 'logits'), size, batch)
            files = [Path(folder) / f'{stem}{FORMATS[name]}' for name in formats]
            for path in files:
                # Of two outputs, OpenVINO's runtime computes the one that is needed; ONNX's computes both.
                with_own = path.suffix == '.xml'
                save(to_onnx(FrameToLabels(folded, resize, output, with_own), size, batch), path, metadata)
                report(f'{path.name}: {check_parity(path, logits, segmentor, frames)}')
            if int8:
                files.append(Path(folder) / f'{stem}_int8.xml')
                flexible = to_onnx(FrameToLabels(folded, resize, with_own=True))
                export_int8(flexible, files[-1], metadata, cfg, max_drop, report)
            return [_publish(path, out) for path in files]
    finally:
        with contextlib.suppress(OSError):
            # It is left as it was: without a file there is no folder either.
            out.rmdir()


def _publish(path: Path, out: Path) -> Path:
    # The weights first: an .xml is never there without its .bin.
    if path.suffix == '.xml':
        os.replace(path.with_suffix('.bin'), out / f'{path.stem}.bin')
    os.replace(path, out / path.name)
    return out / path.name


# --- Checking ---------------------------------------------------------------------------------------------------------


def sample_frames(cfg: Config, number: int) -> list[np.ndarray]:
    """Return so many frames of a config's test set, evenly spread; synthetic ones where its data are not here."""
    try:
        dataset = DATASETS.build(dict(cfg.test_dataloader.dataset))
    except (DataError, FileNotFoundError):
        return [render((360, 480), seed=0, index=index)[0][..., ::-1].copy() for index in range(number)]
    indices = evenly_spaced(len(dataset), number)
    return [cv2.imread(dataset.get_data_info(index)['img_path'], cv2.IMREAD_COLOR) for index in indices]


def check_parity(path: Path, logits: onnx.ModelProto, segmentor: nn.Module, frames: Iterable[np.ndarray]) -> str:
    """Compare a written model with MMSegmentation's prediction in float32.

    Labels are compared on the frames as they are, on frames cut to a size that the network pads, and on frames of the
    network's own size; there the logits are compared, too. Elsewhere the resize inside the model, which follows
    OpenCV's up to the last bit of some pixels, would show.

    Args:
        path: The model, of any output.
        logits: The same graph, ending in logits.
        segmentor: The segmentor, from :func:`mmseg_erfnet.export.graph.load_segmentor`.
        frames: uint8 (H, W, 3), BGR.

    Returns:
        What was found, in a line.

    Raises:
        ParityError: Logits differ by more than 1e-3, or labels on more than 0.1 % of the pixels.
    """
    predictor = Predictor(path, precision='f32')
    segmentor = deepcopy(segmentor)
    resize = frame_resize(segmentor.cfg)
    segmentor.data_preprocessor.test_cfg = dict(size_divisor=FrameToLabels(segmentor, resize).multiple)
    worst, equal, pixels = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        save(logits, Path(folder) / path.name, {})
        logits_of = BACKENDS[path.suffix](Path(folder) / path.name, precision='f32')
        for frame in frames:
            own = resize(*frame.shape[:2]) if resize else frame.shape[:2]
            odd = frame.shape[0] - 5, frame.shape[1] - 3
            for height, width in {predictor.size} if predictor.size else {frame.shape[:2], own, odd}:
                picture = cv2.resize(frame, (width, height))
                expected = inference_model(segmentor, picture)
                labels = expected.pred_sem_seg.data[0].numpy()
                found = predictor.predict(picture)
                if predictor.output != 'labels':
                    found = found.argmax(0)
                equal, pixels = equal + int((found == labels).sum()), pixels + labels.size
                if resize is None or resize(height, width) == (height, width):
                    batch = np.repeat(picture[None], predictor.metadata['batch'] or 1, 0)
                    worst = max(worst, float(np.abs(logits_of.run(batch)[0] - expected.seg_logits.data.numpy()).max()))
    if worst > LOGIT_TOLERANCE or equal < LABEL_AGREEMENT * pixels:
        raise ParityError(
            f'{path.name} differs from PyTorch and was not kept: logits by up to {worst:.2g}, allowed are '
            f'{LOGIT_TOLERANCE:g}; labels on {1 - equal / pixels:.3%} of the pixels, allowed are '
            f'{1 - LABEL_AGREEMENT:.1%}.'
        )
    return f'logits within {worst:.1e} of PyTorch, labels equal on {100 * equal / pixels:.3f} % of {pixels} pixels'
