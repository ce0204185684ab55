"""Models outside PyTorch: exported, quantised, and run by what needs neither torch nor MMSegmentation.

Importing this needs NumPy and OpenCV; a :class:`Segmenter` needs OpenVINO or ONNX Runtime besides.
"""

from .runtime import Segmenter

__all__ = ['Segmenter']
