"""Write a segmentor as self-contained models, each checked against PyTorch before it is published."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from mmengine.config import Config
from torch import nn

from mmseg_erfnet.deploy.backends import BACKENDS
from mmseg_erfnet.deploy.metadata import OUTPUTS, files_of, is_part
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import ParityError, StorageError, UsageError
from mmseg_erfnet.export.fixed import (
    FIXED_FORMATS,
    LiteRTQuantizer,
    fixed_resize,
    picture_size,
    require_packages,
    save_fixed,
)
from mmseg_erfnet.export.folding import fold
from mmseg_erfnet.export.formats import save, to_onnx
from mmseg_erfnet.export.graph import FrameResize, FrameScale, FrameToLabels, frame_resize
from mmseg_erfnet.export.int8 import Quantizer, check_data, export_int8
from mmseg_erfnet.export.metadata import describe
from mmseg_erfnet.export.parity import Reference, check_parity, sample_frames
from mmseg_erfnet.files import (
    TEMPORARY,
    check_targets,
    folder_for,
    locked,
    remove_unfinished,
    renamed,
    replacing,
    shown,
    storage_error,
)
from mmseg_erfnet.mmseg_import import export_packages
from mmseg_erfnet.models.building import load_segmentor

__all__ = ['FORMATS', 'ParityError', 'check_release', 'export', 'export_release', 'sample_frames']

FORMATS = {'onnx': '.onnx', 'openvino': '.xml', **FIXED_FORMATS}
INT8 = ('.onnx', '.xml', '.tflite')  # suffixes of the formats that have int8
PARITY_FRAMES = 4


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
    scale: float = 1.0,
    name: str | None = None,
) -> list[Path]:
    """Export the model of a config and a checkpoint, and compare each file with PyTorch.

    Args:
        cfg: The config, from :func:`mmseg_erfnet.engine.launch.load_config`.
        checkpoint: The checkpoint file, or None for freshly initialised weights.
        out: Folder for the models. Nothing is written there before all models have passed.
        formats: Some of :data:`FORMATS`.
        output: What the model returns: 'labels', 'logits' or 'probabilities'.
        size: Height and width to fix, or None for any size.
        batch: Number of frames to fix, or None for any number.
        int8: Also write an int8 model in each of the formats that has it (all but ncnn), calibrated and scored on the
            config's data.
        max_drop: Points of mIoU that an int8 model may lose.
        trust_checkpoint: Load a checkpoint that contains more than data.
        report: Called with each line of the results.
        scale: Factor on the size that the network sees; above 1, the model is more accurate and slower. The resize is
            inside the model; sides are rounded down to multiples of 8.
        name: Name of the files without suffix; the default is the config's name.

    Returns:
        The files; for a model of several files, the one that ``Predictor`` takes.

    Raises:
        UsageError: The request is invalid or cannot be met, or would replace a file that is not an exported model.
        CheckpointError: The checkpoint cannot be loaded or does not fit.
        ParityError: A model differs from PyTorch.
        QuantizationError: An int8 model loses too much.
        StorageError: The folder cannot be written.
    """
    formats = list(dict.fromkeys(formats))
    _check_request(formats, output, size, batch, int8, max_drop)
    if int8:
        check_data(cfg)
    name = name or Path(cfg.filename or 'model').stem
    names = [_file_name(name, kind) for kind in formats]
    names += [_int8_name(file) for file in names if int8 and Path(file).suffix in INT8]
    _check_targets([Path(out) / file for file in names], filter(None, [cfg.filename, checkpoint]))
    model = _Model(cfg, load_segmentor(cfg, checkpoint, trust_checkpoint), frame_resize(cfg, scale), size, batch)
    metadata = describe(cfg, model.segmentor, checkpoint, scale) | dict(output=output, size=size, batch=batch)
    with _unfinished(Path(out)) as folder:
        reference = Reference(cfg, model.segmentor, model.resize, sample_frames(cfg, PARITY_FRAMES))
        files = [folder / file for file in names[: len(formats)]]
        for path in files:
            model.write(path, output, metadata)
            report(f'{path.name}: {model.check(path, reference)}')
        for path in [path for path in files if int8 and path.suffix in INT8]:
            files.append(folder / _int8_name(path.name))
            export_int8(model.quantizer(path), files[-1], metadata, cfg, max_drop, report, scale)
        return [_publish(path, Path(out)) for path in files]


def _file_name(name: str, kind: str) -> str:
    # Both ncnn and OpenVINO use .bin for weights, and both ncnn and LiteRT use .json for the description.
    return f'{name}{f"_{kind}" if kind in FIXED_FORMATS else ""}{FORMATS[kind]}'


def _int8_name(file: str) -> str:
    return f'{Path(file).stem}_int8{Path(file).suffix}'


def _check_targets(models: Sequence[Path], inputs: Iterable[str]) -> None:
    """Refuse to replace a file that is not part of an exported model: neither it nor its description has a checksum."""
    exported = {path for model in models for path in files_of(model) if is_part(path)}
    for model in models:
        # Weights have no description of their own.
        if exported & set(files_of(model)):
            exported |= set(files_of(model))
    check_targets([path for model in models for path in files_of(model)], inputs, lambda path: path in exported)


def _check_request(
    formats: Sequence[str],
    output: str,
    size: tuple[int, int] | None,
    batch: int | None,
    int8: bool,
    max_drop: float,
) -> None:
    unknown = set(formats) - set(FORMATS)
    if unknown or not formats or output not in OUTPUTS:
        raise UsageError(
            f'formats must be among {", ".join(FORMATS)} and the output among {", ".join(OUTPUTS)}: got '
            f'{", ".join(formats) or "none"} and {output}.'
        )
    if set(formats) & set(FIXED_FORMATS) and (output != 'labels' or batch not in (None, 1)):
        raise UsageError('The formats ncnn and litert only support the output labels and single frames.')
    if any(number is not None and number < 1 for number in (*(size or ()), batch)):
        raise UsageError(f'size and batch must be 1 or more: got {size} and {batch}.')
    for name in set(formats) & set(FIXED_FORMATS):
        require_packages(name)
    if not int8:
        return
    if not any(FORMATS[name] in INT8 for name in formats) or output != 'labels':
        raise UsageError(
            'int8 needs the output labels and one of the formats onnx, openvino and litert; ncnn quantises with '
            'programs that its Python package lacks.'
        )
    # Written so that NaN is refused too.
    if not 0 <= max_drop <= 100:
        raise UsageError(f'max_drop is in points of mIoU, from 0 to 100: got {max_drop}.')
    if set(formats) - set(FIXED_FORMATS):
        with export_packages():
            import mmseg_erfnet.export.quantize  # noqa: F401


@dataclass
class _Model:
    """A segmentor and the form in which it is exported."""

    cfg: Config
    segmentor: nn.Module
    resize: FrameResize | FrameScale | None
    size: tuple[int, int] | None
    batch: int | None

    def __post_init__(self) -> None:
        self.folded = fold(deepcopy(self.segmentor))

    def write(self, path: Path, output: str, metadata: dict) -> None:
        if path.suffix in FIXED_FORMATS.values():
            resize = fixed_resize(self.resize, self.size)
            graph = FrameToLabels(self.folded, resize)
            picture = picture_size(graph, resize, self.size)
            save_fixed(graph, picture, path, metadata | dict(resize=resize and vars(resize)))
            return
        # Given two outputs, OpenVINO's runtime computes only the one that is used; ONNX Runtime computes both.
        graph = FrameToLabels(self.folded, self.resize, output, with_own=path.suffix == '.xml')
        save(to_onnx(graph, self.size, self.batch), path, metadata)

    @functools.cached_property
    def logits(self) -> onnx.ModelProto:
        return to_onnx(FrameToLabels(self.folded, self.resize, 'logits'), self.size, self.batch)

    def quantizer(self, path: Path) -> Quantizer:
        """Return what quantises the model whose file in float32 is given."""
        if path.suffix in FIXED_FORMATS.values():
            return LiteRTQuantizer(path)
        from mmseg_erfnet.export.quantize import OnnxQuantizer, OpenVINOQuantizer

        kind = OpenVINOQuantizer if path.suffix == '.xml' else OnnxQuantizer
        return kind(to_onnx(FrameToLabels(self.folded, self.resize, with_own=path.suffix == '.xml')))

    def check(self, path: Path, reference: Reference) -> str:
        if path.suffix in FIXED_FORMATS.values():
            return self._check_fixed(path, reference)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            save(self.logits, file, {})
            backend = BACKENDS[path.suffix](file, precision='f32')

            def logits_of(frame: np.ndarray) -> np.ndarray:
                return backend.run(np.repeat(frame[None], self.batch or 1, 0))[0]

            return check_parity(Predictor(path, precision='f32'), logits_of, reference)

    def _check_fixed(self, path: Path, reference: Reference) -> str:
        predictor, resize = Predictor(path), fixed_resize(self.resize, self.size)
        if resize != self.resize:
            reference = Reference(self.cfg, self.segmentor, resize, reference.frames)
        if resize:
            # Compared at the network's size, because the runtime resizes as OpenCV does, which is not to the bit.
            predictor.size = None
        return check_parity(predictor, BACKENDS[path.suffix](path).logits, reference)


@contextlib.contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """Yield a folder inside ``out`` for files that have not passed yet; if none passes, ``out`` is left unchanged.

    Raises:
        UsageError: Another export is writing into ``out``.
        StorageError: It cannot be written.
    """
    said = f'Another export is writing into {shown(out)}: wait for it, or choose another --out.'
    with folder_for(out), locked(out, said):
        remove_unfinished(out.glob(f'{TEMPORARY}*'))
        try:
            folder = tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out, ignore_cleanup_errors=True)
        except OSError as error:
            raise storage_error(out, error) from error
        try:
            with folder:
                yield Path(folder.name)
        except StorageError as error:
            raise renamed(error, folder.name, out) from error


def _publish(path: Path, out: Path) -> Path:
    """Move the files of a model into the output folder, the file that names the model last.

    A kill in between leaves new weights next to an old description; the checksum reveals this.
    """
    for file in reversed(files_of(path)):
        with replacing(out / file.name) as temporary:
            os.replace(file, temporary)
    return out / path.name


def check_release(cfg: Config, checkpoint: str, out: str | Path) -> list[Path]:
    """Refuse, before anything is written, a release that cannot be exported; see :func:`export_release`.

    Args:
        cfg: The config.
        checkpoint: The published checkpoint, which need not exist yet.
        out: Folder for the models.

    Returns:
        The ``.xml`` and the ``.onnx`` to write.

    Raises:
        UsageError: A package is missing, the config lacks a set, or a file that is not an exported model would be
            replaced.
        DataError: The data are not where the config says.
    """
    name = Path(checkpoint).stem
    models = [Path(out) / file for file in (f'{name}_int8.xml', f'{name}.onnx')]
    _check_request(('onnx', 'openvino'), 'labels', None, None, int8=True, max_drop=0)
    _check_targets(models, filter(None, [cfg.filename, checkpoint]))
    check_data(cfg)
    return models


def export_release(cfg: Config, checkpoint: str, out: str | Path, report: Callable[[str], None] = print) -> list[Path]:
    """Write the exported models of a release: int8 for OpenVINO, float32 for ONNX Runtime.

    Args:
        cfg: The config, with training images to calibrate on and a validation set to score int8 on.
        checkpoint: The published checkpoint; the files get its name.
        out: Folder for ``NAME_int8.xml``, ``NAME_int8.bin`` and ``NAME.onnx``.
        report: Called with each line of the results.

    Returns:
        The ``.xml`` and the ``.onnx``.

    Raises:
        UserError: As :func:`export`.
    """
    models, name = check_release(cfg, checkpoint, out), Path(checkpoint).stem
    with _unfinished(Path(out)) as folder:
        export(cfg, checkpoint, folder, ('onnx',), report=report, name=name)
        export(cfg, checkpoint, folder, ('openvino',), int8=True, report=report, name=name)
        # OpenVINO's float model is not shipped, because it equals the ONNX model.
        return [_publish(folder / path.name, Path(out)) for path in models]
