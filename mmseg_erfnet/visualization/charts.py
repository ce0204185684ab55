"""Charts of classes: scores, confusion, shares, weights. Needs NumPy and Matplotlib; opens no window.

Palettes are lists of RGB triples from 0 to 255, as in MMSegmentation.
"""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

Palette = Sequence[Sequence[int]]
EDGE = dict(edgecolor='#333333', linewidth=0.6)
PLAIN = FuncFormatter(lambda value, _: f'{value:g}')
FEW = 5  # with fewer images than this, a class has no distribution to draw
WIDTH, NARROW = 10, 4.8  # width of a chart in inches; the second for phones


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Render a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format='png')
    return buffer.getvalue()


def class_bars(
    values: Sequence[float],
    classes: Sequence[str],
    palette: Palette,
    xlabel: str,
    decimals: int = 1,
    log: bool = False,
    width: float = WIDTH,
) -> Figure:
    """Draw a bar for each class, the largest on top, with its value at its end.

    Args:
        values: One per class.
        classes: Their names.
        palette: Their colours.
        xlabel: Name and unit of the values.
        decimals: Number of decimals of the values.
        log: Whether the axis is logarithmic; a value of 0 then has no bar.
        width: Width of the chart in inches.
    """
    values = np.asarray(values, np.float64)
    order = np.argsort(values, kind='stable')
    figure, axes = _rows(len(classes), width)
    # Bars begin at 0, or on a log axis at a power of ten below the smallest value.
    positive = values[values > 0]
    start = 10 ** np.floor(np.log10(positive.min())) if log and positive.size else 0
    bars = np.maximum(values[order], start)
    colours = [_rgb(palette[index]) for index in order]
    axes.barh(range(len(classes)), bars - start, left=start, height=0.75, color=colours, **EDGE)
    for row, value in enumerate(values[order]):
        axes.annotate(
            f'{value:,.{decimals}f}', (bars[row], row), (4, 0), textcoords='offset points', va='center', fontsize=8
        )
    if start:
        axes.set_xscale('log')
        axes.xaxis.set_major_formatter(PLAIN)
    # Room for the value at the end of the longest bar.
    room = 1 + WIDTH / width / 10
    axes.set_xlim(start, (bars.max() / start) ** room * start if start else max(room * bars.max(), 1))
    axes.set_yticks(range(len(classes)), [classes[index] for index in order])
    axes.set_xlabel(_wrapped(xlabel, width))
    return figure


def confusion_chart(confusion: np.ndarray, classes: Sequence[str], with_bar: bool = True) -> Figure:
    """Draw a confusion matrix; each row, a true class, sums to 100 percent.

    Args:
        confusion: Number of pixels, (classes, classes): rows are true classes, columns predicted ones. A row without
            pixels stays grey.
        classes: The names.
        with_bar: Add a colour bar.
    """
    count = len(classes)
    labelled = confusion.sum(1, keepdims=True)
    shares = np.where(labelled > 0, 100 * confusion / np.maximum(labelled, 1), np.nan)
    # Large enough for the labels of axes and colour bar, even with few classes.
    side = max(0.38 * count, 2.4)
    figure = Figure(figsize=(side + (3.2 if with_bar else 1.9), side + 1.9), layout='constrained')
    axes = figure.add_subplot()
    axes.set_facecolor('#dddddd')
    image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=100)
    for row, column in np.argwhere(shares >= 0.5):
        axes.text(
            column,
            row,
            f'{shares[row, column]:.0f}',
            ha='center',
            va='center',
            fontsize=8,
            color='white' if shares[row, column] > 55 else 'black',
        )
    axes.set_yticks(range(count), classes, fontsize=9)
    axes.set_xticks(range(count), classes, rotation=90, fontsize=9)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which='minor', color='white', linewidth=0.5)
    axes.tick_params(which='minor', length=0)
    axes.set_ylabel('true class')
    axes.set_xlabel('predicted class')
    if with_bar:
        figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, label='% of the pixels\nof the true class')
    return figure


