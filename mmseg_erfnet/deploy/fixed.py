"""Backends whose models take one float32 picture and return logits: ncnn and LiteRT.

OpenCV resizes a frame as the config's test pipeline does, and the frame is placed at the top left of the picture. The
logits are cropped and resized to the frame's size before the argmax.
"""

import json
import os
import threading
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet.deploy.backend import Backend
from mmseg_erfnet.deploy.metadata import REMEDY
from mmseg_erfnet.errors import DataError, UsageError


class _OnePicture(Backend):
    """The common base, which runs on the CPU only. A subclass defines ``_open`` and ``_logits``."""

    def _load(
        self, path: Path, contents: dict[str, bytes], device: str, threads: int | None, precision: str | None
    ) -> None:
        if device.upper() != 'CPU':
            raise UsageError(f'{self.NAME} runs {path} only on the CPU here: got {device}.')
        self._text = contents['.json'].decode(errors='replace')
        try:
            about = json.loads(self._text)
            self.picture = tuple(int(side) for side in about['picture'])
            self._fill, self._threshold = np.array(about['fill'], np.float32), about['threshold']
            self._resize = about['resize']
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f'The metadata of {path} are damaged: {REMEDY}.') from error
        self._open(path, contents, threads)

    def metadata(self, key: str) -> str | None:
        return self._text

    def run(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([self._labels(frame) for frame in frames])

    def place(self, frame: np.ndarray) -> np.ndarray:
        """Return the network's input, float32 (3, h, w), for a frame, uint8 (H, W, 3): resized, at the top left.

        Raises:
            DataError: Nothing resizes the frame, and it is larger than the input.
        """
        height, width = self._placed_size(*frame.shape[:2])
        if height > self.picture[0] or width > self.picture[1]:
            raise DataError(
                f'A frame of {height}x{width} does not fit into the input of the model, '
                f'{self.picture[0]}x{self.picture[1]}: resize the frames, or export with a Resize in the test pipeline.'
            )
        picture = np.empty((*self.picture, 3), np.float32)
        picture[:] = self._fill
        picture[:height, :width] = frame if frame.shape[:2] == (height, width) else cv2.resize(frame, (width, height))
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    def logits(self, frame: np.ndarray) -> np.ndarray:
        """Return the logits, float32 (C, H, W), of a frame, uint8 (H, W, 3)."""
        height, width = self._placed_size(*frame.shape[:2])
        logits = self._logits(self.place(frame))[:, :height, :width]
        if (height, width) == frame.shape[:2]:
            return logits
        size = frame.shape[1::-1]
        return np.stack([cv2.resize(np.ascontiguousarray(plane), size) for plane in logits])

    def _placed_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of a frame on the picture, rounded as ``mmcv.imrescale`` does."""
        if self._resize is None:
            return height, width
        if not self._resize['keep_ratio']:
            return self._resize['height'], self._resize['width']
        bounds = sorted((self._resize['height'], self._resize['width']))
        scale = min(bounds[1] / max(height, width), bounds[0] / min(height, width))
        placed = int(height * scale + 0.5), int(width * scale + 0.5)
        # The bounds apply to the longer and the shorter side, so a portrait frame can be larger than the picture.
        if placed[0] > self.picture[0] or placed[1] > self.picture[1]:
            scale = min(self.picture[0] / height, self.picture[1] / width)
            placed = int(height * scale), int(width * scale)
        return max(placed[0], 1), max(placed[1], 1)

    def _labels(self, frame: np.ndarray) -> np.ndarray:
        logits = self.logits(frame)
        if self._threshold is None:
            return logits.argmax(0).astype(np.uint8)
        return (1 / (1 + np.exp(-logits[0])) > self._threshold).astype(np.uint8)


class Ncnn(_OnePicture):
    """A model in ncnn's format: a ``.param`` with a ``.bin`` and a ``.json`` next to it."""

    NAME = PACKAGE = 'ncnn'

    def _open(self, path: Path, contents: dict[str, bytes], threads: int | None) -> None:
        import ncnn

        self._ncnn, self._net = ncnn, ncnn.Net()
        if threads is not None:
            self._net.opt.num_threads = threads
        for option in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):
            setattr(self._net.opt, option, False)
        # ncnn reads its files again, because its loading from memory in Python reports no errors. As bytes, because a
        # name need not be UTF-8.
        if self._net.load_param(os.fsencode(path)) or self._net.load_model(os.fsencode(path.with_suffix('.bin'))):
            raise ValueError(path)

    def _logits(self, picture: np.ndarray) -> np.ndarray:
        extractor = self._net.create_extractor()
        extractor.input('in0', self._ncnn.Mat(picture))
        return np.array(extractor.extract('out0')[1])


class LiteRT(_OnePicture):
    """A model in LiteRT's format: a ``.tflite`` with a ``.json`` next to it."""

    NAME, PACKAGE = 'LiteRT', 'ai-edge-litert'

    def _open(self, path: Path, contents: dict[str, bytes], threads: int | None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=contents['.tflite'], num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]['index']
        self._output = self._interpreter.get_output_details()[0]['index']
        # An interpreter has only one set of tensors.
        self._lock = threading.Lock()

    def _logits(self, picture: np.ndarray) -> np.ndarray:
        with self._lock:
            self._interpreter.set_tensor(self._input, picture[None])
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output)[0]
