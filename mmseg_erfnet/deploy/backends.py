"""The libraries that run exported models."""

import contextlib
import threading
from pathlib import Path

import numpy as np

from mmseg_erfnet.deploy.backend import Backend
from mmseg_erfnet.deploy.fixed import LiteRT, Ncnn
from mmseg_erfnet.deploy.signal_stack import signal_stack_kept
from mmseg_erfnet.environment import cores
from mmseg_erfnet.errors import DataError, UsageError

# Maximum number of frame sizes with a compiled model of their own. Frames of further sizes use a model compiled for any
# size, which is slower, instead of waiting for a compilation.
COMPILED_SIZES = 4
# OpenVINO's CPU kernels address an array by 32-bit offsets: beyond this many bytes they read elsewhere, and the process
# ends with a segmentation fault. With 11 classes, a frame of 48 megapixels fits.
OPENVINO_LIMIT = 1 << 31
# Batches with fewer pixels are not checked, because no layer has that many channels at the frame's size. Larger ones
# run one at a time: each needs hundreds of megabytes.
LARGE_PIXELS = 1 << 21
MOST_STREAMS = 8  # frames side by side: each needs memory of its own, and decoding does not keep up with more


class OpenVINO(Backend):
    """A model in OpenVINO's format, on any of its devices; ``options`` are properties of ``Core.compile_model``."""

    NAME, PACKAGE = 'OpenVINO', 'openvino'
    PRECISIONS = ('f32', 'bf16')

    @signal_stack_kept()
    def _load(
        self,
        path: Path,
        contents: dict[str, bytes],
        device: str,
        threads: int | None,
        precision: str | None,
        options: dict | None = None,
    ) -> None:
        import openvino

        # OpenVINO fills its table of NumPy types in the first call. Two threads that make it together block each other.
        openvino.Type.u8.to_dtype()
        self._core = openvino.Core()
        self._model = self._core.read_model(contents['.xml'], contents['.bin'])
        capabilities = self._capabilities(device)
        if precision is None:
            quantised = any(op.get_type_name() == 'FakeQuantize' for op in self._model.get_ops())
            precision = 'bf16' if quantised and 'BF16' in capabilities else 'f32'
        elif precision == 'bf16' and 'BF16' not in capabilities:
            raise UsageError(f'The device {device} of this machine does not support bf16; use f32.')
        self.precision = precision
        self._device = device
        self._options = {'INFERENCE_PRECISION_HINT': precision, 'PERFORMANCE_HINT': 'LATENCY', **(options or {})}
        if threads is not None:
            self._options['INFERENCE_NUM_THREADS'] = threads
        if self.side_by_side and device == 'CPU':
            self.parallel = min(threads or cores(), MOST_STREAMS)
            self._options['NUM_STREAMS'] = self.parallel
        self._compiled: dict[tuple | None, object] = {}
        self._lock = threading.Lock()
        self._large = threading.Lock()
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
        return self._model.get_rt_info([key]).astype(str) if self._model.has_rt_info([key]) else None

    def run(self, frames: np.ndarray) -> np.ndarray:
        """Run the model on frames, uint8 (N, H, W, 3), and return its output.

        Raises:
            DataError: The frames are too large.
        """
        request = self._request(frames.shape)
        with self._large if frames[..., 0].size >= LARGE_PIXELS else contextlib.nullcontext():
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
        if number * height * width < LARGE_PIXELS:
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


class OnnxRuntime(Backend):
    """A model in the ONNX format, on the device 'CPU' or 'CUDA'."""

    NAME, PACKAGE = 'ONNX Runtime', 'onnxruntime'
    ERRORS = (Exception,)  # ONNX Runtime's exceptions have no narrower base class

    def _load(
        self, path: Path, contents: dict[str, bytes], device: str, threads: int | None, precision: str | None
    ) -> None:
        import onnxruntime

        provider = f'{device}ExecutionProvider'
        known = onnxruntime.get_available_providers()
        if provider not in known:
            raise UsageError(
                f'ONNX Runtime has no device {device} here; it has '
                f'{", ".join(name.removesuffix("ExecutionProvider") for name in known)}.'
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(contents['.onnx'], options, providers=[provider])

    def metadata(self, key: str) -> str | None:
        return self._session.get_modelmeta().custom_metadata_map.get(key)

    def run(self, frames: np.ndarray) -> np.ndarray:
        return self._session.run(None, {'frames': frames})[0]


BACKENDS = {'.xml': OpenVINO, '.onnx': OnnxRuntime, '.param': Ncnn, '.tflite': LiteRT}
