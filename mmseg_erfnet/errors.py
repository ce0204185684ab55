"""Errors that a user can cause. Needs only Python.

The contract: after any error that a user can cause (an option, a config value, a file, a folder, a device, a missing
package), every tool exits with status 1 and one sentence that names the problem and the remedy. A traceback means a
bug.

This project's code raises the classes below. Errors that other packages raise for the same causes are translated in one
place, :mod:`mmseg_erfnet.engine.translation`, which also defines what counts as a bug;
:func:`mmseg_erfnet.cli.common.tool` calls it.
"""


class UserError(Exception):
    """Base class. The message is one sentence that names the problem and the remedy; tools print only this sentence."""


class UsageError(UserError, ValueError):
    """The requested action is not possible."""


class DataError(UserError, ValueError):
    """An image, a label, a split or an archive is invalid."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be loaded: it is damaged, foreign, for another model, or contains more than data."""


class StorageError(UserError, OSError):
    """A file or folder cannot be written: the disk is full, permission is denied, or a name is too long.

    Attributes:
        resumable: Whether the run that it ended can be resumed from a checkpoint.
    """

    resumable = False


class DivergenceError(UserError, ArithmeticError):
    """A loss is NaN or infinite."""


class ParityError(UserError, RuntimeError):
    """An exported model's outputs differ from PyTorch's."""


class QuantizationError(UserError, RuntimeError):
    """An int8 model loses more accuracy than allowed."""