def share_violins(counts: np.ndarray, classes: Sequence[str], palette: Palette, width: float = WIDTH) -> Figure:
    """Draw the distribution of each class's share of the images in which it occurs; the largest median is on top.

    A class with fewer than five images is drawn as one dot per image.

    Args:
        counts: Pixels of each class in each image, (images, classes); each class occurs somewhere.
        classes: The names.
        palette: The colours.
        width: Width of the chart in inches.
    """
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    # Violins and medians are computed from logarithms, to match the axis.
    shares = [np.log10(100 * column[column > 0]) for column in (counts / totals).T]
    order = sorted(range(len(classes)), key=lambda index: np.median(shares[index]))
    figure, axes = _rows(len(classes), width)
    for row, index in enumerate(order):
        values = shares[index]
        if len(values) < FEW:
            axes.plot(
                values,
                np.full(len(values), row),
                'o',
                color=_rgb(palette[index]),
                markersize=9,
                markeredgecolor='#333333',
                markeredgewidth=0.6,
            )
        elif np.ptp(values) > 0:
            body = axes.violinplot(values, [row], orientation='horizontal', widths=0.9, showextrema=False)['bodies'][0]
            body.set(facecolor=_rgb(palette[index]), alpha=1, **EDGE)
        axes.plot(np.median(values), row, 'o', color='white', markersize=4, markeredgecolor='black')
        axes.annotate(f'{len(values)}', (1.01, row), xycoords=axes.get_yaxis_transform(), va='center', fontsize=8)
    axes.annotate('images', (1.01, 1), xycoords='axes fraction', va='bottom', fontsize=8)
    low, high = axes.get_xlim()
    if high - low < 1:  # at least a decade, so that a power of ten is among the ticks
        axes.set_xlim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)
    axes.set_yticks(range(len(classes)), [classes[index] for index in order])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda power, _: f'{10**power:g}'))
    axes.xaxis.get_major_locator().set_params(integer=True)
    label = 'share of the labelled pixels of an image in % (log scale)'
    legend = f'white dot: median; coloured dots: single images, if there are fewer than {FEW}'
    axes.set_xlabel(f'{_wrapped(label, width)}\n{_wrapped(legend, width)}')
    return figure


def weight_bars(weights: dict[str, Sequence[float]], classes: Sequence[str], width: float = WIDTH) -> Figure:
    """Draw class weights of several kinds side by side. Each kind is scaled to a mean of 1, where its bars begin.

    Args:
        weights: By name of the kind, one weight per class.
        classes: The names.
        width: Width of the chart in inches.
    """
    figure, axes = _rows(len(classes), width, height=0.34)
    height = 0.8 / len(weights)
    first = np.asarray(next(iter(weights.values())))
    order = np.argsort(first, kind='stable')
    for number, (kind, values) in enumerate(weights.items()):
        values = np.asarray(values, np.float64)
        values = (values / values.mean())[order]
        places = np.arange(len(classes)) + (len(weights) - 1 - 2 * number) / 2 * height
        axes.barh(places, values - 1, height, left=1, label=kind)
    axes.axvline(1, color='#333333', linewidth=0.8)
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_yticks(range(len(classes)), [classes[index] for index in order])
    axes.set_xlabel(_wrapped('weight, relative to the mean of its kind (log scale)', width))
    axes.legend(loc='lower right')
    return figure


def _rows(count: int, width: float, height: float = 0.27) -> tuple:
    # The label of a narrow chart takes more lines.
    figure = Figure(figsize=(width, (1.2 if width == WIDTH else 2.0) + height * count), layout='constrained')
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis='x', color='#dddddd')
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_ylim(-0.6, count - 0.4)
    return figure, axes


def _rgb(colour: Sequence[int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in colour)


def _wrapped(label: str, width: float) -> str:
    """Break the label of an axis into lines that fit a chart of this width in inches, next to the class names."""
    return textwrap.fill(label, max(20, round(9 * (width - 1.5))))
