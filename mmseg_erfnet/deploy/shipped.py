"""The model that comes with the package."""

import importlib.util
from pathlib import Path

from mmseg_erfnet.configs import PACKAGE, shipped_file
from mmseg_erfnet.errors import UsageError

DEFAULT = 'erfnet_camvid11_trainval'
# Keys are the packages that run the files, the fastest first.
FILES = {'openvino': f'{DEFAULT}_int8.xml', 'onnxruntime': f'{DEFAULT}.onnx'}


def default_model() -> Path:
    """Return the model that is used by default: int8 for OpenVINO, or float32 for ONNX Runtime.

    In the wheel it is in ``mmseg_erfnet/weights``, in a clone in ``weights`` next to the package.

    Raises:
        UsageError: The file is missing, or no package that can run it is installed.
    """
    names = [name for package, name in FILES.items() if importlib.util.find_spec(package)]
    if not names:
        raise UsageError(
            'Running a model needs OpenVINO or ONNX Runtime: pip install openvino, or from a clone '
            'pip install ".[deploy]".'
        )
    found = next(filter(None, map(shipped_file, names)), None)
    if found is not None:
        return found
    raise UsageError(
        f'The default model {" or ".join(names)} is not in {PACKAGE / "weights"}: install the package again, or name a '
        'model that tools/export.py wrote before the inputs.'
    )
