"""The graph that is exported against MMSegmentation's own prediction."""

from copy import deepcopy

import mmcv
import numpy as np
import pytest
import torch
from helpers.small_models import BINARY, RESIZE, checkpoint, config, without_resize
from mmseg.apis import inference_model
from mmseg.structures import SegDataSample
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
        ('erfnet_camvid11', {'model.backbone.conv_cfg': dict(type='ConvWS')}),
        (
            'erfnet_camvid11',
            {'model.backbone.conv_cfg': dict(type='ConvAWS'), 'model.decode_head.conv_cfg.type': 'ConvWS'},
        ),
    ],
)
def test_folding_keeps_the_logits_and_leaves_no_bn(name, options):
    segmentor = load_segmentor(config(name, **options), None)
    for layer in segmentor.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.running_mean)
            nn.init.normal_(layer.bias)
            layer.momentum = 0.99
    x = torch.from_numpy(frame(64, 96)).permute(2, 0, 1)[None] / 128 - 1
    # Statistics that fit: standardised weights amplify from layer to layer.
    with torch.no_grad():
        segmentor.train()(x.repeat(2, 1, 1, 1), mode='tensor')
    segmentor.eval()
    folded = fold(deepcopy(segmentor))
    kinds = {type(layer).__name__ for layer in folded.modules()}
    assert not kinds & {'BatchNorm2d', 'SyncBatchNorm'}
    with torch.no_grad():
        torch.testing.assert_close(folded(x, mode='tensor'), segmentor(x, mode='tensor'), rtol=1e-3, atol=1e-4)


def test_folding_leaves_no_denormal_weight():
    segmentor = load_segmentor(config('erfnet_camvid'), None)
    with torch.no_grad():
        for weight in segmentor.parameters():
            weight.view(torch.int32).flatten()[0] = 3  # 4e-45
    for weight in fold(segmentor).parameters():
        bits = weight.view(torch.int32) & 0x7FFFFFFF  # without the sign
        assert not ((bits > 0) & (bits < 0x00800000)).any()
        assert weight.ndim == 1 or weight.any()


@pytest.mark.parametrize('size', [(64, 96), (61, 99), (8, 8), (1, 1)])
def test_sizes_are_padded_as_mmseg_pads_with_a_divisor(size):
    segmentor = load_segmentor(without_resize(config('erfnet_camvid11')), checkpoint('erfnet_camvid11'))
    graph = FrameToLabels(segmentor, None, 'logits')
    segmentor.data_preprocessor.test_cfg = dict(size_divisor=8)
    segmentor.cfg.test_pipeline = segmentor.cfg.test_dataloader.dataset.pipeline
    expected = inference_model(segmentor, frame(*size))
    with torch.no_grad():
        logits = graph(torch.from_numpy(frame(*size))[None])[0]
    torch.testing.assert_close(logits, expected.seg_logits.data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('keep_ratio', [False, True])
@pytest.mark.parametrize('size', [(96, 128), (200, 131), (48, 64)])
def test_frames_are_resized_as_the_pipeline_does(size, keep_ratio):
    cfg = config('erfnet_camvid11', **{RESIZE: dict(type='Resize', scale=(96, 72), keep_ratio=keep_ratio)})
    segmentor = load_segmentor(cfg, checkpoint('erfnet_camvid11'))
    # MMSegmentation's inference reads the variable.
    segmentor.cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
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
    expected = segmentor.data_preprocessor(dict(inputs=[pixels[0].permute(2, 0, 1)], data_samples=[SegDataSample()]))[
        'inputs'
    ]
    torch.testing.assert_close(FrameToLabels(segmentor).prepared(pixels).permute(0, 3, 1, 2), expected)


def test_what_cannot_be_exported_is_named():
    cfg = config('erfnet_camvid11')
    cfg.test_dataloader.dataset.pipeline.insert(2, dict(type='PhotoMetricDistortion'))
    with pytest.raises(UsageError, match='PhotoMetricDistortion'):
        frame_resize(cfg)
    segmentor = load_segmentor(config('erfnet_camvid11'), None)
    segmentor.backbone = nn.Identity()
    with pytest.raises(UsageError, match='Identity'):
        FrameToLabels(segmentor)


def test_the_pipeline_is_that_of_the_test_dataset():
    cfg = config('erfnet_camvid11')
    cfg.test_pipeline = [dict(type='Resize', scale=(32, 24))]
    assert frame_resize(cfg) == FrameResize(360, 480, True)
    cfg.test_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.test_dataloader.dataset)
    assert frame_resize(cfg) == FrameResize(360, 480, True)
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(UsageError, match='no test_dataloader'):
        frame_resize(cfg)


