"""End a run on SIGTERM or SIGINT."""

import multiprocessing
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path


def end_on_signals(state: Callable[[], str]) -> None:
    """Make SIGTERM and SIGINT (Ctrl-C) end a run at once, with a sentence and the command that resumes it.

    Nothing is saved on exit, because a run could not resume exactly from the middle of an epoch. The process exits
    directly rather than by an exception, which would be lost in a finaliser or while a lock is released, so that the
    run would continue.

    Args:
        state: Returns a sentence about the checkpoint to resume from.
    """
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() == owner:
            _ignore_signals()
            try:
                if os.environ.get('RANK', '0') == '0':  # only the first of several processes prints it
                    start = '\n' if sys.stderr.isatty() else ''  # after a progress bar
                    sentence = f'{start}Stopped by {signal.Signals(number).name}. {state()} {resuming()}\n'
                    os.write(sys.stderr.fileno(), sentence.encode())
            finally:  # even if printing fails: the terminal may be gone
                leave(number)
        elif number == signal.SIGTERM:
            os._exit(128 + number)
        # A data loader's worker inherits this handler and ignores Ctrl-C: its parent ends it.

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _ignore_signals() -> None:
    """Keep signals from interrupting the exit: a second Ctrl-C, or torch's error about a dead worker."""
    for name in ('SIGTERM', 'SIGINT', 'SIGCHLD'):
        if hasattr(signal, name):  # Windows lacks some
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def leave(number: int) -> None:
    # Exit without unwinding, which would take seconds and print the workers' errors. By shell convention, the exit
    # status of a process ended by a signal is 128 + the signal's number.
    _ignore_signals()
    try:
        for worker in multiprocessing.active_children():
            worker.kill()
        _kill_forks()
    finally:
        os._exit(128 + number)


def _kill_forks() -> None:
    """Kill this process's forks, found through /proc if it exists.

    A worker that is being forked when the signal arrives is not yet an active child of multiprocessing. Left alone, it
    would take up to five seconds to notice that its parent is gone; one that has not yet stored its parent's id would
    never end. Other programs that this process started are left running: one that uploads a log may not be finished.
    """
    own = os.getpid(), Path('/proc/self/cmdline').read_bytes()
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            parent = int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
            if (parent, (folder / 'cmdline').read_bytes()) == own:
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:  # it has already ended
            continue


def resuming() -> str:
    """Return a sentence with the command that resumes a run."""
    program = 'python'
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        program = f'torchrun --nproc_per_node {os.environ["LOCAL_WORLD_SIZE"]}'
    # Drop an earlier --resume and its checkpoint, if given: there is a later checkpoint by now.
    command = re.sub(r' --resume(=\S+| [^-]\S*)?(?= |$)', '', shlex.join(sys.argv))
    return f'Resume with: {program} {command} --resume'
