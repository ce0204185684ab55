"""Import optional packages: MMSegmentation without its warnings, and one sentence if a package is missing."""

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator

from mmseg_erfnet.errors import UsageError

INSTALL_TRAINING = 'pip install "mmseg_erfnet[onedl]" (from a clone: pip install ".[onedl]")'
TRAINING = ('torch', 'mmengine', 'mmcv', 'mmseg', 'matplotlib', 'PIL', 'tensorboard')  # packages that this installs
INSTALL_EXPORT = 'pip install "mmseg_erfnet[export]" (from a clone: pip install ".[export]")'


def flush_denormals() -> None:
    """Make the CPU treat denormal numbers as zero, in this thread and in the threads that it starts from now on.

    L2 shrinks the weights of unused channels until they are denormal, and a CPU computes with such numbers in
    microcode. Halfway through ``configs/erfnet_camvid.py``, 8 % of the weights are denormal: without this setting, a
    forward pass of the backbone takes 13 times as long on one core, a training step 20 times in float32 and twice in
    bfloat16.
    """
    import torch

    torch.set_flush_denormal(True)
    # NumPy 1 warns of this setting when something asks for the limits of a type.
    warnings.filterwarnings('ignore', message='The value of the smallest subnormal')


def import_mmseg() -> bool:
    """Import MMSegmentation without its warnings about missing packages that this project does not need.

    The tools call this before PyTorch computes anything, so it also calls :func:`flush_denormals`: the threads of a
    pool that exists already would keep their setting.

    Returns:
        Whether it can be imported. If not, tools/doctor.py reports the reason.
    """
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    try:
        flush_denormals()
        with contextlib.redirect_stdout(io.StringIO()):
            import mmseg.datasets  # noqa: F401
    except Exception:  # an import can raise anything: a missing library, a version check
        return False
    return True


def require_mmseg() -> None:
    """Import MMSegmentation for a tool that requires it.

    Raises:
        UsageError: It cannot be imported; the message gives the reason and the remedy.
    """
    if import_mmseg():
        return
    try:
        import mmseg.datasets  # noqa: F401
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f'This needs PyTorch and MMSegmentation, which cannot be imported here ({reason}): {INSTALL_TRAINING}.'
        ) from error


@contextlib.contextmanager
def export_packages() -> Iterator[None]:
    """Turn a missing export package inside the context into an error that names the remedy.

    Raises:
        UsageError: A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or '').partition('.')[0]
        if name == 'mmseg_erfnet':  # a missing module of our own is a bug
            raise
        remedy = INSTALL_TRAINING if name in TRAINING else INSTALL_EXPORT
        raise UsageError(f'This needs {error.name}, which is not installed: {remedy}.') from error


def call_quietly(module: str, name: str, *args) -> None:
    """Call a function of a module that needs MMSegmentation, without its warnings; the entry point of new processes."""
    import_mmseg()
    getattr(importlib.import_module(module), name)(*args)
