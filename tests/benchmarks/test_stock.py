from mmseg.models.backbones import ERFNet as StockERFNet
from mmseg.registry import MODELS

from mmseg_erfnet.benchmarks.stock import stock_backbone


def test_what_the_stock_erfnet_knows_stays():
    ours = dict(
        type='mmseg_erfnet.ERFNet',
        enc_stage_non_bottlenecks=(1, 2),
        enc_non_bottleneck_dilations=(2, 4),
        dropout_ratio=(0.03, 0.3),
        dropout_type='channel',
        with_cp=True,
    )
    before = dict(ours)
    backbone = MODELS.build(stock_backbone(ours))
    assert ours == before
    assert type(backbone) is StockERFNet
    assert len(backbone.encoder) == 1 + 2 + 3
    assert backbone.encoder[2].convs_layers[9].p == 0.1
