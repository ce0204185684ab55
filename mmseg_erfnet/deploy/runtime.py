"""Run an exported model. Needs NumPy, OpenCV, and the backend of its format: OpenVINO, ONNX Runtime, ncnn or LiteRT."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmseg_erfnet.deploy.backends import BACKENDS
from mmseg_erfnet.deploy.metadata import METADATA_KEY, check_seal, parse_metadata, read_files
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.visualization import painting


class Predictor:
    """A model written by ``tools/export.py``. It can be shared between threads.

    Preprocessing and argmax are part of the model: it takes frames as a camera or ``cv2.imread`` returns them.

        predictor = Predictor('erfnet.xml')
        labels = predictor.predict(frame)
        picture = predictor.paint(frame, labels)

    Args:
        path: A ``.xml`` for OpenVINO, ``.onnx`` for ONNX Runtime, ``.param`` for ncnn or ``.tflite`` for LiteRT; the
            model's other files must be next to it.
        device: 'CPU', or another device of the backend: for OpenVINO 'GPU', 'NPU' or 'AUTO', for ONNX Runtime 'CUDA'.
        threads: Number of CPU threads per prediction. By default, the backend uses all cores.
        precision: 'f32' or 'bf16' for layers that are not quantised. The default is f32; for an int8 model, bf16 if the
            CPU supports it. Only OpenVINO offers a choice.
        side_by_side: Let predictions from several threads run side by side, each on its share of the cores, for more
            frames per second at a higher latency. Only OpenVINO on a CPU supports it.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        palette: One RGB triple per class.
        output: What predictions are: 'labels', 'logits' or 'probabilities'.
        size: Height and width that the model is fixed to, or None if it takes any size.
        parallel: Number of predictions that run side by side.
        metadata: Everything that the export recorded: metrics of int8, config, versions, the checkpoint's hash.

    Raises:
        UsageError: A file is missing, damaged, from another export or not ours, or the backend is not installed or does
            not support the device or the precision.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = 'CPU',
        threads: int | None = None,
        precision: str | None = None,
        side_by_side: bool = False,
    ) -> None:
        path = Path(path)
        if path.suffix not in BACKENDS:
            raise UsageError(
                f'{path} is not an exported model; give a file ending in {" or ".join(BACKENDS)}, written by '
                'tools/export.py.'
            )
        if threads is not None and threads < 1:
            raise UsageError(f'threads must be 1 or more: got {threads}.')
        # Read once, so that the bytes that are checked are the bytes that run; only ncnn reads its files again.
        contents = read_files(path)
        sealed = check_seal(path, contents)
        # ncnn and LiteRT can crash on a file that is not a model.
        if not sealed and '.json' in contents:
            raise _unsealed(path)
        backend = BACKENDS[path.suffix](path, device, threads, precision, contents, side_by_side)
        try:
            text = backend.metadata(METADATA_KEY)
        except (RuntimeError, ValueError):  # not UTF-8, or not text
            text = None
        if not text:
            raise UsageError(f'{path} was not written by tools/export.py: it lacks the names of its classes.')
        if not sealed:
            raise _unsealed(path)
        self._set(path.name, backend, parse_metadata(text, path))

    @classmethod
    def of(cls, name: str, backend, metadata: dict) -> 'Predictor':
        """Return a predictor for any object with a ``run(frames)`` method, given metadata like those of an export."""
        predictor = cls.__new__(cls)
        predictor._set(name, backend, metadata)
        return predictor

    def _set(self, name: str, backend, metadata: dict) -> None:
        self.name, self._backend, self.metadata = name, backend, metadata
        self.parallel: int = getattr(backend, 'parallel', 1)
        self.classes: list[str] = self.metadata['classes']
        self.palette: list[list[int]] = self.metadata['palette']
        self.output: str = self.metadata['output']
        self.size: tuple[int, int] | None = tuple(self.metadata['size']) if self.metadata['size'] else None
        self._batch: int | None = self.metadata['batch']

    def predict(self, frame: np.ndarray) -> np.ndarray:
        """Segment a frame.

        Args:
            frame: uint8 (H, W, 3), BGR.

        Returns:
            The class of each pixel, uint8 (H, W), or logits or probabilities, float32 (classes, H, W), depending on the
            export.

        Raises:
            DataError: It is not such a frame, or not of the size that the model is fixed to.
        """
        self._check(frame)
        return self._run(frame[None])[0]

    def predict_batch(self, frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Segment frames of one size together.

        Args:
            frames: Frames as in :meth:`predict`, as a sequence or as one array (N, H, W, 3).

        Returns:
            As :meth:`predict`, with a leading dimension N.

        Raises:
            DataError: An item is not a valid frame, or the frames differ in size.
        """
        if not len(frames):
            raise DataError('There are no frames in the batch; give one or more.')
        for frame in frames:
            self._check(frame)
        sizes = {frame.shape[:2] for frame in frames}
        if len(sizes) > 1:
            raise DataError(
                f'The frames of a batch differ in size: {", ".join(map(_size, sorted(sizes)))}; resize '
                'them to one, or predict them one by one.'
            )
        return self._run(np.asarray(frames))

    def paint(self, frame: np.ndarray, labels: np.ndarray, opacity: float = 0.6, legend: bool = True) -> np.ndarray:
        """Blend the classes' colours over a frame.

        Args:
            frame: uint8 (H, W, 3), BGR.
            labels: uint8 (H, W), from :meth:`predict`.
            opacity: Weight of the colours, from 0 to 1.
            legend: Add a strip at the bottom that names the classes in the picture.

        Returns:
            BGR picture, uint8, as wide as the frame; the legend adds to its height.

        Raises:
            DataError: Frame and labels do not match.
        """
        _check_frame(frame)
        if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.shape != frame.shape[:2]:
            found = f'{labels.dtype} {labels.shape}' if isinstance(labels, np.ndarray) else type(labels).__name__
            raise DataError(f'Labels for this frame must be a uint8 array of shape {frame.shape[:2]}: got {found}.')
        picture = painting.overlay(frame, labels, self.palette, opacity)
        if not legend:
            return picture
        present = [int(label) for label in np.unique(labels)]
        return np.vstack([picture, painting.legend(present, self.classes, self.palette, frame.shape[1])])

    def _check(self, frame: np.ndarray) -> None:
        _check_frame(frame)
        if self.size and frame.shape[:2] != self.size:
            raise DataError(
                f'{self.name} only takes frames of {_size(self.size)}: got {_size(frame.shape[:2])}. '
                'Resize them, or export a model without --size.'
            )

    def _run(self, frames: np.ndarray) -> np.ndarray:
        if self._batch and len(frames) != self._batch:
            if self._batch > 1:
                raise DataError(
                    f'{self.name} only takes batches of {self._batch}: got {len(frames)}. Use '
                    'predict_batch, or export a model without --batch.'
                )
            return np.concatenate([self._backend.run(np.ascontiguousarray(frame[None])) for frame in frames])
        return self._backend.run(np.ascontiguousarray(frames))


def _check_frame(frame: np.ndarray) -> None:
    if not isinstance(frame, np.ndarray):
        raise DataError(f'A frame is a NumPy array, uint8 (H, W, 3): got {type(frame).__name__}.')
    if frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
        raise DataError(
            f'A frame is BGR, uint8 (H, W, 3), but this one is grey, {frame.shape}: convert it with '
            'cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR).'
        )
    if frame.ndim == 3 and frame.shape[2] == 4:
        raise DataError(
            f'A frame is BGR, uint8 (H, W, 3), but this one has four channels, {frame.shape}: convert it '
            'with cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR).'
        )
    if frame.ndim != 3 or frame.shape[2] != 3:
        hint = ' For several frames, use predict_batch.' if frame.ndim == 4 else ''
        raise DataError(f'A frame is BGR, uint8 (H, W, 3): got an array of shape {frame.shape}.{hint}')
    if not frame.size:
        raise DataError(f'The frame is empty: its shape is {frame.shape}.')
    if frame.dtype != np.uint8:
        raise DataError(
            f'A frame holds uint8 from 0 to 255: got {frame.dtype}. Preprocessing is inside the model; '
            'give it what cv2.imread returns.'
        )


def _unsealed(path: Path) -> UsageError:
    return UsageError(f'{path} has no checksum: it is damaged or from an earlier version; export it again.')


def _size(shape: Sequence[int]) -> str:
    return f'{shape[0]}x{shape[1]}'
