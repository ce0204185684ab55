"""The results table of the README, made from ``model-index.yml``."""

from pathlib import Path

import yaml

from mmseg_erfnet.errors import DataError

BEGIN, END = '<!-- results: tools/results_table.py writes what follows -->', '<!-- end of results -->'


def read_models(path: str | Path) -> list[dict]:
    """Read the models of a ``model-index.yml`` (https://github.com/open-mmlab/mim)."""
    return yaml.safe_load(Path(path).read_text())['Models']


def results_table(models: list[dict]) -> str:
    """Return a Markdown table, a row for each result of each model: figures in percent, with their protocol.

    A model without a result has a row without figures.
    """
    rows = ['| weights | trained on | run | scored on | mIoU | with flip |', '| --- | --- | --- | --- | ---: | ---: |']
    for model in models:
        data = model['Metadata']
        weights = f'[{model["Name"]}]({model["Weights"]})' if 'Weights' in model else model['Name']
        for result in model['Results'] or [{'Dataset': 'not scored', 'Metrics': {}}]:
            figures = [f'{result["Metrics"][name]:.2f}' if name in result['Metrics'] else '-'
                       for name in ('mIoU', 'mIoU(flip)')]
            rows.append(f'| {weights} | {data["Training Data"]} | {data["Training"]} | {result["Dataset"]} | '
                        f'{" | ".join(figures)} |')
    return '\n'.join(rows)


def with_results(readme: str, models: list[dict]) -> str:
    """Return a README with the table between its two marks.

    Raises:
        DataError: It has no such marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f'The README needs the two lines\n{BEGIN}\n{END}\nbetween which the table is written.')
    return f'{before}{BEGIN}\n\n{results_table(models)}\n\n{END}{after}'
