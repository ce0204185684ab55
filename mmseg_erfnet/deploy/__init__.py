"""Models outside PyTorch: exported, quantised, and run by what needs neither torch nor MMSegmentation.

Importing this needs NumPy and OpenCV; a :class:`Predictor` needs OpenVINO or ONNX Runtime besides.
"""

import sys

# OpenVINO and NNCF report to a server that they are used, unasked and from a process that they fork amid their import.
# Without this package, which they find missing, they do not.
sys.modules.setdefault('openvino_telemetry', None)

from mmseg_erfnet.deploy.runtime import Predictor  # noqa: E402

__all__ = ['Predictor']