@pytest.mark.parametrize(
    ('step', 'scale', 'size'),
    [
        (dict(scale=(480, 360), keep_ratio=False), 1.25, (448, 600)),
        (dict(scale=(480, 360), keep_ratio=False), 0.5, (176, 240)),
        (dict(scale=(80, 80), keep_ratio=False), 0.7, (56, 56)),
        (dict(scale=(480, 360), keep_ratio=True), 1.25, (448, 597)),
        (None, 1.25, (896, 1200)),
        (None, 0.1, (72, 96)),
    ],
)
def test_a_scale_is_rounded_down_to_multiples_of_eight(step, scale, size):
    cfg = config('erfnet_camvid11', **({RESIZE: dict(type='Resize', **step)} if step else {}))
    resize = frame_resize(cfg if step else without_resize(cfg), scale)
    assert tuple(resize(720, 960)) == size
    for wrong in (0, -1, 11, float('nan'), float('inf')):
        with pytest.raises(UsageError, match=r'factor from 0\.1 to 10'):
            frame_resize(cfg, wrong)


def test_a_binary_head_decides_by_its_threshold():
    """One output for two classes: as MMSegmentation's postprocess_result."""
    cfg = config('erfnet_camvid11', **BINARY)
    torch.manual_seed(0)
    segmentor = load_segmentor(without_resize(cfg), None)
    nn.init.normal_(segmentor.decode_head.conv_seg.weight, std=1)
    with torch.no_grad():
        logits = FrameToLabels(segmentor, None, 'logits')(torch.from_numpy(frame(64, 96))[None])
        # About half of the pixels are above the threshold.
        segmentor.decode_head.conv_seg.bias += torch.tensor(0.6).logit() - logits.median()
    segmentor.cfg.test_pipeline = segmentor.cfg.test_dataloader.dataset.pipeline
    expected = inference_model(segmentor, frame(64, 96)).pred_sem_seg.data[0]
    with torch.no_grad():
        labels = FrameToLabels(fold(deepcopy(segmentor)))(torch.from_numpy(frame(64, 96))[None])[0]
    assert 0.05 < expected.float().mean() < 0.95
    assert (labels == expected).float().mean() > 0.999
    with torch.no_grad():
        probabilities = FrameToLabels(segmentor, None, 'probabilities')(torch.from_numpy(frame(64, 96))[None])
    assert probabilities.shape == (1, 1, 64, 96)
    assert torch.equal((probabilities[0, 0] > 0.6).to(torch.uint8), labels)


def test_a_cascade_is_refused_in_a_sentence():
    cfg = config('erfnet_camvid11')
    cfg.model.update(type='CascadeEncoderDecoder', num_stages=2)
    cfg.model.decode_head = [
        cfg.model.decode_head,
        dict(type='OCRHead', in_channels=16, channels=16, ocr_channels=8, num_classes=11, norm_cfg=dict(type='BN')),
    ]
    segmentor = load_segmentor(cfg, None)
    with pytest.raises(UsageError, match=r'builds a CascadeEncoderDecoder: score it with tools/test\.py'):
        FrameToLabels(segmentor)


def test_classes_come_from_the_configs_metainfo():
    three = dict(classes=('a', 'b', 'c'), palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    cfg = config('erfnet_camvid11', **{'model.decode_head.num_classes': 3})
    cfg.model.decode_head.loss_decode = dict(type='CrossEntropyLoss')
    cfg.test_dataloader.dataset = dict(
        type='BaseSegDataset', data_root='nowhere', metainfo=three, pipeline=cfg.test_dataloader.dataset.pipeline
    )
    meta = load_segmentor(cfg, None).dataset_meta
    assert tuple(meta['classes']) == three['classes']
    assert [list(colour) for colour in meta['palette']] == three['palette']
    cfg.test_dataloader.dataset.type = 'mmseg_erfnet.CamVid11Dataset'
    with pytest.raises(UsageError, match='not a subset'):
        load_segmentor(cfg, None)
    cfg.test_dataloader.dataset = dict(type='BaseSegDataset', pipeline=[])
    with pytest.raises(UsageError, match='names classes'):
        load_segmentor(cfg, None)


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
