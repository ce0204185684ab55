import numpy as np
import pytest

from mmseg_erfnet.visualization.painting import colour_map, comparison, error_map, legend, overlay

PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
CLASSES = ['red', 'green', 'blue']


def test_colours_are_bgr_and_ignored_pixels_white():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    assert colour_map(labels, PALETTE).tolist() == [[[0, 0, 255], [0, 255, 0]], [[255, 0, 0], [255, 255, 255]]]


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
    assert comparison(image, labels, CLASSES, PALETTE, ground_truth=labels).shape[1] == 240


def test_errors_are_red_and_unscored_pixels_white():
    image = np.full((1, 3, 3), 100, np.uint8)
    picture = error_map(image, np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 255]], np.uint8))
    right, wrong, unscored = picture[0].tolist()
    assert right == [146, 146, 146]
    assert wrong[2] > 200 > 100 > max(wrong[:2])
    assert unscored == [255, 255, 255]


def test_comparison_can_show_the_errors():
    labels = np.zeros((60, 80), np.uint8)
    image = np.zeros((60, 80, 3), np.uint8)
    assert comparison(image, labels, CLASSES, PALETTE, ground_truth=labels, with_errors=True).shape[1] == 320


@pytest.mark.parametrize('width', [256, 1000, 6144])
def test_legend_is_legible(width):
    strip = legend([0, 1, 2], CLASSES, PALETTE, width)
    letters = (strip == strip[..., :1]).all(-1) & (strip[..., 0] < 50)
    rows = np.flatnonzero(letters[:, strip.shape[1] // 300 :].any(1))
    assert rows.max() - rows.min() >= max(8, width / 160), 'black letters grow with the picture'
    assert (strip == 255).all(-1).mean() > 0.6, 'on white'
    assert strip.shape[1] == width
    assert (strip[:, -1] == 255).all(), 'nothing is cut off'


def test_legend_of_many_classes_fits_a_narrow_picture():
    names = [f'MotorcycleScooter{index}' for index in range(32)]
    strip = legend(range(32), names, [[index * 8, 0, 0] for index in range(32)], 256)
    assert (strip[:, -1] == 255).all()
    assert (strip[-1] == 255).all()
