"""Write the README's results table from model-index.yml.

python tools/results_table.py
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_text
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('--index', type=Path, default=Path('model-index.yml'), metavar='FILE')
    parser.add_argument('--readme', type=Path, default=Path('README.md'), metavar='FILE')
    args = parser.parse_args(argv)

    for path in (args.index, args.readme):
        if not path.is_file():
            raise UsageError(f'There is no {path}; run this in the clone, or name the file with --index or --readme.')
    require_mmseg()
    from mmseg_erfnet.release import read_models, with_results

    models = read_models(args.index)
    try:
        readme = args.readme.read_text()
    except UnicodeDecodeError as error:
        raise UsageError(f'{args.readme} is not text in UTF-8; name the README with --readme.') from error
    write_text(args.readme, with_results(readme, models))
    print(f'{args.readme}: {len(models)} models')
