"""The checks of `base_tester` on the models of the configs and on models that no config has."""

from pathlib import Path

import pytest
from helpers.base_tester import SegmentorTester
from mmengine.config import Config

CONFIGS = sorted((Path(__file__).resolve().parents[2] / 'configs').glob('erfnet_*.py'))
NORM = dict(type='BN', requires_grad=True)
LOSS = dict(type='mmseg_erfnet.WeightedCrossEntropyLoss', class_weight=[1.0, 2.0, 0.5, 3.0, 1.5])
FCN = dict(type='FCNHead', num_classes=5, concat_input=False, norm_cfg=NORM, loss_decode=LOSS)
PAPER = dict(dropout_ratio=(0.03, 0.3), dropout_type='channel')
MODELS = dict(
    stock_head=dict(
        backbone=dict(type='mmseg_erfnet.ERFNet', norm_cfg=NORM),
        decode_head=dict(FCN, in_channels=16, channels=128, num_convs=1),
    ),
    paper=dict(
        backbone=dict(type='mmseg_erfnet.ERFNet', **PAPER),
        decode_head=dict(type='mmseg_erfnet.ERFNetHead', in_channels=16, num_classes=5, loss_decode=LOSS),
    ),
    encoder=dict(
        backbone=dict(type='mmseg_erfnet.ERFNet', encoder_only=True, **PAPER),
        decode_head=dict(FCN, in_channels=128, channels=128, num_convs=0, dropout_ratio=0),
    ),
    prelu_gn=dict(
        backbone=dict(
            type='mmseg_erfnet.ERFNet', norm_cfg=dict(type='GN', num_groups=8), act_cfg=dict(type='PReLU'), with_cp=True
        ),
        decode_head=dict(FCN, in_channels=16, channels=32, num_convs=1),
    ),
)


class TestConfigs(SegmentorTester):
    @pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
    def path(self, request) -> Path:
        return request.param

    @pytest.fixture
    def name(self, path) -> str:
        return path.stem

    @pytest.fixture
    def config(self, path) -> dict:
        return Config.fromfile(path).model

    # 5 s each; the models below have the same parts.
    @pytest.mark.slow
    def test_export_with_dynamic_sizes(self, model):
        super().test_export_with_dynamic_sizes(model)


class TestModels(SegmentorTester):
    @pytest.fixture(params=MODELS)
    def name(self, request) -> str:
        return request.param

    @pytest.fixture
    def config(self, name) -> dict:
        return dict(type='EncoderDecoder', test_cfg=dict(mode='whole'), **MODELS[name])
