"""Errors that a user can cause. Needs nothing but Python.

The contract: whatever a user can cause (an option, a config value, a file, a folder, a device, a missing package) ends
every tool with exit status 1 and one sentence that names the thing and the remedy. A traceback means a bug.

Code of this project raises the classes below. What other packages raise for the same causes is translated in one place,
:mod:`mmseg_erfnet.engine.translation`, which also says what counts as a bug; :func:`mmseg_erfnet.cli.common.tool` calls
it.
"""


class UserError(Exception):
    """Base class. The message is one sentence that names what is wrong and the remedy; tools print it alone."""


class UsageError(UserError, ValueError):
    """What was asked for cannot be done."""


class DataError(UserError, ValueError):
    """An image, a label, a split or an archive is not what it should be."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be loaded: damaged, foreign, of another model, or more than data."""


class StorageError(UserError, OSError):
    """A file or folder cannot be written: no room, no permission, a name that is too long.

    Attributes:
        resumable: The run that it ended can be continued from a checkpoint.
    """

    resumable = False


class DivergenceError(UserError, ArithmeticError):
    """A loss is NaN or infinite."""


class ParityError(UserError, RuntimeError):
    """An exported model does not compute what PyTorch computes."""


class QuantizationError(UserError, RuntimeError):
    """A model in int8 loses more accuracy than is allowed."""
