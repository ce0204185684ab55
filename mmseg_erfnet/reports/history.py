"""The course of a training run, read from its logs and drawn."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

SCALARS = Path('vis_data', 'scalars.json')
LARGEST = 1e15  # no value of a run is larger, and charts cannot draw it
NUMBER_FILE = 'number.json'  # in the folder of a run: which of the runs of its work dir it is


@dataclass
class History:
    """What a run has logged, in the order in which it was done.

    Attributes:
        unit: What ``x`` counts: 'epoch' or 'iteration'.
        train: Lines of training: loss, learning rate and so on, and ``x``.
        val: Figures of each validation, and ``x``.
        train_scores: Figures of training frames without augmentation, and ``x``.
    """

    unit: str = 'iteration'
    train: list[dict] = field(default_factory=list)
    val: list[dict] = field(default_factory=list)
    train_scores: list[dict] = field(default_factory=list)

    def best(self, name: str = 'mIoU') -> dict | None:
        """The metrics of the validation where this one was highest."""
        return max((line for line in self.val if name in line), key=lambda line: line[name], default=None)


def next_number(work_dir: Path) -> int:
    """Return the number of the next run in a work dir: one more than the runs that are there have, or are."""
    folders = run_folders(work_dir)
    return max([len(folders), *filter(None, map(_number, folders))]) + 1


def is_logged(work_dir: Path) -> bool:
    """Return whether a run in a work dir has logged anything."""
    return any((folder / SCALARS).is_file() for folder in run_folders(work_dir))


def run_folders(work_dir: Path) -> list[Path]:
    """Return the folders of the runs in a work dir, in the order in which they ran.

    MMEngine makes one at each start and names it after the time. A clock may be set back between two starts, so the
    order is that of the numbers that :class:`~mmseg_erfnet.engine.hooks.ReportHook` leaves in them. Those without a
    number are the older ones. Among these a run that begins at a later epoch than any before it has come to is put off
    until there is one that it can have been resumed from.
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
        # Those without lines, of tests for instance, fit anywhere.
        fits = [folder for folder in waiting if spans[folder] is None or spans[folder][0] <= reached + spans[folder][2]]
        folder = fits[0] if fits else min(waiting, key=lambda folder: spans[folder])
        waiting.remove(folder)
        ordered.append(folder)
        reached = spans[folder][1] if spans[folder] else reached
    return ordered


def _span(folder: Path) -> tuple[int, int, int] | None:
    """Return the first and the last epoch or iteration that a run has logged, and how far its first lines lie apart."""
    steps = [line['x'] for kind, line in _lines(folder) if kind == 'train']
    if not steps:
        return None
    apart = next((later - steps[0] for later in steps if later > steps[0]), 1)
    return steps[0], steps[-1], apart


def read_history(work_dir: Path) -> History:
    """Read what mmengine's ``LocalVisBackend`` wrote.

    Where a run was resumed, or started anew in the same folder, later lines replace those of the same epochs, and all
    that followed. Lines that are damaged are left out.

    Args:
        work_dir: The work dir of a run.

    Returns:
        The history; without lines where nothing was logged.
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
    """Yield for each line of a run's log the attribute of :class:`History` that it belongs to, and its values."""
    if not (folder / SCALARS).is_file():  # nor anything that would wait for its reader
        return
    try:
        text = (folder / SCALARS).read_text(errors='replace')
    except OSError:
        return
    for line in text.splitlines():
        try:
            line = json.loads(line)
        except (ValueError, RecursionError):  # the last line of a run that was killed, or a damaged file
            continue
        if not isinstance(line, dict):
            continue
        values = {key.removeprefix('train/').removeprefix('val/'): value for key, value in line.items()}
        # NaN is less than nothing, and so left out.
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
    """Draw loss, mIoU and learning rate side by side, or below one another.

    The training loss of an epoch is the mean of what was logged in it.
    """
    figure = Figure(figsize=(5, 10.5) if stacked else (15, 4.2), layout='constrained')
    loss, score, rate = figure.subplots(3) if stacked else figure.subplots(1, 3)
    _plot(loss, history.train, 'loss', 'train, as it learns')
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
        # A line of few points would hardly be seen.
        axes.plot(
            list(values),
            [np.mean(items) for items in values.values()],
            label=label,
            color=colour,
            marker='o' if len(values) < 30 else None,
            markersize=3.5,
            drawstyle=drawstyle,
        )
