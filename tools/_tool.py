"""What each tool here does: call the verb of the installed command that bears its name."""

import importlib
import sys


def run(verb: str) -> None:
    """Run ``mmseg_erfnet.cli.VERB.main``; where the package is not installed, say so in one sentence."""
    try:
        module = importlib.import_module(f'mmseg_erfnet.cli.{verb}')
    except ModuleNotFoundError as error:
        if error.name.startswith('mmseg_erfnet.'):  # it is installed, and lacks a module: a bug
            raise
        sys.exit(
            f'error: {error.name} is not installed in {sys.executable}: run `make setup` and use .venv/bin/python, or '
            'install the clone with `pip install ".[onedl]"`.'
        )
    module.main()
