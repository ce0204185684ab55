"""The graph that is exported against MMSegmentation's own prediction."""

from copy import deepcopy

import mmcv
import numpy as np
import pytest
import torch
from helpers.small_models import checkpoint, config, without_resize
from mmseg.apis import inference_model
from torch import nn

from mmseg_erfnet.errors import CheckpointError, UsageError
from mmseg_erfnet.export.folding import fold
from mmseg_erfnet.export.graph import FrameResize, FrameToLabels, frame_resize, labels_of_doubled
from mmseg_erfnet.models.building import load_segmentor

STOCK = {'model.backbone.type': 'mmseg.ERFNet'}


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('erfnet_camvid11', {}),
        ('erfnet_cityscapes', STOCK),
        ('erfnet_cityscapes_paper', {}),
        ('erfnet_camvid11', {'model.backbone.act_cfg': dict(type='PReLU', num_parameters=1)}),
        ('erfnet_camvid11', {'model.backbone.norm_cfg': dict(type='GN', num_groups=1)}),
    ],
)
def test_folding_keeps_the_logits_and_leaves_no_bn(name, options):
    segmentor = load_segmentor(config(name, **options), None)
    for layer in segmentor.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.running_mean)
            nn.init.normal_(layer.bias)
    folded = fold(deepcopy(segmentor))
    kinds = {type(layer).__name__ for layer in folded.modules()}
    assert not kinds & {'BatchNorm2d', 'SyncBatchNorm'}
    x = torch.from_numpy(frame(64, 96)).permute(2, 0, 1)[None] / 128 - 1
    with torch.no_grad():
        torch.testing.assert_close(folded(x, mode='tensor'), segmentor(x, mode='tensor'), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [(64, 96), (61, 99), (8, 8), (1, 1)])
def test_sizes_are_padded_as_mmseg_pads_with_a_divisor(size):
    segmentor = load_segmentor(without_resize(config('erfnet_camvid11')), checkpoint('erfnet_camvid11'))
    graph = FrameToLabels(segmentor, None, 'logits')
    segmentor.data_preprocessor.test_cfg = dict(size_divisor=8)
    expected = inference_model(segmentor, frame(*size))
    with torch.no_grad():
        logits = graph(torch.from_numpy(frame(*size))[None])[0]
    torch.testing.assert_close(logits, expected.seg_logits.data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('keep_ratio', [False, True])
@pytest.mark.parametrize('size', [(96, 128), (200, 131), (48, 64)])
def test_frames_are_resized_as_the_pipeline_does(size, keep_ratio):
    cfg = config('erfnet_camvid11', **{'test_pipeline.1': dict(type='Resize', scale=(96, 72), keep_ratio=keep_ratio)})
    segmentor = load_segmentor(cfg, checkpoint('erfnet_camvid11'))
    graph = FrameToLabels(segmentor, frame_resize(cfg))
    segmentor.data_preprocessor.test_cfg = dict(size_divisor=8)
    # Smooth, as pictures are: OpenCV and PyTorch round the last bit of some pixels differently.
    picture = mmcv.imresize(frame(9, 9), size[::-1])
    expected = inference_model(segmentor, picture).pred_sem_seg.data
    with torch.no_grad():
        labels = graph(torch.from_numpy(picture)[None])
    assert labels.dtype == torch.uint8
    assert labels.shape == expected.shape == (1, *size)
    assert len(labels.unique()) > 2
    assert (labels == expected).float().mean() > 0.995


def test_sizes_follow_mmcv():
    resize = FrameResize(1024, 2048, keep_ratio=True)
    for size in np.random.default_rng(0).integers(1, 3000, (500, 2)).tolist():
        width, height = mmcv.rescale_size(size[::-1], (2048, 1024))
        assert resize(*size) == (height, width)


def test_colours_stay_bgr_where_the_config_says_so():
    cfg = without_resize(config('erfnet_camvid11', **{'model.data_preprocessor.bgr_to_rgb': False}))
    segmentor = load_segmentor(cfg, checkpoint('erfnet_camvid11'))
    pixels = torch.from_numpy(frame(8, 8))[None]
    expected = segmentor.data_preprocessor(dict(inputs=[pixels[0].permute(2, 0, 1)]))['inputs']
    torch.testing.assert_close(FrameToLabels(segmentor).prepared(pixels).permute(0, 3, 1, 2), expected)


def test_what_cannot_be_exported_is_named():
    cfg = config('erfnet_camvid11')
    cfg.test_pipeline.insert(2, dict(type='PhotoMetricDistortion'))
    with pytest.raises(UsageError, match='PhotoMetricDistortion'):
        frame_resize(cfg)
    segmentor = load_segmentor(config('erfnet_camvid11'), None)
    segmentor.backbone = nn.Identity()
    with pytest.raises(UsageError, match='Identity'):
        FrameToLabels(segmentor)


def test_weights_must_fit():
    with pytest.raises(CheckpointError, match='encoder'):
        load_segmentor(
            config('erfnet_camvid11', **{'model.backbone.enc_stage_non_bottlenecks': (2, 2)}),
            checkpoint('erfnet_camvid11'),
        )
    with pytest.raises(UsageError, match='12 classes, but its dataset names 11'):
        load_segmentor(config('erfnet_camvid11', **{'model.decode_head.num_classes': 12}), None)


@pytest.mark.parametrize('size', [(8, 8), (13, 20)])
def test_labels_of_doubled_logits_are_those_of_resized_ones(size):
    logits = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 5, *size)).astype(np.float32))
    doubled = torch.nn.functional.interpolate(logits, scale_factor=2, mode='bilinear')
    expected, labels = doubled.argmax(1), labels_of_doubled(logits)
    assert labels.dtype == torch.uint8
    # Sums in another order differ in the last bit, which decides where two classes tie.
    chosen = doubled.gather(1, labels.long()[:, None])[:, 0]
    torch.testing.assert_close(chosen, doubled.amax(1), rtol=0, atol=1e-6)
    assert (labels == expected).float().mean() > 0.999
