"""The libraries that run exported models, each wrapped in the same interface."""

import threading
from pathlib import Path

import numpy as np

from mmseg_erfnet.deploy.fixed import LiteRT, Ncnn
from mmseg_erfnet.deploy.metadata import read_files
from mmseg_erfnet.deploy.signal_stack import signal_stack_kept
from mmseg_erfnet.errors import DataError, UsageError

# Maximum number of frame sizes with a compiled model of their own. Frames of further sizes use a model compiled for any
# size, which is slower, instead of waiting for a compilation.
COMPILED_SIZES = 4
# OpenVINO's CPU kernels address an array by 32-bit offsets: beyond this many bytes they read elsewhere, and the process
# ends with a segmentation fault. With 11 classes, a frame of 48 megapixels fits.
OPENVINO_LIMIT = 1 << 31
# Frames with fewer pixels are not checked; no layer has that many channels at the frame's size.
CHECKED_PIXELS = 1 << 21


class OpenVINO:
    """A model in OpenVINO's format.

    Args:
        path: The ``.xml`` file.
        device: An OpenVINO device.
        threads: Number of threads per prediction.
        precision: 'f32', 'bf16' or None.
        options: Further properties for the compilation, as in ``openvino.Core.compile_model``.
        contents: The model's files by suffix, if they have already been read.

    Raises:
        UsageError: OpenVINO is not installed, cannot read the file, or lacks the device or the precision.
    """

    @signal_stack_kept()
    def __init__(
        self,
        path: Path,
        device: str = 'CPU',
        threads: int | None = None,
        precision: str | None = None,
        options: dict | None = None,
        contents: dict[str, bytes] | None = None,
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise UsageError(f'{path} needs OpenVINO: pip install openvino.') from error
        contents = contents or read_files(path)
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(contents['.xml'], contents['.bin'])
        except RuntimeError as error:
            raise UsageError(
                f'OpenVINO cannot read {path}: it is damaged or from a newer version. Export it again.'
            ) from error
        capabilities = self._capabilities(device)
        if precision is None:
            quantised = any(op.get_type_name() == 'FakeQuantize' for op in self._model.get_ops())
            precision = 'bf16' if quantised and 'BF16' in capabilities else 'f32'
        elif precision not in ('f32', 'bf16'):
            raise UsageError(f'precision must be f32 or bf16: got {precision}.')
        elif precision == 'bf16' and 'BF16' not in capabilities:
            raise UsageError(f'The device {device} of this machine does not support bf16; use f32.')
        self.precision = precision
        self._device = device
        self._options = {'INFERENCE_PRECISION_HINT': precision, 'PERFORMANCE_HINT': 'LATENCY', **(options or {})}
        if threads is not None:
            self._options['INFERENCE_NUM_THREADS'] = threads
        self._compiled: dict[tuple | None, object] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    def _capabilities(self, device: str) -> list[str]:
        known = self._core.available_devices
        name = device.split(':')[0].split('.')[0]
        if name == 'AUTO':
            return []
        if name not in {one.split('.')[0] for one in known}:
            raise UsageError(f'OpenVINO finds no device {device} here; it has {", ".join(known)}.')
        return self._core.get_property(device, 'OPTIMIZATION_CAPABILITIES')

    def metadata(self, key: str) -> str | None:
        """Return the text that the model stores under a key."""
        return self._model.get_rt_info([key]).astype(str) if self._model.has_rt_info([key]) else None

    def run(self, frames: np.ndarray) -> np.ndarray:
        """Run the model on frames, uint8 (N, H, W, 3), and return its output.

        Raises:
            DataError: The frames are too large.
        """
        request = self._request(frames.shape)
        request.infer([frames], share_inputs=True)
        return request.get_output_tensor(0).data.copy()

    def _request(self, shape: tuple):
        self._check_size(shape)
        with self._lock:
            key = shape if shape in self._compiled or len(self._compiled) < COMPILED_SIZES else None
            if key not in self._compiled:
                self._compiled[key] = self._compile(key)
        # A request serves one caller at a time, so each thread has its own.
        requests = self._local.__dict__.setdefault('requests', {})
        if key not in requests:
            requests[key] = self._compiled[key].create_infer_request()
        return requests[key]

    def _check_size(self, shape: tuple) -> None:
        number, height, width, _ = shape
        if number * height * width < CHECKED_PIXELS:
            return
        model = self._model.clone()
        model.reshape(list(shape))
        largest = max(np.prod(output.get_shape(), dtype=float) for op in model.get_ops() for output in op.outputs())
        if 4 * largest >= OPENVINO_LIMIT:
            raise DataError(
                f'{width}x{height} is too large for this model in OpenVINO, which would need an array of '
                f'{4e-9 * largest:.1f} GB and handles {1e-9 * OPENVINO_LIMIT:.1f} GB: shrink the image, cut it into '
                'tiles, or use the model in ONNX.'
            )

    @signal_stack_kept()
    def _compile(self, shape: tuple | None):
        import openvino

        model = self._model.clone()
        if shape is not None:
            model.reshape(list(shape))
        outputs = model.outputs
        # If there are two outputs, the second one is at the network's size.
        fits = shape is not None and len(outputs) > 1 and list(outputs[1].get_partial_shape()) == list(shape[:3])
        model = openvino.Model([outputs[fits]], model.get_parameters())
        for op in model.get_ops():
            # A resize to the size that the tensor already has; OpenVINO 2026.4 would still compute it.
            if op.get_type_name() == 'Interpolate' and fits and op.get_input_shape(0) == op.get_output_shape(0):
                op.output(0).replace(op.input_value(0))
        return self._core.compile_model(model, self._device, self._options)


class OnnxRuntime:
    """A model in the ONNX format; arguments and errors as in :class:`OpenVINO`, with device 'CPU' or 'CUDA'."""

    precision = 'f32'

    def __init__(
        self,
        path: Path,
        device: str = 'CPU',
        threads: int | None = None,
        precision: str | None = None,
        contents: dict[str, bytes] | None = None,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(f'{path} needs ONNX Runtime: pip install onnxruntime.') from error
        provider = f'{device}ExecutionProvider'
        known = onnxruntime.get_available_providers()
        if provider not in known:
            raise UsageError(
                f'ONNX Runtime has no device {device} here; it has '
                f'{", ".join(name.removesuffix("ExecutionProvider") for name in known)}.'
            )
        if precision not in (None, 'f32'):
            raise UsageError(f'ONNX Runtime runs {path} only in f32: got {precision}. Use the OpenVINO format.')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            content = (contents or read_files(path))['.onnx']
            self._session = onnxruntime.InferenceSession(content, options, providers=[provider])
        except UsageError:
            raise
        # ONNX Runtime's exceptions have no narrower base class.
        except Exception as error:
            raise UsageError(
                f'ONNX Runtime cannot read {path}: it is damaged or from a newer version. Export it again.'
            ) from error

    def metadata(self, key: str) -> str | None:
        """Return the text that the model stores under a key."""
        return self._session.get_modelmeta().custom_metadata_map.get(key)

    def run(self, frames: np.ndarray) -> np.ndarray:
        """Run the model on frames, uint8 (N, H, W, 3), and return its output."""
        return self._session.run(None, {'frames': frames})[0]


BACKENDS = {'.xml': OpenVINO, '.onnx': OnnxRuntime, '.param': Ncnn, '.tflite': LiteRT}
