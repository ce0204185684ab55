"""Publish weights, and write the results table of the README."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

import yaml

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.files import check_new, json_text, replacing
from mmseg_erfnet.models.checkpoints import checkpoint_bytes, load_checkpoint_file, publishable
from mmseg_erfnet.reports.history import read_history


def publish(source: str | Path, target: str | Path, trust_checkpoint: bool = False) -> str:
    """Write the weights of a checkpoint and the log of its run, for publication.

    Args:
        source: A checkpoint, in the work dir of its run.
        target: The file to write; the log is written next to it, as ``NAME.log.json``.
        trust_checkpoint: Load the checkpoint even if it contains more than data.

    Returns:
        A line with the size and the SHA-256.

    Raises:
        CheckpointError: The source cannot be loaded.
        UsageError: A different file with the name of one of the two exists.
        StorageError: One of the two cannot be written; then neither is.
    """
    target = Path(target)
    data = checkpoint_bytes(publishable(load_checkpoint_file(source, trust=trust_checkpoint)))
    history = read_history(Path(source).parent)
    # The last line of each epoch.
    last = {line['x']: {key: line[key] for key in ('iter', 'loss', 'lr') if key in line} for line in history.train}
    log = {'unit': history.unit, 'train': last, 'val': history.val, 'train_frames': history.train_scores}
    written = {target: data, target.with_suffix('.log.json'): json_text(log).encode()}
    for path, content in written.items():
        check_new(path, content)
    with ExitStack() as stack:  # write both before renaming either
        for path, content in written.items():
            stack.enter_context(replacing(path)).write_bytes(content)
    return f'{target}: {len(data) / 1e6:.2f} MB, SHA-256 {hashlib.sha256(data).hexdigest()}'


BEGIN, END = '<!-- results: tools/results_table.py writes what follows -->', '<!-- end of results -->'


def read_models(path: str | Path) -> list[dict]:
    """Read the models of a ``model-index.yml`` (https://github.com/open-mmlab/mim).

    Raises:
        DataError: It is not one, or a model lacks what the table shows.
    """
    try:
        models = yaml.safe_load(Path(path).read_bytes())['Models']
        results_table(models)
    except (yaml.YAMLError, UnicodeError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = (str(error).splitlines() or [''])[0]
        raise DataError(f'{path} is not a model index ({type(error).__name__}: {reason}); correct it.') from error
    return models


def results_table(models: list[dict]) -> str:
    """Return a Markdown table with one row per result of each model: metrics in percent, with their protocol.

    A model without results has one row without metrics.
    """
    rows = ['| weights | trained on | run | scored on | mIoU | with flip |', '| --- | --- | --- | --- | ---: | ---: |']
    for model in models:
        data = model['Metadata']
        weights = f'[{model["Name"]}]({model["Weights"]})' if 'Weights' in model else model['Name']
        for result in model['Results'] or [{'Dataset': 'not scored', 'Metrics': {}}]:
            metrics = [
                f'{result["Metrics"][name]:.2f}' if name in result['Metrics'] else '-'
                for name in ('mIoU', 'mIoU(flip)')
            ]
            trained_on = f'{data["Training Data"]} {data["Training Split"]}'
            cells = [weights, trained_on, data['Training'], result['Dataset'], *metrics]
            rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows)


def with_results(readme: str, models: list[dict]) -> str:
    """Return a README with the table inserted between its two markers.

    Raises:
        DataError: It has no such markers.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f'The README needs the two lines\n{BEGIN}\n{END}\nbetween which the table is written.')
    return f'{before}{BEGIN}\n\n{results_table(models)}\n\n{END}{after}'
