import io

import numpy as np
import pytest
from PIL import Image

from mmseg_erfnet.visualization.animation import animate, titled

PALETTE = [[128, 64, 128], [1, 2, 250]]


def frames(data: bytes) -> list[np.ndarray]:
    image = Image.open(io.BytesIO(data))
    pictures = []
    for index in range(image.n_frames):
        image.seek(index)
        pictures.append(np.asarray(image.convert('RGB')))
    return pictures


@pytest.fixture
def pictures():
    """Noise above, which costs colours and bytes; a class below that changes."""
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return [np.vstack([photo, np.full((20, 60, 3), PALETTE[index % 2][::-1], np.uint8)]) for index in range(9)]


def test_class_colours_stay_exact(pictures):
    shown = frames(animate(pictures, PALETTE))
    assert len(shown) == 9
    for index, picture in enumerate(shown):
        assert (picture[40:] == PALETTE[index % 2]).all()
    assert (shown[0][:40] == shown[8][:40]).all()
    assert np.abs(shown[0][:40].astype(int) - pictures[0][:40, :, ::-1]).mean() < 20


def test_pauses_at_the_end_and_repeats(pictures):
    image = Image.open(io.BytesIO(animate(pictures, PALETTE, seconds=1)))
    assert image.info['loop'] == 0
    durations = []
    for index in range(image.n_frames):
        image.seek(index)
        durations.append(image.info['duration'])
    assert durations == [110] * 8 + [2500]


def test_too_large_an_animation_leaves_pictures_out_but_never_the_last():
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(11)]
    whole = animate(pictures, PALETTE)
    smaller = animate(pictures, PALETTE, max_bytes=len(whole) // 3)
    assert len(smaller) <= len(whole) // 3
    kept = frames(smaller)
    assert 1 < len(kept) < 6
    assert (kept[-1] == frames(whole)[-1]).all()


def test_title_is_above_the_picture():
    picture = np.full((10, 200, 3), 7, np.uint8)
    made = titled(picture, 'epoch 3')
    assert (made[-10:] == 7).all()
    assert (made[:-10] == 0).any(), 'black letters'
    assert (made[:-10] == 255).mean() > 0.8, 'on white'
