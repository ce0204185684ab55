"""Test-time augmentation follows the test pipeline of the dataset."""

import pytest
from conftest import CONFIGS, ROOT

from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.engine.tta import tta_pipeline, use_tta
from mmseg_erfnet.errors import UsageError

LOAD = dict(type='LoadImageFromFile')
LABELS = dict(type='LoadAnnotations')
PACK = dict(type='PackSegInputs')
FLIP = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]


def choices(*steps: dict, scales=(1.0,)) -> list:
    first, augmentation = tta_pipeline([LOAD, *steps], scales)
    assert first == LOAD
    assert augmentation['type'] == 'TestTimeAug'
    return augmentation['transforms']


@pytest.mark.parametrize('name', CONFIGS)
def test_shipped_tta_pipeline_is_the_derived_one(name):
    """What MMSegmentation's own tools read gives what ours derive."""
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
    assert tta_pipeline(cfg.test_dataloader.dataset.pipeline) == cfg.tta_pipeline


def test_own_pipeline_is_kept():
    resize = dict(type='Resize', scale=(96, 72), keep_ratio=True)
    other = dict(type='Pad', size_divisor=8)
    assert choices(resize, LABELS, PACK) == [[resize], FLIP, [LABELS], [PACK]]
    assert choices(resize, other, LABELS, PACK) == [[resize], [other], FLIP, [LABELS], [PACK]]
    assert choices(LABELS, resize, PACK) == [[LABELS], [resize], FLIP, [PACK]], 'the flip follows each resize'
    assert choices(PACK) == [FLIP, [PACK]]


def test_scales():
    resize = dict(type='Resize', scale=(100, 60), keep_ratio=False)
    (sizes, *_) = choices(resize, LABELS, PACK, scales=(0.75, 1.0))
    assert [step['scale'] for step in sizes] == [(75, 45), (100, 60)]
    (sizes, *_) = choices(dict(type='Resize', scale_factor=0.5), PACK, scales=(0.5, 1.0))
    assert [step['scale_factor'] for step in sizes] == [0.25, 0.5]
    (sizes, *_) = choices(LABELS, PACK, scales=(0.5, 2.0))
    assert sizes == [dict(type='Resize', scale_factor=scale, keep_ratio=True) for scale in (0.5, 2.0)]


def test_config_without_anything_of_tta_in_a_wrapper():
    cfg = load_config(str(ROOT / 'configs' / 'erfnet_camvid11.py'))
    for name in ('tta_pipeline', 'tta_model'):
        cfg.pop(name)
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, inner])
    use_tta(cfg)
    assert cfg.model.type == 'mmseg_erfnet.SegTTAModel'
    assert [one.pipeline[1].type for one in cfg.test_dataloader.dataset.datasets] == ['TestTimeAug'] * 2


@pytest.mark.parametrize(
    ('given', 'used'),
    [
        ('SegTTAModel', 'mmseg_erfnet.SegTTAModel'),
        ('mmseg.SegTTAModel', 'mmseg_erfnet.SegTTAModel'),
        ('own.TTAModel', 'own.TTAModel'),
    ],
)
def test_stock_model_is_replaced_and_an_own_one_kept(given, used):
    cfg = load_config(str(ROOT / 'configs' / 'erfnet_camvid11.py'))
    cfg.tta_model = dict(type=given)
    use_tta(cfg)
    assert cfg.model.type == used
    assert cfg.tta_model.type == given


@pytest.mark.parametrize('scales', [(), (0.0,), (1.0, -1.0), (float('nan'),)])
def test_scales_that_are_none(scales):
    with pytest.raises(UsageError, match='--tta-scales are factors above 0'):
        use_tta(load_config(str(ROOT / 'configs' / 'erfnet_camvid11.py')), scales)
