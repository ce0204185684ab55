"""What the command-line tools share."""

import argparse
import contextlib
import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable

from .errors import Interrupted, StorageError, UserError


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser whose help is a tool's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``. Where MMSegmentation is not installed, no config can be read, and it is not offered."""
    # It remarks on packages that it could not import and that nothing here needs.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import mmseg.datasets  # noqa: F401
    except Exception:  # tools/doctor.py says what is wrong with an installation
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
    """Run a tool. Of an error that is the user's to mend, print the sentence alone; end with status 1.

    A signal ends it with status 128 + its number, and of several processes the first alone says so.
    """
    try:
        main()
    except UserError as error:
        # An error from a data loader's worker carries the worker's traceback, the sentence last.
        sentence = str(error).strip().rsplit('Error: ', 1)[-1]
        more = f' {_resuming()}' if isinstance(error, StorageError) else ''
        sys.exit(f'error: {sentence}{more}')
    except Interrupted as error:
        if os.environ.get('RANK', '0') == '0':
            print(f'{error} {_resuming()}', file=sys.stderr)
        _leave(error.status)
    except KeyboardInterrupt:
        _leave(128 + signal.SIGINT)


def _leave(status: int) -> None:
    # Unwinding would take seconds and print what the data loader's workers die of.
    for worker in multiprocessing.active_children():
        worker.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _resuming() -> str:
    """Say by which command a run goes on."""
    program = 'python'
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        program = f'torchrun --nproc_per_node {os.environ["LOCAL_WORLD_SIZE"]}'
    arguments = sys.argv if '--resume' in sys.argv else [*sys.argv, '--resume']
    return f'Go on with: {program} {shlex.join(arguments)}'
