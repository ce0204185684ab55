"""The report of a run: what its work dir holds, bound into one HTML file."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet import __version__
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.reports.history import History, draw_curves, read_history, run_folders
from mmseg_erfnet.reports.page import Report, jpeg
from mmseg_erfnet.visualization.charts import class_bars, confusion_chart
from mmseg_erfnet.visualization.painting import comparison

EXAMPLES = 'examples'
VALIDATED_ON = 'validated on'  # in environment.json: dataset and split
COLOUR = [31, 111, 180]  # of classes without one


def write_run_report(work_dir: Path, out: Path | None = None) -> Path:
    """Bind scores, mistakes, curves, config and environment of a run.

    Args:
        work_dir: Work dir of ``tools/train.py`` or ``tools/test.py``, or of both in turn.
        out: The file to write; ``report.html`` in the work dir if None.

    Returns:
        The file.

    Raises:
        UsageError: The folder holds neither metrics of a test nor logs of a training run.
    """
    work_dir = Path(work_dir)
    metrics_file, history = work_dir / 'metrics.json', read_history(work_dir)
    if not metrics_file.is_file() and not history.train and not history.val:
        raise UsageError(
            f'{work_dir} holds neither metrics.json nor the logs of a run; name the work dir of '
            'tools/train.py or tools/test.py.'
        )
    out = work_dir / 'report.html' if out is None else Path(out)
    report = Report(f'ERFNet: {work_dir.resolve().name}', f'mmseg_erfnet {__version__}')
    if metrics_file.is_file():
        metrics = json.loads(metrics_file.read_text())
        _add_scores(report, metrics)
        logs = [folder / 'vis_data' / 'scalars.json' for folder in _training_folders(work_dir)]
        if any(path.stat().st_mtime > metrics_file.stat().st_mtime for path in logs):
            report.text('Training has gone on since this test: tools/test.py scores what has come out of it.')
        _add_examples(report, work_dir / EXAMPLES)
    else:
        _add_best(report, history, _environment(_training_folders(work_dir)))
    if history.train or history.val:
        report.section('Training')
        report.picture(draw_curves(history), 'Loss, mIoU and learning rate of the training run.')
    _add_setting(report, work_dir)
    report.write(out)
    return out


def _add_scores(report: Report, metrics: dict) -> None:
    classes, confusion = metrics['classes'], np.array(metrics['confusion_matrix'])
    palette = metrics.get('palette') or [COLOUR] * len(classes)
    iou, acc = (np.array([metrics['per_class'][name][kind] for name in classes], np.float64) for kind in ('IoU', 'Acc'))
    labelled = confusion.sum(1)
    report.section('Scores')
    report.highlights(
        {
            name: f'{_number(metrics[key]):.2f} %'
            for name, key in (('mIoU', 'mIoU'), ('pixel accuracy', 'aAcc'), ('mean class accuracy', 'mAcc'))
        }
    )
    defined = np.flatnonzero(~np.isnan(iou))
    report.table(
        [
            (
                'mIoU',
                f'{_number(metrics["mIoU"]):.2f} %, the mean over the {len(defined)} classes that are labelled or '
                'predicted somewhere, as MMSegmentation computes it',
            ),
            (
                'mIoU_present',
                f'{_number(metrics["mIoU_present"]):.2f} %, over the {int((labelled > 0).sum())} classes that '
                'are labelled somewhere',
            ),
            (
                'mIoU_all',
                f'{_number(metrics["mIoU_all"]):.2f} %, over all {len(classes)} classes, those without an IoU '
                'counted as 0',
            ),
            *_protocol(metrics),
        ]
    )
    if not len(defined):
        report.text('No pixel was scored.')
        return
    report.section('Classes')
    names = [classes[index] for index in defined]
    report.picture(
        class_bars(iou[defined], names, [palette[index] for index in defined], 'IoU in %'), 'IoU of each class.'
    )
    absent = [name for name, value in zip(classes, iou, strict=True) if np.isnan(value)]
    if absent:
        report.text(f'Neither labelled nor predicted, hence without an IoU: {", ".join(absent)}.')
    shares = 100 * labelled / max(labelled.sum(), 1)
    report.table(
        (
            (name, *map(float, row))
            for name, *row in zip(names, iou[defined], acc[defined], shares[defined], strict=True)
        ),
        ('class', 'IoU %', 'accuracy %', 'share of pixels %'),
    )
    report.section('Confusion')
    report.picture(
        confusion_chart(confusion[np.ix_(defined, defined)], names),
        'Of the pixels of each true class (row), the percentage predicted as each class (column). Shares '
        'below 0.5 % carry no number; grey rows have no pixels.',
    )


def _add_best(report: Report, history: History, facts: dict) -> None:
    report.section('Scores')
    best = history.best()
    if best:
        report.highlights({f'best mIoU on val, {history.unit} {best["x"]}': f'{best["mIoU"]:.2f} %'})
        report.table([(name, facts[name]) for name in (VALIDATED_ON,) if name in facts])
        iou = {name.removeprefix('IoU/'): value for name, value in best.items() if name.startswith('IoU/')}
        if iou:
            report.picture(
                class_bars(list(iou.values()), list(iou), [COLOUR] * len(iou), 'IoU in %'),
                'IoU of each class in that validation.',
            )
    report.text(
        'No checkpoint has been tested yet: tools/test.py adds the confusion matrix, the best and the worst '
        'images, and how the metrics were obtained.'
    )


def _protocol(metrics: dict) -> list[tuple[str, str]]:
    size, tta = metrics.get('size'), metrics.get('tta')
    rows = {
        'dataset': metrics.get('dataset'),
        'split': metrics.get('split'),
        'images': str(metrics['images']),
        'scored at': f'{size[0]} x {size[1]} (height x width)' if size else "each label's own size",
        'test-time augmentation': f'flip, scales {", ".join(map(str, tta["scales"]))}' if tta else 'none',
        'checkpoint': metrics.get('checkpoint'),
    }
    return [(name, value) for name, value in rows.items() if value]


def _number(value: float | None) -> float:
    return float('nan') if value is None else value


def _add_examples(report: Report, folder: Path) -> None:
    index = folder / 'index.json'
    if not index.is_file():
        return
    report.section('Best and worst images')
    report.text("By the mean IoU over the classes that are in an image's ground truth or prediction.")
    for entry in json.loads(index.read_text()):
        report.picture(
            folder / entry['file'],
            f'{entry["kind"]}: {entry["name"]}, mIoU {entry["mIoU"]:.1f} %, {entry["aAcc"]:.1f} % of the pixels right',
        )


def _add_setting(report: Report, work_dir: Path) -> None:
    runs, trained = run_folders(work_dir), _training_folders(work_dir)
    configs = [folder / 'vis_data' / 'config.py' for folder in trained or runs]
    configs = [path for path in configs if path.is_file()]
    facts = _environment(runs)
    if configs or facts:
        report.section('Setting')
    if facts:
        report.table(facts.items())
    if configs:
        report.listing(
            f'Config of the {"training run" if trained else "test"} begun {configs[-1].parents[1].name}',
            configs[-1].read_text(),
        )


def _training_folders(work_dir: Path) -> list[Path]:
    return [folder for folder in run_folders(work_dir) if (folder / 'vis_data' / 'scalars.json').is_file()]


def _environment(runs: Sequence[Path]) -> dict[str, str]:
    """What the last of some runs ran on, and was validated on."""
    files = [path for path in (folder / 'environment.json' for folder in runs) if path.is_file()]
    return json.loads(files[-1].read_text()) if files else {}


def write_examples(
    folder: Path, examples: Sequence[dict], classes: Sequence[str], palette: Sequence[Sequence[int]], width: int = 480
) -> None:
    """Paint images as input, ground truth, prediction and errors, in place of those of an earlier test.

    Args:
        folder: Where to; ``index.json`` there lists them.
        examples: Each with ``kind`` ('best' or 'worst'), ``name``, ``mIoU``, ``aAcc``, ``image`` (BGR, uint8), and
            ``prediction`` and ``ground_truth``, uint8 of shape (H, W).
        classes: The names.
        palette: The colours.
        width: Of each of the four pictures, in pixels, at most.
    """
    for old in folder.glob('*.jpg'):
        old.unlink()
    index = []
    for number, example in enumerate(examples, 1):
        prediction, ground_truth = (_shrink(example[kind], width) for kind in ('prediction', 'ground_truth'))
        file = f'{number:02}_{example["kind"]}_{example["name"]}.jpg'
        picture = comparison(example['image'], prediction, classes, palette, ground_truth, with_errors=True)
        write_bytes(folder / file, jpeg(picture))
        index.append(dict({key: example[key] for key in ('kind', 'name', 'mIoU', 'aAcc')}, file=file))
    write_bytes(folder / 'index.json', json.dumps(index, indent=1).encode())


def _shrink(labels: np.ndarray, width: int) -> np.ndarray:
    if labels.shape[1] <= width:
        return labels
    size = width, round(labels.shape[0] * width / labels.shape[1])
    return cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
