"""How signals end a run."""

import multiprocessing
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path


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
                    sentence = f'{start}Stopped by {signal.Signals(number).name}. {state()} {resuming()}\n'
                    os.write(sys.stderr.fileno(), sentence.encode())
            finally:  # whatever becomes of the sentence: the terminal may be gone
                leave(number)
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


def leave(number: int) -> None:
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


def resuming() -> str:
    """Say by which command a run goes on."""
    program = 'python'
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        program = f'torchrun --nproc_per_node {os.environ["LOCAL_WORLD_SIZE"]}'
    # An older --resume goes, with the checkpoint that may follow it: by now there is a later one.
    command = re.sub(r' --resume(=\S+| [^-]\S*)?(?= |$)', '', shlex.join(sys.argv))
    return f'Go on with: {program} {command} --resume'
