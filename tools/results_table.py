#!/usr/bin/env python
"""Write the README's results table from model-index.yml.

    python tools/results_table.py
"""

from pathlib import Path

from mmseg_erfnet import cli


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument('--index', type=Path, default=Path('model-index.yml'), metavar='FILE')
    parser.add_argument('--readme', type=Path, default=Path('README.md'), metavar='FILE')
    args = parser.parse_args()

    from mmseg_erfnet.evaluation.model_index import read_models, with_results

    models = read_models(args.index)
    args.readme.write_text(with_results(args.readme.read_text(), models))
    print(f'{args.readme}: {len(models)} models')


if __name__ == '__main__':
    cli.run(main)
