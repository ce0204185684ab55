"""The history of a training run: read from its logs, and drawn as curves."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

SCALARS = Path('vis_data', 'scalars.json')
LARGEST = 1e15  # larger values are dropped: no run has them, and charts cannot draw them
NUMBER_FILE = 'number.json'  # in the folder of a run: its number among the runs of the work dir


@dataclass
class History:
    """The logs of a run, in chronological order.

    Attributes:
        unit: The unit of ``x``: 'epoch' or 'iteration'.
        train: Lines of training: loss, learning rate and so on, and ``x``.
        val: Metrics of each validation, and ``x``.
        train_scores: Metrics on training frames without augmentation, and ``x``.
    """

    unit: str = 'iteration'
    train: list[dict] = field(default_factory=list)
    val: list[dict] = field(default_factory=list)
    train_scores: list[dict] = field(default_factory=list)

    def best(self, name: str = 'mIoU') -> dict | None:
        """Return the validation with the highest value of a metric, or None."""
        return max((line for line in self.val if name in line), key=lambda line: line[name], default=None)


def next_number(work_dir: Path) -> int:
    """Return the number of the next run in a work dir: above the numbers and the count of the existing runs."""
    folders = run_folders(work_dir)
    return max([len(folders), *filter(None, map(_number, folders))]) + 1


def is_logged(work_dir: Path) -> bool:
    """Return whether a run in a work dir has logged anything."""
    return any((folder / SCALARS).is_file() for folder in run_folders(work_dir))


def run_folders(work_dir: Path) -> list[Path]:
    """Return the folders of the runs in a work dir, in the order in which they ran.

    MMEngine creates one at each start and names it after the time. The clock may be set back between two starts, so
    they are sorted by the numbers that :class:`~mmseg_erfnet.engine.hooks.ReportHook` writes into them. Folders without
    a number are older. Among these, a run that begins at a later epoch than the previous runs reached is placed after
    a run that it can have been resumed from.
    """
    folders = sorted(path.parent for path in Path(work_dir).glob('*/vis_data'))
    numbered = {folder: number for folder in folders if (number := _number(folder)) is not None}
    older = _by_epoch([folder for folder in folders if folder not in numbered])
    return older + sorted(numbered, key=lambda folder: (numbered[folder], folder))


def _number(folder: Path) -> int | None:
    try:
        number = json.loads((folder / NUMBER_FILE).read_text()) if (folder / NUMBER_FILE).is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return number if isinstance(number, int) else None


def _by_epoch(folders: list[Path]) -> list[Path]:
    spans = {folder: _span(folder) for folder in folders}
    ordered, reached, waiting = [], 0, list(folders)
    while waiting:
        # Runs without lines, tests for instance, fit anywhere.
        fits = [folder for folder in waiting if spans[folder] is None or spans[folder][0] <= reached + spans[folder][2]]
        folder = fits[0] if fits else min(waiting, key=lambda folder: spans[folder])
        waiting.remove(folder)
        ordered.append(folder)
        reached = spans[folder][1] if spans[folder] else reached
    return ordered


def _span(folder: Path) -> tuple[int, int, int] | None:
    """Return the first and the last epoch or iteration that a run logged, and the distance of its first two lines."""
    steps = [line['x'] for kind, line in _lines(folder) if kind == 'train']
    if not steps:
        return None
    apart = next((later - steps[0] for later in steps if later > steps[0]), 1)
    return steps[0], steps[-1], apart


def read_history(work_dir: Path) -> History:
    """Read the logs of mmengine's ``LocalVisBackend``.

    If a run was resumed, or started again in the same folder, its lines replace earlier ones from its first epoch on.
    Damaged lines are left out.

    Args:
        work_dir: The work dir of a run.

    Returns:
        The history; without lines if nothing was logged.
    """
    history = History()
    for folder in run_folders(work_dir):
        started = False
        for kind, values in _lines(folder):
            if kind == 'train':
                history.unit = 'epoch' if 'epoch' in values else 'iteration'
                if not started:
                    _forget(history, values['x'])
                    started = True
            getattr(history, kind).append(values)
    return history


def _lines(folder: Path) -> Iterator[tuple[str, dict]]:
    """Yield, for each line of a run's log, the attribute of :class:`History` that it belongs to, and its values."""
    if not (folder / SCALARS).is_file():  # missing, or a pipe, which would block
        return
    try:
        text = (folder / SCALARS).read_text(errors='replace')
    except OSError:
        return
    for line in text.splitlines():
        try:
            line = json.loads(line)
        except (ValueError, RecursionError):  # the incomplete last line of a killed run, or a damaged file
            continue
        if not isinstance(line, dict):
            continue
        values = {key.removeprefix('train/').removeprefix('val/'): value for key, value in line.items()}
        # NaN compares as False and is left out, too.
        values = {
            key: value for key, value in values.items() if isinstance(value, (int, float)) and abs(value) < LARGEST
        }
        if 'lr' in values:
            kind, step = 'train', values.get('epoch', values.get('iter'))
        else:
            kind, step = ('train_scores' if 'train/mIoU' in line else 'val'), values.get('step')
        if isinstance(step, int):
            yield kind, dict(values, x=step)


def _forget(history: History, start: int) -> None:
    for lines in (history.train, history.val, history.train_scores):
        lines[:] = [line for line in lines if line['x'] < start]


def draw_curves(history: History, stacked: bool = False) -> Figure:
    """Draw loss, mIoU and learning rate, side by side or stacked.

    The training loss of an epoch is the mean of its logged values.
    """
    figure = Figure(figsize=(5, 10.5) if stacked else (15, 4.2), layout='constrained')
    loss, score, rate = figure.subplots(3) if stacked else figure.subplots(1, 3)
    _plot(loss, history.train, 'loss', 'train, while training')
    _plot(loss, history.val, 'loss', 'val')
    _plot(score, history.train_scores, 'mIoU', 'train, without augmentation')
    _plot(score, history.val, 'mIoU', 'val')
    _plot(rate, history.train, 'lr', None, drawstyle='steps-mid')
    best = history.best()
    if best:
        score.plot(
            best['x'],
            best['mIoU'],
            'o',
            color='black',
            zorder=3,
            label=f'best on val: {best["mIoU"]:.2f}, {history.unit} {best["x"]}',
        )
        highest = np.nanmax([line.get('mIoU', 0) for line in (*history.val, *history.train_scores)] + [0])
        score.set_ylim(0, 1.08 * highest or 1)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    for axes, title in ((loss, 'loss'), (score, 'mIoU in %'), (rate, 'learning rate')):
        axes.set_title(title)
        axes.set_xlabel(history.unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color='#dddddd')
        axes.spines[['top', 'right']].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        elif not axes.lines:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.text(0.5, 0.5, 'nothing logged yet', transform=axes.transAxes, ha='center', color='#666666')
    return figure


def _plot(axes, lines: list[dict], name: str, label: str | None, drawstyle: str = 'default') -> None:
    colour = {'val': '#d95f02'}.get(label, '#1f6fb4')
    values: dict[int, list[float]] = {}
    for line in lines:
        if name in line:
            values.setdefault(line['x'], []).append(line[name])
    if values:
        # A line with few points would be hard to see without markers.
        axes.plot(
            list(values),
            [np.mean(items) for items in values.values()],
            label=label,
            color=colour,
            marker='o' if len(values) < 30 else None,
            markersize=3.5,
            drawstyle=drawstyle,
        )
