"""The motion itself against plain numpy, and that image and labels make the same one."""

import math

import cv2
import numpy as np
import pytest

from mmseg_erfnet.datasets.transforms import RandomRotateCropResize, RandomTranslate, ReduceLabels

HEIGHT, WIDTH = 90, 120


def smooth_image(height=HEIGHT, width=WIDTH):
    coarse = np.random.default_rng(0).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def sample(image=None, labels=None):
    image = smooth_image() if image is None else image
    labels = np.zeros(image.shape[:2], np.uint8) if labels is None else labels
    return dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'], img_shape=image.shape[:2])


def source_positions(size, scale, angle, part, place, auto_bound):
    """For each pixel of the result, the point of the source it shows, in complex numbers: x + iy from the centre."""
    width, height = size
    turn = complex(math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    corners = np.array([width + 1j * height, width - 1j * height]) * turn.conjugate()
    canvas = (np.abs(corners.real).max(), np.abs(corners.imag).max()) if auto_bound else size
    left, top = ((c - p * c) * t for c, p, t in zip(canvas, part, place, strict=True))
    x = left + (np.arange(scale[0]) + 0.5) / scale[0] * part[0] * canvas[0] - canvas[0] / 2
    y = top + (np.arange(scale[1]) + 0.5) / scale[1] * part[1] * canvas[1] - canvas[1] / 2
    return (x[None, :] + 1j * y[:, None]) * turn


@pytest.mark.parametrize('auto_bound', [True, False])
@pytest.mark.parametrize('scale', [(WIDTH, HEIGHT), (80, 80), (200, 100)])
def test_against_plain_numpy(auto_bound, scale):
    np.random.seed(0)
    transform = RandomRotateCropResize(size=scale, auto_bound=auto_bound)
    image = smooth_image()
    labels = np.random.randint(0, 200, (HEIGHT, WIDTH), dtype=np.uint8)
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)))
    for _ in range(10):
        drawn = transform.draw()
        transform.draw = lambda drawn=drawn: drawn
        result = transform(sample(image, labels))
        del transform.draw
        assert result['img_shape'] == result['img'].shape[:2] == result['gt_seg_map'].shape == scale[::-1]

        points = source_positions((WIDTH, HEIGHT), scale, *drawn, auto_bound)
        x, y = points.real + WIDTH / 2 - 0.5, points.imag + HEIGHT / 2 - 0.5
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        expected = np.where(inside, labels[row.clip(0, HEIGHT - 1), column.clip(0, WIDTH - 1)], 255)
        # OpenCV computes positions to 1/1024 or so: what lies that near the middle of two pixels may go either way.
        clear = (np.abs(x % 1 - 0.5) > 0.01) & (np.abs(y % 1 - 0.5) > 0.01)
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(result['gt_seg_map'][clear], expected[clear])

        x, y = x.clip(-1, WIDTH - 1e-6) + 1, y.clip(-1, HEIGHT - 1e-6) + 1
        column, row = x.astype(int), y.astype(int)
        right, down = (x - column)[..., None], (y - row)[..., None]
        above = padded[row, column] * (1 - right) + padded[row, column + 1] * right
        below = padded[row + 1, column] * (1 - right) + padded[row + 1, column + 1] * right
        # Weights come in steps of 1/32: up to 255 / 32 a side at the edge of the picture, less within.
        difference = np.abs(result['img'] - (above * (1 - down) + below * down))
        assert difference.mean() < 0.6
        assert difference.max() < 10


def test_nothing_to_do_changes_nothing():
    labels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    result = RandomRotateCropResize(degree=0, crop=(1, 1))(sample(labels=labels))
    np.testing.assert_array_equal(result['img'], smooth_image())
    np.testing.assert_array_equal(result['gt_seg_map'], labels)


def test_without_rotation_and_crop_is_a_resize():
    labels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    result = RandomRotateCropResize(prob=0, size=(64, 50))(sample(labels=labels))
    resized = cv2.resize(smooth_image(), (64, 50))
    assert np.abs(result['img'].astype(int) - resized)[1:-1, 1:-1].max() <= 3
    np.testing.assert_array_equal(
        result['gt_seg_map'], cv2.resize(labels, (64, 50), interpolation=cv2.INTER_NEAREST_EXACT)
    )


@pytest.mark.parametrize('side', [240, 241, 333])
def test_fine_stripes_turn_grey_when_shrunk(side):
    """Bilinear sampling alone would show a beat of black and white."""
    image = np.zeros((side, side, 3), np.uint8)
    image[:, ::2] = 255
    np.random.seed(0)
    transform = RandomRotateCropResize(degree=5, crop=(1, 1), size=(60, 60), auto_bound=False)
    for _ in range(5):
        shrunk = transform(sample(image))['img'][10:-10, 10:-10]
        assert np.abs(shrunk - 127.5).max() < 40


def test_shrinking_by_a_power_of_two_is_averaging():
    result = RandomRotateCropResize(prob=0, size=(30, 20))(sample(smooth_image(80, 120)))
    blocks = smooth_image(80, 120).reshape(20, 4, 30, 4, 3)
    assert np.abs(result['img'] - blocks.mean((1, 3))).max() <= 0.5


