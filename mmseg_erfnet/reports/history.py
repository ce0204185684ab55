"""The course of a training run, read from its logs and drawn."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


@dataclass
class History:
    """What a run has logged, in the order of time.

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


def run_folders(work_dir: Path) -> list[Path]:
    """Folders of the runs in a work dir, oldest first: mmengine makes one, named after the time, at each start."""
    return sorted(path.parent for path in Path(work_dir).glob('*/vis_data'))


def read_history(work_dir: Path) -> History:
    """Read what mmengine's ``LocalVisBackend`` wrote.

    Where a run was resumed, or started anew in the same folder, later lines replace those of the same epochs, and all
    that followed.

    Args:
        work_dir: The work dir of a run.

    Returns:
        The history; without lines where nothing was logged.
    """
    history = History()
    for folder in run_folders(work_dir):
        path = folder / 'vis_data' / 'scalars.json'
        if path.is_file():
            _append(history, path.read_text())
    return history


def _append(history: History, text: str) -> None:
    started = False
    for line in text.splitlines():
        try:
            line = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue
        values = {key.removeprefix('train/').removeprefix('val/'): value for key, value in line.items()}
        if 'lr' in values:
            history.unit = 'epoch' if 'epoch' in line else 'iteration'
            values['x'] = line['epoch' if 'epoch' in line else 'iter']
            if not started:
                _forget(history, values['x'])
                started = True
            history.train.append(values)
        else:
            values['x'] = line['step']
            (history.train_scores if 'train/mIoU' in line else history.val).append(values)


def _forget(history: History, start: int) -> None:
    for lines in (history.train, history.val, history.train_scores):
        lines[:] = [line for line in lines if line['x'] < start]


def draw_curves(history: History) -> Figure:
    """Draw loss, mIoU and learning rate.

    The training loss of an epoch is the mean of what was logged in it.
    """
    figure = Figure(figsize=(15, 4.2), layout='constrained')
    loss, score, rate = figure.subplots(1, 3)
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
