"""Write the README's results table from model-index.yml.

python tools/results_table.py
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('--index', type=Path, default=Path('model-index.yml'), metavar='FILE')
    parser.add_argument('--readme', type=Path, default=Path('README.md'), metavar='FILE')
    args = parser.parse_args(argv)

    from mmseg_erfnet.evaluation.model_index import read_models, with_results

    models = read_models(args.index)
    args.readme.write_text(with_results(args.readme.read_text(), models))
    print(f'{args.readme}: {len(models)} models')