def test_image_and_labels_stay_together():
    labels = np.random.default_rng(0).integers(1, 12, (6, 8), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
    image = cv2.merge([labels * 20] * 3)
    np.random.seed(0)
    for scale in (None, (64, 64), (500, 300)):
        transform = RandomRotateCropResize(size=scale)
        for _ in range(10):
            result = transform(sample(image, labels))
            shown = result['img'][..., 0].astype(int)
            there = result['gt_seg_map'] != 255
            assert set(np.unique(result['gt_seg_map'])) <= {*range(1, 12), 255}
            # Where a pixel's neighbours have its label, image and label must say the same.
            window = np.ones((5, 5))
            flat = cv2.dilate(result['gt_seg_map'], window) == cv2.erode(result['gt_seg_map'], window)
            flat[:2] = flat[-2:] = flat[:, :2] = flat[:, -2:] = False
            assert (flat & there).mean() > 0.05
            np.testing.assert_allclose(shown[flat & there], 20 * result['gt_seg_map'][flat & there].astype(int), atol=1)
            assert not shown[flat & ~there].any()


def test_grown_canvas_holds_every_corner():
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (row, column) in enumerate([(0, 0), (0, -8), (-8, 0), (-8, -8)], 1):
        labels[row : row + 8 or None, column : column + 8 or None] = number
    np.random.seed(0)
    transform = RandomRotateCropResize(degree=30, crop=(1, 1))
    assert all({1, 2, 3, 4} <= set(np.unique(transform(sample(labels=labels))['gt_seg_map'])) for _ in range(50))
    transform = RandomRotateCropResize(degree=30, crop=(1, 1), auto_bound=False)
    assert not all({1, 2, 3, 4} <= set(np.unique(transform(sample(labels=labels))['gt_seg_map'])) for _ in range(50))


def test_parameters_fill_their_ranges():
    np.random.seed(0)
    transform = RandomRotateCropResize()
    angle, part, place = (np.array(values) for values in zip(*(transform.draw() for _ in range(2000)), strict=True))
    for values, low, high in ((angle, -30, 30), (part[:, 0], 0.66, 1), (part[:, 1], 0.66, 1), (place, 0, 1)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert abs(np.corrcoef(part[:, 0], part[:, 1])[0, 1]) < 0.06


def test_shown_part_is_within_its_range():
    columns = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    np.random.seed(0)
    transform = RandomRotateCropResize(degree=0)
    parts = []
    for _ in range(200):
        row = transform(sample(labels=columns))['gt_seg_map'][0].astype(int)
        assert 0 <= row[0] < row[-1] < WIDTH
        parts.append((row[-1] - row[0] + 1) / WIDTH)
    assert 0.65 < min(parts) < 0.67
    assert 0.99 < max(parts) <= 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(crop=(1.2, 0.5)), 'crop must be a pair'),
        (dict(crop=(0.5, 1.2)), 'crop must be a pair'),
        (dict(crop=0.66), 'crop must be a pair'),
        (dict(crop=(0, 1)), 'crop must keep something'),
        (dict(degree=-3), 'degree must lie within 0 and 180'),
        (dict(size=(0, 5)), 'size must be'),
        (dict(seg_pad_val=-100), 'seg_pad_val must lie within 0 and 255'),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomRotateCropResize(**arguments)


@pytest.mark.parametrize('transform', [RandomRotateCropResize(), RandomTranslate()], ids=['rotate', 'translate'])
@pytest.mark.parametrize('labels', [np.zeros((5, 5), np.uint8), np.zeros((HEIGHT, WIDTH), np.int64)])
def test_refuses_labels_that_do_not_fit(transform, labels):
    with pytest.raises(ValueError, match='needs gt_seg_map to be uint8 and of the same size as the image'):
        transform(sample(labels=labels))


def test_without_labels():
    result = RandomRotateCropResize(size=(32, 16))(dict(img=smooth_image()))
    assert result['img'].shape == (16, 32, 3)
    assert 'gt_seg_map' not in result


def test_translation_is_a_shift():
    labels = np.random.default_rng(0).integers(0, 19, (HEIGHT, WIDTH), dtype=np.uint8)
    np.random.seed(0)
    transform = RandomTranslate(offset=2, pad_val=9)
    seen = set()
    for _ in range(300):
        right, down = drawn = transform.draw()
        transform.draw = lambda drawn=drawn: drawn
        result = transform(sample(labels=labels))
        del transform.draw
        seen.add(drawn)
        for row, column in ((0, 0), (40, 50), (HEIGHT - 1, WIDTH - 1), (0, WIDTH - 2), (1, 60)):
            inside = 0 <= row - down < HEIGHT and 0 <= column - right < WIDTH
            assert result['gt_seg_map'][row, column] == (labels[row - down, column - right] if inside else 255)
            expected = smooth_image()[row - down, column - right] if inside else 9
            np.testing.assert_array_equal(result['img'][row, column], expected)
        assert (result['gt_seg_map'] == 255).sum() == HEIGHT * WIDTH - (HEIGHT - abs(down)) * (WIDTH - abs(right))
    assert seen == {(x, y) for x in range(-2, 3) for y in range(-2, 3)}


@pytest.mark.parametrize('offset', [-1, 1.5])
def test_translation_refuses_offsets(offset):
    with pytest.raises(ValueError, match='whole number of pixels'):
        RandomTranslate(offset=offset)


def test_labels_are_reduced_to_those_of_the_centres():
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint32).reshape(HEIGHT, WIDTH).astype(np.uint8)
    results = ReduceLabels(factor=3)(sample(labels=labels))
    np.testing.assert_array_equal(results['gt_seg_map'], labels[1::3, 1::3])
    assert results['img'].shape == (HEIGHT, WIDTH, 3)


def test_labels_that_cannot_be_reduced_are_said():
    with pytest.raises(ValueError, match='factor must be a whole number'):
        ReduceLabels(factor=0)
    with pytest.raises(ValueError, match=r'gt_seg_map of 120x90 to 1/8: crop or resize to a multiple of 8'):
        ReduceLabels(factor=8)(sample())
