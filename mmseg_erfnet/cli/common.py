"""Code that the verbs share: parsers, common arguments, error handling."""

import argparse
import contextlib
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from mmseg_erfnet.errors import StorageError, UsageError, UserError
from mmseg_erfnet.files import REMEDIES, shown, storage_error
from mmseg_erfnet.mmseg_import import require_mmseg
from mmseg_erfnet.signals import leave, resuming


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def parse_size(text: str) -> tuple[int, int]:
    """Read a size, height first, such as 360x480."""
    match = re.fullmatch(r'(\d+)x(\d+)', text.strip().lower())
    if not match or not all(map(int, match.groups())):
        raise argparse.ArgumentTypeError(f'a size is HEIGHTxWIDTH, 360x480 for instance: got {text!r}')
    return int(match[1]), int(match[2])


def parse_options(texts: Sequence[str] | None) -> dict:
    """Parse ``KEY=VALUE`` strings like MMEngine's ``DictAction``: numbers, booleans, lists and tuples are recognised.

    Raises:
        UsageError: A text has no ``=``, or its brackets do not match.
    """
    if not texts:
        return {}
    require_mmseg()
    from mmengine.config import DictAction

    options = {}
    for text in texts:
        key, separator, value = text.partition('=')
        if not separator or not key:
            raise UsageError(f'--cfg-options takes KEY=VALUE, as in optim_wrapper.optimizer.lr=0.001: got {text!r}.')
        try:
            options[key] = DictAction._parse_iterable(value)
        except (AssertionError, ValueError) as error:
            raise UsageError(f'--cfg-options cannot read the value in {text!r}: check its brackets.') from error
    return options


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; :func:`parse_options` reads them."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override entries of the config',
    )


def add_trust_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load a checkpoint that contains more than plain data; it may run code written by its author',
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a model that a config and a checkpoint describe."""
    add_trust_checkpoint(parser)
    add_config_options(parser)


def read_config(path: str, args: argparse.Namespace):
    """Load a config with the overrides of ``--cfg-options``.

    Raises:
        UsageError: MMSegmentation or the config cannot be used.
    """
    require_mmseg()
    from mmseg_erfnet.engine.launch import load_config

    return load_config(path, options=parse_options(args.cfg_options))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share, under the names that MMSegmentation's users know."""
    parser.add_argument('--work-dir', help='folder for the output of the run (default: work_dirs/<name of the config>)')
    add_model_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='job launcher that started the processes',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def tool(main: Callable[[Sequence[str] | None], None]) -> Callable[[Sequence[str] | None], None]:
    """Decorate a verb's ``main``: print an error that the user can fix as one sentence, and exit with status 1."""

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> None:
        try:
            for argument in argv or ():
                if '\0' in str(argument):
                    raise UsageError(f'{shown(str(argument))} contains a null byte, which no path or option can.')
            with _unwinding():
                main(argv)
        except KeyboardInterrupt as error:
            leave(signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
        except Exception as error:
            found = _user_error(error)
            if found is None:  # a bug: its traceback helps to find it
                raise
            more = f' {resuming()}' if isinstance(found, StorageError) and found.resumable else ''
            sys.exit(f'error: {sentence(found)}{more}')

    return run


class _Terminated(KeyboardInterrupt):
    """SIGTERM has arrived."""


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM unwind the stack like Ctrl-C, so that unfinished files are removed; a second one ends at once."""

    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a data loader's worker, which inherits this handler
            os._exit(128 + number)
        signal.signal(number, lambda number, frame: leave(number))
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _user_error(error: Exception) -> UserError | None:
    """Return an error that a user can cause as a `UserError`, or None for a bug."""
    if isinstance(error, UserError):
        return error
    if 'mmengine' in sys.modules and 'torch' in sys.modules:
        from mmseg_erfnet.engine.translation import translate

        return translate(error)
    # MMEngine has not run yet, so only errors of files are left.
    return storage_error(error.filename, error) if isinstance(error, OSError) and error.errno in REMEDIES else None


def given(value: object, option: str, needed: bool, condition: str) -> None:
    """Refuse an option that would be ignored.

    Args:
        value: The value given; None or False where the option was left out.
        option: The option.
        needed: Whether the option has an effect.
        condition: When it has none, as in "without --int8".

    Raises:
        UsageError: The option was given but has no effect.
    """
    if value not in (None, False) and not needed:
        raise UsageError(f'{option} has no effect {condition}; leave it out.')


def sentence(error: BaseException) -> str:
    """Return an error's message in one line.

    The message of an error from a data loader's worker contains a traceback: only its last line is kept. MMEngine
    0.10.7 puts the class that it was building before the message: that is removed.
    """
    kind = type(error)
    text = str(error).strip().rpartition(f'\n{kind.__module__}.{kind.__qualname__}: ')[2]
    return ' '.join(re.sub(r'^(class `\w+` in \S+: )+', '', text).split())
