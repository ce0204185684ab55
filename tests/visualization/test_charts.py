import io
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.image import imread

from mmseg_erfnet.visualization.charts import (
    NARROW,
    WIDTH,
    class_bars,
    confusion_chart,
    png,
    share_violins,
    weight_bars,
)

CLASSES = ['road', 'sky', 'sign', 'car']
PALETTE = [[128, 64, 128], [0, 0, 255], [220, 220, 0], [0, 128, 0]]


def names(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_bars_are_sorted_coloured_and_say_their_values():
    axes = class_bars([50, 90.25, 0, 10], CLASSES, PALETTE, 'IoU in %').axes[0]
    assert names(axes) == ['sign', 'car', 'road', 'sky'], 'from the bottom up'
    assert [text.get_text() for text in axes.texts] == ['0.0', '10.0', '50.0', '90.2']
    assert [bar.get_width() for bar in axes.patches] == [0, 10, 50, 90.25]
    assert axes.patches[-1].get_facecolor() == (0, 0, 1, 1)


def test_logarithmic_bars_begin_below_the_smallest():
    axes = class_bars([40, 0.02, 3, 57], CLASSES, PALETTE, 'share in %', decimals=3, log=True).axes[0]
    assert axes.get_xscale() == 'log'
    assert axes.get_xlim()[0] == pytest.approx(0.01)
    assert axes.patches[0].get_x() + axes.patches[0].get_width() == pytest.approx(0.02)


def test_confusion_is_in_percent_of_its_rows():
    confusion = np.array([[90, 10, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [4, 0, 0, 996]])
    axes = confusion_chart(confusion, CLASSES).axes[0]
    assert {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts} == {
        (0, 0): '90',
        (1, 0): '10',
        (1, 1): '100',
        (3, 3): '100',
    }, '0.4 % carries no number'
    assert np.ma.getmaskarray(axes.images[0].get_array())[2].all(), 'a class without pixels has no row'
    assert {text.get_color() for text in axes.texts if text.get_text() in ('90', '100')} == {'white'}


def test_violins_are_sorted_by_median_and_count_images():
    counts = np.array([[90, 10, 0, 0], [80, 20, 0, 0], [95, 3, 2, 0], [50, 0, 0, 50], [78, 20, 0, 2], [86, 14, 0, 0]])
    axes = share_violins(counts, CLASSES, PALETTE).axes[0]
    assert names(axes) == ['sign', 'car', 'sky', 'road']
    medians = [10 ** line.get_xdata()[0] for line in axes.lines if line.get_color() == 'white']
    assert medians == pytest.approx([2, 10, 14, 83], rel=0.01), "of the logarithms: car's 2 and 50 make 10"
    images = [(10 ** line.get_xdata()).tolist() for line in axes.lines if line.get_color() != 'white']
    assert images == [pytest.approx([2]), pytest.approx([50, 2])], 'few images make no distribution'
    assert [text.get_text() for text in axes.texts] == ['1', '2', '5', '6', 'images']
    assert len(axes.collections) == 2


def test_weights_are_relative_to_the_mean_of_their_kind():
    axes = weight_bars({'a': [1, 2, 3, 2], 'b': [10, 10, 10, 50]}, CLASSES).axes[0]
    assert names(axes) == ['road', 'sky', 'car', 'sign']
    assert [bar.get_x() + bar.get_width() for bar in axes.containers[1]] == pytest.approx([0.5, 0.5, 2.5, 0.5])


@pytest.mark.parametrize(('count', 'width'), [(1, WIDTH), (3, WIDTH), (32, WIDTH), (1, NARROW), (3, NARROW)])
def test_nothing_is_ever_cut_off_nor_on_one_another(count, width):
    classes = [f'MotorcycleScooter{index}' for index in range(count)]
    palette = [[index, 100, 200] for index in range(count)]
    random = np.random.default_rng(0)
    label = 'share of all labelled pixels in % (log scale)'
    figures = [
        class_bars(random.random(count), classes, palette, label, log=True, width=width),
        confusion_chart(random.integers(0, 100, (count, count)), classes),
        share_violins(random.integers(1, 100, (9, count)), classes, palette, width=width),
        weight_bars({'1 / ln(1.1 + p)': 1 + random.random(count)}, classes, width=width),
    ]
    for figure in figures:
        picture = imread(io.BytesIO(png(figure)))[..., :3]
        edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
        assert all((edge == 1).all() for edge in edges), 'nothing touches the border'
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        bottom_up = sorted(boxes, key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 for low, high in pairwise(bottom_up))
