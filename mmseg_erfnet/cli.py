"""What the command-line tools share."""

import argparse
import sys
from collections.abc import Callable

from .errors import UserError


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser whose help is a tool's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share, under the names that MMSegmentation's users know."""
    from mmengine.config import DictAction

    parser.add_argument('--work-dir', help='folder for what the run writes (default: work_dirs/<name of the config>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override entries of the config')
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
        # An error from a data loader's worker carries the worker's traceback, the sentence last.
        sentence = str(error).strip().rsplit('Error: ', 1)[-1]
        sys.exit(f'error: {sentence}')
