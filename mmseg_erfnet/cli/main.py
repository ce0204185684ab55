"""The installed command: ``mmseg-erfnet VERB ...``."""

import difflib
import importlib
import sys
from collections.abc import Sequence

# In the order in which a user needs them.
VERBS = (
    'predict',
    'train',
    'test',
    'export',
    'benchmark',
    'prepare-dataset',
    'web',
    'prepare-camvid',
    'synthesize-camvid',
    'config',
    'doctor',
    'report',
    'dataset-report',
    'convert-checkpoint',
    'publish-checkpoint',
    'results-table',
)


def load(verb: str):
    """Import the module of a verb."""
    return importlib.import_module(f'mmseg_erfnet.cli.{verb.replace("-", "_")}')


def usage() -> str:
    """Return the list of verbs, each with the first line of its manual."""
    lines = [f'  {verb:20}{load(verb).__doc__.strip().splitlines()[0]}' for verb in VERBS]
    return '\n'.join(['usage: mmseg-erfnet VERB [arguments]      mmseg-erfnet VERB --help', '', *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the verb named by the first argument with the remaining arguments."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ('-h', '--help'):
        print(usage())
        return
    verb = argv[0].replace('_', '-')
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f'; did you mean {near[0]}?' if near else '.'
        print(f'{usage()}\n\nerror: there is no verb {argv[0]!r}{hint}', file=sys.stderr)
        sys.exit(2)
    sys.argv[0] = f'mmseg-erfnet {verb}'
    load(verb).main(argv[1:])


if __name__ == '__main__':
    main()
