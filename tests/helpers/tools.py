"""Runs the project's tools in this process, or in a separate one as a user does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mmseg_erfnet import signals
from mmseg_erfnet.cli.main import load

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1'}


@dataclass
class Ended:
    """How a tool ended.

    Attributes:
        status: The exit status.
        message: The error message if it failed: the text that ``sys.exit`` printed.
    """

    status: int
    message: str = ''

    @property
    def sentence(self) -> str:
        """The single line of an error, without its ``error: ``."""
        (line,) = self.message.splitlines()
        assert line.startswith('error: '), line
        return line.removeprefix('error: ')


def run_tool(verb: str, *arguments: object) -> Ended:
    """Run ``tools/VERB.py ARGUMENTS`` in this process. Errors that are not the user's are raised."""
    # Signals belong to pytest here.
    end_on_signals, argv = signals.end_on_signals, sys.argv
    signals.end_on_signals = lambda state: None
    sys.argv = [f'tools/{verb}.py', *map(str, arguments)]
    try:
        load(verb).main([str(argument) for argument in arguments])
    except SystemExit as end:
        # Like the interpreter: text is printed, and the status is 1.
        return Ended(1, end.code) if isinstance(end.code, str) else Ended(end.code or 0)
    finally:
        signals.end_on_signals, sys.argv = end_on_signals, argv
    return Ended(0)


def start_tool(verb: str, *arguments: object, cwd: Path = ROOT, **options) -> subprocess.CompletedProcess:
    """Run ``tools/VERB.py ARGUMENTS`` in a separate process."""
    command = [sys.executable, str(ROOT / 'tools' / f'{verb}.py'), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, **options)
