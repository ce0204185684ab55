"""Imports of packages that are optional: MMSegmentation without its remarks, and a sentence where one is missing."""

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator

from mmseg_erfnet.errors import UsageError

INSTALL_TRAINING = 'pip install "mmseg_erfnet[onedl]" (from a clone: pip install ".[onedl]")'
TRAINING = ('torch', 'mmengine', 'mmcv', 'mmseg', 'matplotlib', 'PIL', 'tensorboard')  # what that brings
INSTALL_EXPORT = 'pip install "mmseg_erfnet[export]" (from a clone: pip install ".[export]")'


def import_mmseg() -> bool:
    """Import MMSegmentation without its remarks on packages that it could not import and that nothing here needs.

    Returns:
        Whether it can be imported. tools/doctor.py says why not.
    """
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import mmseg.datasets  # noqa: F401
    except Exception:  # whatever an installation can raise: a missing library, a version check
        return False
    return True


def require_mmseg() -> None:
    """Import MMSegmentation, which a tool cannot do without.

    Raises:
        UsageError: It cannot be imported, with the reason and the remedy.
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
    """Name the remedy where an import inside misses a package that exports models.

    Raises:
        UsageError: A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or '').partition('.')[0]
        if name == 'mmseg_erfnet':  # a module of ours that is missing is a bug
            raise
        remedy = INSTALL_TRAINING if name in TRAINING else INSTALL_EXPORT
        raise UsageError(f'This needs {error.name}, which is not installed: {remedy}.') from error


def call_quietly(module: str, name: str, *args) -> None:
    """Call a function of a module that needs MMSegmentation, without the remarks. What a new process starts with."""
    import_mmseg()
    getattr(importlib.import_module(module), name)(*args)
