import numpy as np
import pytest

from mmseg_erfnet.visualization.painting import colour_map, comparison, legend, overlay

PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
CLASSES = ['red', 'green', 'blue']


def test_colours_are_bgr_and_ignored_pixels_black():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    assert colour_map(labels, PALETTE).tolist() == [[[0, 0, 255], [0, 255, 0]], [[255, 0, 0], [0, 0, 0]]]


def test_a_label_without_colour_is_an_error():
    with pytest.raises(ValueError, match=r'labels \[7\] have no colour'):
        colour_map(np.array([[7]], np.uint8), PALETTE)


def test_overlay_blends_and_leaves_ignored_pixels():
    image = np.full((1, 2, 3), 100, np.uint8)
    painted = overlay(image, np.array([[0, 255]], np.uint8), PALETTE, opacity=0.5)
    assert painted.tolist() == [[[50, 50, 178], [100, 100, 100]]]


def test_legend_names_the_classes_given_and_grows_with_them():
    one, many = legend([1], CLASSES, PALETTE, 120), legend([0, 1, 2] * 4, CLASSES, PALETTE, 120)
    assert one.shape[1] == many.shape[1] == 120
    assert many.shape[0] > one.shape[0]
    assert (one == [0, 255, 0]).all(-1).any()
    assert not (one == [0, 0, 255]).all(-1).any(), 'red is not among them'


def test_comparison_takes_an_image_of_another_size():
    labels = np.zeros((60, 80), np.uint8)
    image = np.zeros((120, 160, 3), np.uint8)
    assert comparison(image, labels, CLASSES, PALETTE).shape[1] == 160
    assert comparison(image, labels, CLASSES, PALETTE, truth=labels).shape[1] == 240
