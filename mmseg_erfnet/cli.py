"""What the command-line tools share."""

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from .errors import StorageError, UserError


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser whose help is a tool's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


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


def call_quietly(module: str, name: str, *args) -> None:
    """Call a function of a module that needs MMSegmentation, without the remarks. What a new process starts with."""
    import_mmseg()
    getattr(importlib.import_module(module), name)(*args)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``. Where MMSegmentation is not installed, no config can be read, and it is not offered."""
    if not import_mmseg():
        return
    from mmengine.config import DictAction

    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override entries of the config')


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share, under the names that MMSegmentation's users know."""
    parser.add_argument('--work-dir', help='folder for what the run writes (default: work_dirs/<name of the config>)')
    add_config_options(parser)
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load a checkpoint that holds more than data; it may run code of whoever wrote it')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
                        help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def run(main: Callable[[], None]) -> None:
    """Run a tool. Of an error that is the user's to mend, print the sentence alone; end with status 1."""
    try:
        main()
    except UserError as error:
        # An error from a data loader's worker carries the worker's traceback, its last line the class and the sentence.
        kind = type(error)
        sentence = str(error).strip().rpartition(f'\n{kind.__module__}.{kind.__qualname__}: ')[2]
        more = f' {_resuming()}' if isinstance(error, StorageError) else ''
        sys.exit(f'error: {sentence}{more}')
    except KeyboardInterrupt:
        _leave(signal.SIGINT)


def end_on_signals(state: Callable[[], str]) -> None:
    """Have SIGTERM and SIGINT (Ctrl-C) end a run at once, with a sentence and the command by which it goes on.

    Nothing is saved on the way out: a state between two epochs could not be continued exactly. An exception in place of
    the sudden end would be lost where it meets a finaliser or a lock being released, and the run would go on.

    Args:
        state: Says what there is to go on from.
    """
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() == owner:
            _ignore_signals()
            try:
                if os.environ.get('RANK', '0') == '0':  # of several processes, one says so
                    start = '\n' if sys.stderr.isatty() else ''  # after a progress bar
                    sentence = f'{start}Stopped by {signal.Signals(number).name}. {state()} {_resuming()}\n'
                    os.write(sys.stderr.fileno(), sentence.encode())
            finally:  # whatever becomes of the sentence: the terminal may be gone
                _leave(number)
        elif number == signal.SIGTERM:
            os._exit(128 + number)
        # else a data loader's worker, which inherits this: Ctrl-C reaches it, too, but to end it is its owner's part.

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _ignore_signals() -> None:
    """Have no signal interrupt the end, a second Ctrl-C or torch's error over a worker that has died."""
    for name in ('SIGTERM', 'SIGINT', 'SIGCHLD'):
        if hasattr(signal, name):  # Windows has not all
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _leave(number: int) -> None:
    # Without unwinding, which would take seconds, and print what the workers die of. By shells' custom, the status of
    # what ends by a signal is 128 + its number.
    _ignore_signals()
    try:
        for worker in multiprocessing.active_children():
            worker.kill()
        _kill_forks()
    finally:
        os._exit(128 + number)


def _kill_forks() -> None:
    """Kill this process's forks, where there is a /proc to find them by.

    A worker that was being forked as the signal came is no active child of multiprocessing yet. Left alone, it would
    take up to five seconds to find its parent gone; one that had not yet looked who its parent is would stay for good.
    Programs that were started are left to themselves: what uploads a log may have more to do.
    """
    own = os.getpid(), Path('/proc/self/cmdline').read_bytes()
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            parent = int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
            if (parent, (folder / 'cmdline').read_bytes()) == own:
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue


def _resuming() -> str:
    """Say by which command a run goes on."""
    program = 'python'
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        program = f'torchrun --nproc_per_node {os.environ["LOCAL_WORLD_SIZE"]}'
    # An older --resume goes, with the checkpoint that may follow it: by now there is a later one.
    command = re.sub(r" --resume(=\S+| [^-]\S*)?(?= |$)", '', shlex.join(sys.argv))
    return f'Go on with: {program} {command} --resume'
