"""Values against plain numpy expressions, and the distributions of what is drawn."""

import numpy as np
import pytest

from mmseg_erfnet.datasets.transforms import RandomBlur, RandomBrightness, RandomContrast, RandomNoise

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize('factor', [0.5, 0.83, 1, 1.7, 4])
def test_brightness_multiplies(factor):
    result = RandomBrightness(limits=(factor, factor))(dict(img=IMAGE))['img']
    np.testing.assert_array_equal(result, np.rint(IMAGE.astype(float) * factor).clip(0, 255))


@pytest.mark.parametrize('factor', [0, 0.3, 1, 1.7, 5])
def test_contrast_scales_about_mean_grey(factor):
    blue, green, red = IMAGE.astype(float).transpose(2, 0, 1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).mean()
    result = RandomContrast(limits=(factor, factor))(dict(img=IMAGE))['img']
    np.testing.assert_array_equal(result, np.rint(grey + factor * (IMAGE - grey)).clip(0, 255))


@pytest.mark.parametrize(('transform', 'low', 'high'), [(RandomBrightness(), 0.5, 4), (RandomContrast(), 0.3, 5)])
def test_factors_are_normal_and_clipped(transform, low, high):
    np.random.seed(0)
    factors = np.array([transform.draw() for _ in range(20000)])
    assert factors.min() == low
    assert factors.max() <= high
    # Of a normal distribution with mean 1 and deviation 0.5: the share at the limit, and three quantiles.
    share = {0.5: 0.1587, 0.3: 0.0808}[low]
    assert abs((factors == low).mean() - share) < 0.01
    np.testing.assert_allclose(np.quantile(factors, [0.3, 0.5, 0.9]), [0.7378, 1, 1.6408], atol=0.03)


def test_upper_limit_holds():
    np.random.seed(0)
    transform = RandomBrightness(sd=3)
    assert {transform.draw() for _ in range(200)} >= {0.5, 4}


def test_blur_is_a_gaussian_of_the_radius():
    transform = RandomBlur(radius=1)
    transform.draw = lambda: 1
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    kernel /= kernel.sum()
    expected = np.pad(IMAGE.astype(float), ((3, 3), (3, 3), (0, 0)), mode='reflect')
    expected = sum(weight * expected[i : i + 40] for i, weight in enumerate(kernel))
    expected = sum(weight * expected[:, i : i + 50] for i, weight in enumerate(kernel))
    assert np.abs(transform(dict(img=IMAGE))['img'] - expected).max() <= 2


def test_blur_draws_every_radius():
    np.random.seed(0)
    transform = RandomBlur(radius=2)
    counts = np.bincount([transform.draw() for _ in range(3000)], minlength=3)
    assert len(counts) == 3
    assert (np.abs(counts - 1000) < 120).all()
    assert RandomBlur(radius=0)(dict(img=IMAGE))['img'] is IMAGE


@pytest.mark.parametrize('sd', [2, 10])
def test_noise_is_gaussian(sd):
    grey = np.full((256, 256, 3), 128, np.uint8)
    transform = RandomNoise()
    transform.draw = lambda: (sd, 5)
    noise = transform(dict(img=grey))['img'].astype(float) - 128
    assert abs(noise.mean()) < 0.02 * sd
    # Rounding to whole grey levels adds 1/12 to the variance.
    assert abs(noise.std() - np.sqrt(sd**2 + 1 / 12)) < 0.02 * sd
    for bound, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        # Half a level more on each side is what rounds to the bound.
        beyond = (np.abs(noise) <= bound * sd).mean()
        assert share - 0.01 <= beyond <= share + 0.15 / sd + 0.06
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.02
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_noise_stops_at_black_and_white():
    np.random.seed(0)
    transform = RandomNoise(sd=10)
    for value in (0, 255):
        result = transform(dict(img=np.full((64, 64, 3), value, np.uint8)))['img']
        assert np.abs(result.astype(int) - value).max() < 70


def test_noise_draws_its_deviation_uniformly():
    np.random.seed(0)
    transform = RandomNoise()
    deviations, seeds = np.array([transform.draw() for _ in range(5000)]).T
    assert 0 <= deviations.min() < 0.1
    assert 9.9 < deviations.max() <= 10
    assert abs(deviations.mean() - 5) < 0.2
    assert len(set(seeds)) > 4990


@pytest.mark.parametrize(
    ('transform', 'arguments', 'message'),
    [
        (RandomBrightness, dict(sd=-0.5), 'sd is a standard deviation'),
        (RandomBrightness, dict(limits=(4, 0.5)), 'limits must be a pair'),
        (RandomContrast, dict(limits=(-1, 2)), 'limits must be a pair'),
        (RandomContrast, dict(sd=float('nan')), 'sd is a standard deviation'),
        (RandomBlur, dict(radius=-1), 'radius must be a whole number'),
        (RandomBlur, dict(radius=0.5), 'radius must be a whole number'),
        (RandomNoise, dict(sd=-1), 'sd is a standard deviation'),
    ],
)
def test_refuses_arguments(transform, arguments, message):
    with pytest.raises(ValueError, match=message):
        transform(**arguments)
