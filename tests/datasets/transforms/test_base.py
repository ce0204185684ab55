"""What holds for every random transform, and for all of them in a row."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmcv.transforms.utils import cache_random_params
from mmengine.registry import DefaultScope

from mmseg_erfnet.registry import TRANSFORMS

GEOMETRIC = ['RandomRotateCropResize', 'RandomTranslate']
PHOTOMETRIC = ['RandomShadow', 'RandomBrightness', 'RandomContrast', 'RandomBlur', 'RandomNoise']
ALL = GEOMETRIC + PHOTOMETRIC


def sample(height=60, width=80):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    labels = cv2.resize(rng.integers(0, 5, (6, 8), dtype=np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    # Neither is the transforms' to write into: a cache may hand out the same arrays again.
    image.flags.writeable = labels.flags.writeable = False
    return dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'], img_shape=(height, width), img_path='a.png')


@pytest.mark.parametrize('name', ALL)
def test_numpy_seed_determines_result(name):
    transform = TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}'))
    runs = []
    for opencv_seed in (1, 2):
        np.random.seed(7)
        cv2.setRNGSeed(opencv_seed)
        runs.append([transform(sample()) for _ in range(5)])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first['img'], second['img'])
        np.testing.assert_array_equal(first['gt_seg_map'], second['gt_seg_map'])
    assert len({result['img'].tobytes() for result in runs[0]}) > 1


@pytest.mark.parametrize('name', ALL)
def test_probability(name):
    np.random.seed(0)
    before = sample()['img']
    transform = TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}', prob=0))
    assert all(np.array_equal(transform(sample())['img'], before) for _ in range(20))
    transform = TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}', prob=0.4))
    changed = np.mean([not np.array_equal(transform(sample())['img'], before) for _ in range(400)])
    # A blur of radius 0, a shift by nothing and a shadow of nothing change nothing either.
    expected = {'RandomBlur': 0.2, 'RandomTranslate': 0.4 * 24 / 25}.get(name, 0.4)
    assert abs(changed - expected) < 0.08


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('prob', [2, -0.1, float('nan')])
def test_refuses_what_is_no_probability(name, prob):
    with pytest.raises(ValueError, match='prob must be a probability'):
        TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}', prob=prob))


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize(
    'image',
    [
        np.zeros((60, 80), np.uint8),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((60, 80, 3), np.float32),
        np.zeros((60, 80, 3), np.uint16),
    ],
    ids=['grey', 'RGBA', 'float', '16-bit'],
)
def test_refuses_other_images(name, image):
    with pytest.raises(ValueError, match=f'{name} needs a uint8 colour image.*a.png.*color_type'):
        TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}'))({**sample(), 'img': image})


@pytest.mark.parametrize('name', ALL)
def test_randomness_can_be_shared(name):
    """As MMCV's transforms that treat several images alike need."""
    np.random.seed(3)
    transform = TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}'))
    with cache_random_params(transform):
        images = {transform(sample())['img'].tobytes() for _ in range(5)}
    assert len(images) == 1


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('size', [(1, 1), (3, 200), (37, 53)])
def test_any_size(name, size):
    np.random.seed(0)
    result = TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}'))(sample(*size))
    assert result['img'].shape == (*size, 3)
    assert result['gt_seg_map'].shape == size


@pytest.mark.parametrize('name', PHOTOMETRIC)
def test_colour_leaves_labels_alone(name):
    np.random.seed(0)
    before = sample()
    labels = before['gt_seg_map']
    assert TRANSFORMS.build(dict(type=f'mmseg_erfnet.{name}'))(before)['gt_seg_map'] is labels


def test_prints_its_arguments():
    assert repr(TRANSFORMS.build(dict(type='mmseg_erfnet.RandomNoise', sd=3))) == 'RandomNoise(prob=1.0, sd=3)'


def test_pipeline_end_to_end():
    """Built as a config is, from names with the prefix, in MMSegmentation's scope."""
    recipe = [dict(type='mmseg_erfnet.RandomRotateCropResize', size=(64, 48))]
    recipe += [dict(type=f'mmseg_erfnet.{name}') for name in ['RandomTranslate', *PHOTOMETRIC]]
    with DefaultScope.overwrite_default_scope('mmseg'):
        pipeline = Compose([*recipe, dict(type='RandomFlip', prob=1.0), dict(type='PackSegInputs')])
    np.random.seed(0)
    for _ in range(5):
        packed = pipeline(sample())
        assert packed['inputs'].dtype == torch.uint8
        assert packed['inputs'].shape == (3, 48, 64)
        labels = packed['data_samples'].gt_sem_seg.data
        assert labels.shape == (1, 48, 64)
        assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 4, 255}
        assert packed['data_samples'].img_shape == (48, 64)
        assert packed['data_samples'].flip
