"""Running exported models, float or quantised, without torch and MMSegmentation.

Importing this needs NumPy and OpenCV; a :class:`Predictor` also needs the backend of its format.
"""

import sys

# OpenVINO and NNCF send usage reports to a server without asking, from a process that they fork during their import.
# They skip this if the telemetry package is missing.
sys.modules.setdefault('openvino_telemetry', None)

from mmseg_erfnet.deploy.runtime import Predictor  # noqa: E402

__all__ = ['Predictor']
