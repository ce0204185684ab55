"""What can go wrong through no fault of the code. Needs nothing but Python."""


class UserError(Exception):
    """Something that was given or asked for does not fit. The message is a sentence that names it and the remedy.

    The tools print it without a traceback and end with status 1.
    """


class UsageError(UserError, ValueError):
    """What was asked for cannot be done."""


class DataError(UserError, ValueError):
    """An image, a label, a split or an archive is not what it should be."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be loaded: damaged, foreign, of another model, or more than data."""


class StorageError(UserError, OSError):
    """There is no room for what is to be written. The run can be continued."""


class DivergenceError(UserError, ArithmeticError):
    """A loss is NaN or infinite."""
