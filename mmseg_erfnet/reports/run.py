"""The report of a run: the results in its work dir as one HTML file."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet import __version__
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.files import check_targets, is_regular, write_bytes, write_json
from mmseg_erfnet.reports.history import History, draw_curves, read_history, run_folders
from mmseg_erfnet.reports.page import Report, is_report, jpeg, picture_kind
from mmseg_erfnet.reports.work_dir import (
    COLOUR,
    is_inside,
    read_inside,
    read_json,
    read_metrics,
    read_palette,
    read_plain_file,
)
from mmseg_erfnet.text import listed
from mmseg_erfnet.visualization.charts import NARROW, class_bars, confusion_chart
from mmseg_erfnet.visualization.painting import error_map, overlay

EXAMPLES = 'examples'
MAX_EXAMPLES = 50
FEW = 6  # up to so many classes, a confusion matrix fits a phone; larger ones scroll
VALIDATED_ON = 'validated on'  # in environment.json: dataset and split
NAME_BYTES = 120  # of an image's name in the file name of its example
CONFIG_BYTES = 2 * 1000**2


def write_run_report(work_dir: Path, out: Path | None = None) -> Path:
    """Write the report of a run: scores, mistakes, curves, config and environment.

    A damaged file, or a link out of the work dir, is left out, and the page mentions it.

    Args:
        work_dir: Work dir of ``tools/train.py``, of ``tools/test.py``, or of both.
        out: The file to write; ``report.html`` in the work dir if None.

    Returns:
        The file.

    Raises:
        UsageError: The folder contains neither metrics of a test nor logs of a training run, or ``out`` exists and is
            not a report.
        StorageError: The report cannot be written.
    """
    work_dir = Path(work_dir)
    metrics_file, history = work_dir / 'metrics.json', read_history(work_dir)
    if not metrics_file.is_file() and not history.train and not history.val:
        raise UsageError(
            f'{work_dir} contains neither metrics.json nor the logs of a run; name the work dir of '
            'tools/train.py or tools/test.py.'
        )
    out = work_dir / 'report.html' if out is None else Path(out)
    check_targets([out], ours=is_report)
    report = Report(f'ERFNet: {work_dir.resolve().name}', f'mmseg_erfnet {__version__}')
    metrics = None
    with report.part('metrics.json'):
        metrics = read_metrics(work_dir) if metrics_file.is_file() else None
    if metrics is not None:
        _add_highlights(report, metrics, work_dir)
    else:
        with report.part('The best validation'):
            _add_best(report, history, _environment(work_dir, _training_folders(work_dir)))
    _add_examples(report, work_dir / EXAMPLES)
    _add_timelapse(report, work_dir / 'timelapse')
    if history.train or history.val:
        with report.part('The history of the training'):
            report.section('Training')
            curves, narrow = draw_curves(history), draw_curves(history, stacked=True)
            report.picture(curves, 'Loss, mIoU and learning rate of the training run.', narrow)
    if metrics is not None:
        for part in (_add_classes, _add_confusion, _add_protocol):
            with report.part('A part of metrics.json'):
                part(report, metrics)
    _add_setting(report, work_dir)
    report.write(out)
    return out


def _add_highlights(report: Report, metrics: dict, work_dir: Path) -> None:
    with report.part('The means in metrics.json'):
        report.highlights(
            {
                name: f'{_number(metrics.get(key)):.2f} %'
                for name, key in (('mIoU', 'mIoU'), ('pixel accuracy', 'aAcc'), ('mean class accuracy', 'mAcc'))
            }
        )
    logs = [folder / 'vis_data' / 'scalars.json' for folder in _training_folders(work_dir)]
    if any(path.stat().st_mtime > (work_dir / 'metrics.json').stat().st_mtime for path in logs):
        report.text('Training has continued since this test: run tools/test.py to score the new checkpoint.')


def _add_best(report: Report, history: History, facts: dict) -> None:
    best = history.best()
    if best:
        report.highlights({f'best mIoU on val, {history.unit} {best["x"]}': f'{best["mIoU"]:.2f} %'})
        if VALIDATED_ON in facts:
            report.table([(VALIDATED_ON, str(facts[VALIDATED_ON]))])
    report.text(
        'No checkpoint has been tested yet: tools/test.py adds the confusion matrix, the best and the worst '
        'images, and the conditions of the test.'
    )
    iou = {name.removeprefix('IoU/'): value for name, value in (best or {}).items() if name.startswith('IoU/')}
    if iou:
        report.section('Classes')
        _add_bars(report, list(iou.values()), list(iou), [COLOUR] * len(iou), 'IoU of each class in that validation.')


def _add_bars(report: Report, iou: Sequence[float], names: list[str], colours: list, caption: str) -> None:
    charts = [class_bars(iou, names, colours, 'IoU in %', **size) for size in ({}, dict(width=NARROW))]
    report.picture(charts[0], caption, charts[1])


def _add_examples(report: Report, folder: Path) -> None:
    if not (folder / 'index.json').is_file():
        return
    with report.part(f'{folder / "index.json"}'):
        entries = read_json(folder.parent, folder / 'index.json', list)
        report.section('Best and worst images')
        report.text("Ranked by the mean IoU over the classes in an image's ground truth or prediction.")
        for entry in entries[:MAX_EXAMPLES]:
            with report.part('An example'):
                _add_example(report, folder, entry)


def _add_example(report: Report, folder: Path, entry: dict) -> None:
    heading = f'{entry["kind"]}: {entry["name"]}, mIoU {entry["mIoU"]:.1f} %, pixel accuracy {entry["aAcc"]:.1f} %'
    pictures = []
    for title, name in entry.get('panels') or [[heading, entry['file']]]:
        data = read_plain_file(folder, name)
        picture_kind(data, folder / name)
        pictures.append((str(title), data))
    names, colours = [], []
    for name, colour in entry.get('legend') or []:
        names.append(str(name))
        colours.append(colour)
    report.panels(pictures, heading, zip(names, read_palette(colours, len(names)), strict=True))


def _add_timelapse(report: Report, folder: Path) -> None:
    files = [(split, folder / f'{split}.gif') for split in ('val', 'train')]
    files = [(split, path) for split, path in files if path.is_file()]
    if not files:
        return
    report.section('Timelapse of predictions')
    for split, path in files:
        with report.part(f'{path}'):
            data = read_inside(folder.parent, path)
            report.picture(data, f'Frames of {split}: input, ground truth, and the prediction after each epoch.')


def _add_classes(report: Report, metrics: dict) -> None:
    classes, confusion, iou = metrics['classes'], metrics['confusion_matrix'], metrics['IoU']
    defined = np.flatnonzero(~np.isnan(iou))
    if not len(defined):
        report.text('No pixel was scored.')
        return
    report.section('Classes')
    names, colours = ([metrics[kind][index] for index in defined] for kind in ('classes', 'palette'))
    _add_bars(report, iou[defined], names, colours, 'IoU of each class.')
    absent = [name for name, value in zip(classes, iou, strict=True) if np.isnan(value)]
    if absent:
        report.text(f'Neither labelled nor predicted, and so without an IoU: {listed(absent, 100)}.')
    labelled = confusion.sum(1)
    shares = 100 * labelled / max(labelled.sum(), 1)
    columns = (values[defined].tolist() for values in (iou, metrics['Acc'], shares))
    report.table(zip(names, *columns, strict=True), ('class', 'IoU %', 'accuracy %', 'share of pixels %'))


def _add_confusion(report: Report, metrics: dict) -> None:
    defined = np.flatnonzero(~np.isnan(metrics['IoU']))
    if not len(defined):
        return
    report.section('Confusion')
    names = [metrics['classes'][index] for index in defined]
    confusion = metrics['confusion_matrix'][np.ix_(defined, defined)]
    report.picture(
        confusion_chart(confusion, names),
        'Percentage of the pixels of each true class (row) that are predicted as each class (column). Shares '
        'below 0.5 % have no number; grey rows have no pixels.',
        confusion_chart(confusion, names, with_bar=False) if len(names) <= FEW else None,
    )


def _add_protocol(report: Report, metrics: dict) -> None:
    defined = int((~np.isnan(metrics['IoU'])).sum())
    labelled = int((metrics['confusion_matrix'].sum(1) > 0).sum())
    means = {
        'mIoU': f'mean over the {defined} classes that are labelled or predicted in any image, as in MMSegmentation',
        'mIoU_present': f'mean over the {labelled} classes that are labelled in any image',
        'mIoU_all': f'mean over all {len(metrics["classes"])} classes; those without an IoU count as 0',
    }
    report.section('How it was scored')
    report.table(
        [(name, f'{_number(metrics.get(name)):.2f} %, {meaning}') for name, meaning in means.items()]
        + _conditions(metrics)
    )


def _conditions(metrics: dict) -> list[tuple[str, str]]:
    size, tta = metrics.get('size'), metrics.get('tta')
    rows = {
        'dataset': metrics.get('dataset'),
        'split': metrics.get('split'),
        'images': metrics.get('images'),
        'scored at': f'{int(size[0])} x {int(size[1])} (height x width)' if size else "each label's own size",
        'test-time augmentation': f'flip, scales {", ".join(map(str, tta["scales"]))}' if tta else 'none',
        'checkpoint': metrics.get('checkpoint'),
    }
    return [(name, str(value)) for name, value in rows.items() if value]


def _number(value: float | None) -> float:
    return float('nan') if value is None else float(value)


def _add_setting(report: Report, work_dir: Path) -> None:
    runs, trained = run_folders(work_dir), _training_folders(work_dir)
    configs = [folder / 'vis_data' / 'config.py' for folder in trained or runs]
    configs = [path for path in configs if path.is_file()]
    report.section('Setting')
    with report.part('The environment'):
        facts = _environment(work_dir, runs)
        if facts:
            report.table([(name, str(value)) for name, value in facts.items()])
    if configs:
        with report.part(f'{configs[-1]}'):
            text = read_inside(work_dir, configs[-1], CONFIG_BYTES).decode(errors='replace')
            begun = configs[-1].parents[1].name
            report.listing(f'Config of the {"training run" if trained else "test"} begun {begun}', text)


def _environment(work_dir: Path, runs: Sequence[Path]) -> dict:
    """Return the environment of the last of some runs, and what it was validated on."""
    files = [path for path in (folder / 'environment.json' for folder in runs) if path.is_file()]
    return read_json(work_dir, files[-1], dict) if files else {}


def _training_folders(work_dir: Path) -> list[Path]:
    return [folder for folder in run_folders(work_dir) if is_inside(work_dir, folder / 'vis_data' / 'scalars.json')]


def write_examples(
    folder: Path, examples: Sequence[dict], classes: Sequence[str], palette: Sequence[Sequence[int]], width: int = 480
) -> None:
    """Draw images as input, ground truth, prediction and errors, replacing those of an earlier test.

    Args:
        folder: The folder to write to; ``index.json`` there lists the pictures.
        examples: Each with ``kind`` ('best' or 'worst'), ``name``, ``mIoU``, ``aAcc``, ``image`` (BGR, uint8), and
            ``prediction`` and ``ground_truth``, uint8 of shape (H, W).
        classes: The names.
        palette: The colours.
        width: Largest width of each of the four pictures, in pixels.
    """
    for old in _listed_in(folder):
        old.unlink(missing_ok=True)
    index = []
    for number, example in enumerate(examples, 1):
        prediction, ground_truth = (_shrink(example[kind], width) for kind in ('prediction', 'ground_truth'))
        image = cv2.resize(example['image'], prediction.shape[::-1], interpolation=cv2.INTER_AREA)
        pictures = {
            'input': image,
            'ground truth': overlay(image, ground_truth, palette),
            'prediction': overlay(image, prediction, palette),
            'errors in red, not scored white': error_map(image, prediction, ground_truth),
        }
        name = os.fsdecode(os.fsencode(example['name'])[:NAME_BYTES])
        panels = []
        for title, picture in pictures.items():
            file = f'{number:02}_{example["kind"]}_{name}_{title.split()[0]}.jpg'
            write_bytes(folder / file, jpeg(picture))
            panels.append([title, file])
        present = set(np.unique(prediction).tolist()) | set(np.unique(ground_truth).tolist())
        legend = [[classes[label], list(palette[label])] for label in sorted(present) if label < len(classes)]
        facts = {key: example[key] for key in ('kind', 'name', 'mIoU', 'aAcc')}
        index.append(dict(facts, panels=panels, legend=legend))
    write_json(folder / 'index.json', index)


def _listed_in(folder: Path) -> list[Path]:
    """Return the pictures directly in a folder that its index lists; none if the index is damaged."""
    try:
        entries = read_json(folder.parent, folder / 'index.json', list)
        names = [str(name) for entry in entries for _, name in entry['panels']]
    except (DataError, KeyError, TypeError, ValueError):
        return []
    return [folder / name for name in names if Path(name).name == name and is_regular(folder / name)]


def _shrink(labels: np.ndarray, width: int) -> np.ndarray:
    if labels.shape[1] <= width:
        return labels
    size = width, round(labels.shape[0] * width / labels.shape[1])
    return cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
