"""Shadows darken, within their range, softly, and differ."""

import numpy as np
import pytest

from mmseg_erfnet.datasets.transforms import RandomShadow, shadow

WHITE = np.full((256, 256, 3), 255, np.uint8)


def shadows(count, **arguments):
    np.random.seed(0)
    transform = RandomShadow(**arguments)
    return [transform(dict(img=WHITE))['img'] for _ in range(count)]


def test_darkens_within_its_range():
    images = shadows(300)
    darkest = np.array([image.min() / 255 for image in images])
    assert darkest.min() >= 0.2 - 1 / 255
    assert darkest.min() < 0.25
    assert darkest.max() > 0.9
    # Uniform from 0.01 to 0.8: a mean of 0.405, unless a pattern never reaches its full depth.
    assert abs((1 - darkest).mean() - 0.405) < 0.06
    assert all((image == image[..., :1]).all() for image in images)


def test_takes_the_share_of_the_light_that_was_asked_for():
    darkest = np.array([image.min() for image in shadows(100, darkening=(0.6, 0.6))])
    # Small blotches lose depth to the softening of their edges.
    assert darkest.min() == 102
    assert (darkest <= 104).mean() > 0.9


def test_scales_each_value():
    np.random.seed(0)
    transform = RandomShadow(darkening=(0.5, 0.5))
    light = transform.draw()
    transform.draw = lambda: light
    image = np.random.default_rng(0).integers(0, 256, (shadow.SIDE, shadow.SIDE, 3), dtype=np.uint8)
    expected = image * (light[..., None] / 255)
    assert np.abs(transform(dict(img=image))['img'] - expected).max() <= 0.51


def test_edges_are_soft():
    for image in shadows(100, darkening=(0.8, 0.8)):
        channel = image[..., 0].astype(int)
        steps = max(np.abs(np.diff(channel, axis=axis)).max() for axis in (0, 1))
        assert steps < 0.35 * 0.8 * 255


def test_covers_some_but_not_all():
    covered = np.array([(image[..., 0] < 153).mean() for image in shadows(300, darkening=(0.8, 0.8))])
    assert 0.3 < covered.mean() < 0.7
    assert ((covered > 0.02) & (covered < 0.98)).mean() > 0.85


@pytest.mark.parametrize('pattern', [shadow._blotches, shadow._shapes])
def test_patterns_lie_within_0_and_1(pattern):
    np.random.seed(0)
    patterns = np.array([pattern() for _ in range(100)])
    assert patterns.shape == (100, shadow.SIDE, shadow.SIDE)
    assert patterns.min() == 0
    assert 0.99 < patterns.max() <= 1 + 1e-6
    assert len({pattern.tobytes() for pattern in patterns}) > 95


@pytest.mark.parametrize('darkening', [(0.8, 0.01), (-0.1, 0.5), (0, 1.1), 0.5])
def test_refuses_arguments(darkening):
    with pytest.raises(ValueError, match='darkening must be a pair'):
        RandomShadow(darkening=darkening)
