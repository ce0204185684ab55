"""Configs that inherit from MMSegmentation's own: our classes replace theirs, and take the same arguments."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_erfnet.evaluation import SegmentationMetric
from mmseg_erfnet.models import ERFNet, FCNHead, WeightedCrossEntropyLoss
from mmseg_erfnet.registry import METRICS, MODELS

STOCK = Path(mmseg.__file__).parent / '.mim' / 'configs'
OURS = """_base_ = {base!r}
model = dict(
    backbone=dict(type='mmseg_erfnet.ERFNet'),
    decode_head=dict(type='mmseg_erfnet.FCNHead', loss_decode=dict(type='mmseg_erfnet.WeightedCrossEntropyLoss')),
)
val_evaluator = dict(type='mmseg_erfnet.SegmentationMetric')
test_evaluator = val_evaluator
"""


def parts(node: object, kind: str) -> Iterator[dict]:
    """Every dict in a config with the given type."""
    if isinstance(node, dict):
        if node.get('type') == kind:
            yield node
        node = node.values()
    if isinstance(node, (list, tuple, type({}.values()))):
        for item in node:
            yield from parts(item, kind)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def test_a_config_based_on_the_stock_erfnet(tmp_path):
    [base] = (STOCK / 'erfnet').glob('*.py')
    path = tmp_path / 'ours.py'
    path.write_text(OURS.format(base=str(base)))
    cfg = Config.fromfile(path)._cfg_dict.to_dict()
    for norm in parts(cfg, 'SyncBN'):
        norm['type'] = 'BN'
    model, metric = MODELS.build(cfg['model']), METRICS.build(cfg['val_evaluator'])
    assert type(model.backbone) is ERFNet
    assert type(model.decode_head) is FCNHead
    assert type(model.decode_head.loss_decode) is WeightedCrossEntropyLoss
    assert type(metric) is SegmentationMetric
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, 64, 64))))
    loss, _ = model.parse_losses(model(torch.randn(2, 3, 64, 64), [sample, sample], mode='loss'))
    loss.backward()
    assert loss.isfinite()


def test_the_metrics_of_all_stock_datasets():
    found = 0
    for path in sorted((STOCK / '_base_' / 'datasets').glob('*.py')):
        for evaluator in parts(Config.fromfile(path)._cfg_dict.to_dict(), 'IoUMetric'):
            assert METRICS.build(dict(deepcopy(evaluator), type='mmseg_erfnet.SegmentationMetric'))
            found += 1
    assert found > 20


def test_the_losses_of_all_stock_models():
    found = 0
    for path in sorted((STOCK / '_base_' / 'models').glob('*.py')):
        cfg = Config.fromfile(path, import_custom_modules=False)
        for loss in parts(cfg._cfg_dict.to_dict(), 'CrossEntropyLoss'):
            assert MODELS.build(dict(deepcopy(loss), type='mmseg_erfnet.WeightedCrossEntropyLoss'))
            found += 1
    assert found > 40
