import cv2
import numpy as np
import pytest

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.visualization.painting import check_names, colour_map, comparison, error_map, legend, overlay

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


def test_a_black_background_does_not_darken_the_picture():
    image = np.full((1, 4, 3), 100, np.uint8)
    palette = [[0, 0, 0], [255, 0, 0], [0, 0, 0]]
    painted = overlay(image, np.array([[0, 1, 2, 255]], np.uint8), palette, opacity=0.5)
    assert painted.tolist() == [[[100] * 3, [50, 50, 178], [100] * 3, [100] * 3]]


def test_labels_that_are_a_view_are_painted():
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 1
    assert colour_map(labels.T, PALETTE)[5, 0].tolist() == [0, 255, 0]
    image = np.full((4, 3, 3), 100, np.uint8)
    assert overlay(image, labels[:, ::2], PALETTE, 1).tolist()[0] == [[0, 0, 255], [0, 0, 255], [0, 255, 0]]


needs_fonts = pytest.mark.skipif(int(cv2.__version__.split('.')[0]) < 5, reason='OpenCV 4 has no such fonts')


@needs_fonts
@pytest.mark.parametrize('name', ['Straße', '道路', 'Дорога', 'Δρόμος', '한국어', 'ひらがな', 'nai\u0308ve', '100 %?'])
def test_names_beyond_ascii_are_drawn(name):
    check_names([name])
    strip = legend([0], [name], PALETTE, 300)
    question_marks = legend([0], ['?' * len(name)], PALETTE, 300)
    assert strip.shape[0] == question_marks.shape[0]
    assert not np.array_equal(strip, question_marks)


@needs_fonts
@pytest.mark.parametrize('name', ['सड़क', 'ถนน', 'طريق', 'דרך', '\U0001f697', 'a\tb', 'a\nb', '\udcff', 'x\u0323\u0301'])
def test_names_that_would_be_drawn_wrong_are_refused(name):
    with pytest.raises(UsageError, match='has letters that OpenCV cannot draw: give it a name in other letters'):
        legend([1], ['fine', name], PALETTE, 300)


def test_names_beyond_ascii_need_opencv_5(monkeypatch):
    monkeypatch.setattr(cv2, '__version__', '4.12.0')
    check_names(['Road', 'two words'])
    with pytest.raises(
        UsageError, match=r"'道路' cannot be drawn by OpenCV 4\.12\.0: pip install \"opencv-python>=5\""
    ):
        check_names(['道路'])
