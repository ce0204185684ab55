"""The backbone against MMSegmentation's, whose weights it shares, and what it has beyond it."""

import inspect

import pytest
import torch
from helpers.base_tester import build, image, labelled, seed_weights
from mmcv.cnn.bricks import ConvWS2d
from mmseg.models.backbones import ERFNet as StockERFNet
from torch import nn

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models import ERFNet
from mmseg_erfnet.models.dropout import Dropout
from mmseg_erfnet.models.erfnet import DownsamplerBlock, NonBottleneck1d, UpsamplerBlock

CONVOLUTIONS = 3 + 17 * 4  # downsamplers, and residual blocks of four
NORMS = 3 + 17 * 2 + 2
ACTIVATIONS = 3 + 17 * 4 + 2


def count(model: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


# --- The same as stock ------------------------------------------------------------------------------------------------


def test_arguments_are_stocks():
    stock = list(inspect.signature(StockERFNet).parameters.values())
    ours = list(inspect.signature(ERFNet).parameters.values())[: len(stock)]
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in stock]


def test_names_are_stocks():
    assert [(name, value.shape) for name, value in ERFNet().state_dict().items()] == [
        (name, value.shape) for name, value in StockERFNet().state_dict().items()
    ]


@pytest.mark.parametrize('size', [(64, 96), (16, 16), (17, 16), (18, 22), (33, 47), (101, 65)])
def test_outputs_are_stocks(size):
    stock = seed_weights(StockERFNet()).eval()
    ours = ERFNet().eval()
    ours.load_state_dict(stock.state_dict(), strict=True)
    x = image(2, 3, *size)
    with torch.no_grad():
        [expected], [found] = stock(x), ours(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(),
        dict(
            in_channels=1,
            enc_downsample_channels=(8, 16, 24, 32),
            enc_stage_non_bottlenecks=(1, 2, 4),
            enc_non_bottleneck_dilations=(3, 5),
            enc_non_bottleneck_channels=(16, 24, 32),
            dec_upsample_channels=(24, 16, 8),
            dec_stages_non_bottleneck=(1, 0, 2),
            dec_non_bottleneck_channels=(24, 16, 8),
        ),
    ],
)
def test_gradients_and_statistics_are_stocks(arguments):
    stock = seed_weights(StockERFNet(dropout_ratio=0, **arguments))
    ours = ERFNet(dropout_ratio=0, **arguments)
    ours.load_state_dict(stock.state_dict(), strict=True)
    x = image(2, arguments.get('in_channels', 3), 50, 64)
    for model in (stock, ours):
        model.train()
        out = model(x)[0]
        (out * image(*out.shape)).mean().backward()
    expected = {name: weight.grad for name, weight in stock.named_parameters()}
    assert max(grad.abs().max() for grad in expected.values()) > 1e-3
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=0, atol=1e-5, msg=name)
    buffers = dict(stock.named_buffers())
    for name, value in ours.named_buffers():
        torch.testing.assert_close(value, buffers[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize(('source', 'target'), [('ERFNet', 'mmseg_erfnet.ERFNet'), ('mmseg_erfnet.ERFNet', 'ERFNet')])
def test_segmentors_exchange_weights(source, target):
    def segmentor(backbone):
        return build(
            dict(
                type='EncoderDecoder',
                backbone=dict(type=backbone),
                test_cfg=dict(),
                decode_head=dict(
                    type='FCNHead',
                    in_channels=16,
                    channels=128,
                    num_convs=1,
                    concat_input=False,
                    num_classes=19,
                    norm_cfg=dict(type='BN'),
                ),
            )
        ).eval()

    source, target = seed_weights(segmentor(source)), segmentor(target)
    assert type(source.backbone) is not type(target.backbone)
    target.load_state_dict(source.state_dict(), strict=True)
    x = image(1, 3, 40, 64)
    with torch.no_grad():
        torch.testing.assert_close(target(x), source(x), rtol=0, atol=1e-5)


# --- Layers as configured ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('norm_cfg', 'kind', 'eps'),
    [
        (dict(type='BN'), nn.BatchNorm2d, 1e-3),
        (dict(type='BN', requires_grad=True), nn.BatchNorm2d, 1e-3),
        (dict(type='BN', eps=1e-5), nn.BatchNorm2d, 1e-5),
        (dict(type='SyncBN'), nn.SyncBatchNorm, 1e-3),
        (dict(type='SyncBN', eps=1e-4), nn.SyncBatchNorm, 1e-4),
        (dict(type='GN', num_groups=8), nn.GroupNorm, 1e-5),
    ],
)
def test_norm_cfg_is_honoured(norm_cfg, kind, eps):
    model = ERFNet(norm_cfg=norm_cfg)
    norms = [module for module in model.modules() if isinstance(module, (nn.modules.batchnorm._NormBase, nn.GroupNorm))]
    assert len(norms) == NORMS
    assert all(isinstance(norm, kind) for norm in norms)
    assert {norm.eps for norm in norms} == {eps}
    model.train()(image(2, 3, 16, 16))[0].sum().backward()


def test_norm_cfg_is_not_changed():
    norm_cfg = dict(type='BN')
    ERFNet(norm_cfg=norm_cfg)
    assert norm_cfg == dict(type='BN')


def test_frozen_norms():
    model = ERFNet(norm_cfg=dict(type='BN', requires_grad=False))
    assert sum(not weight.requires_grad for weight in model.parameters()) == 2 * NORMS


def test_one_prelu_a_position():
    model = ERFNet(act_cfg=dict(type='PReLU', num_parameters=1, init=0.1))
    slopes = {id(module.weight) for module in model.modules() if isinstance(module, nn.PReLU)}
    assert len(slopes) == count(model, nn.PReLU) == ACTIVATIONS
    new = model.state_dict().keys() - StockERFNet().state_dict().keys()
    assert len(new) == ACTIVATIONS
    assert StockERFNet().state_dict().keys() < model.state_dict().keys()
    seed_weights(model).train()(image(2, 3, 32, 32))[0].square().sum().backward()
    assert all(module.weight.grad.any() for module in model.modules() if isinstance(module, nn.PReLU))


def test_no_norm_and_no_activation():
    model = ERFNet(norm_cfg=None, act_cfg=None)
    assert count(model, nn.BatchNorm2d) == count(model, nn.ReLU) == 0
    assert model(image(1, 3, 16, 16))[0].shape == (1, 16, 8, 8)


def test_activations_in_place():
    """mmcv's configs often ask for it: no layer may need what the activation overwrites."""
    grads = []
    for inplace in (False, True):
        model = seed_weights(ERFNet(dropout_ratio=0, act_cfg=dict(type='ReLU', inplace=inplace)))
        model(image(2, 3, 32, 48))[0].square().mean().backward()
        grads.append([weight.grad for weight in model.parameters()])
    for expected, found in zip(*grads, strict=True):
        assert torch.equal(expected, found)


def test_conv_cfg_spares_transposed_convolutions():
    model = ERFNet(conv_cfg=dict(type='ConvWS'))
    assert count(model, ConvWS2d) == count(model, nn.Conv2d) == CONVOLUTIONS
    assert {type(block.conv) for block in model.decoder if isinstance(block, UpsamplerBlock)} == {nn.ConvTranspose2d}
    assert model(image(1, 3, 32, 32))[0].shape == (1, 16, 16, 16)


@pytest.mark.parametrize(
    ('arguments', 'kind', 'ratios'),
    [
        (dict(), Dropout, (0.1, 0.1)),
        (dict(dropout_ratio=0.3), Dropout, (0.3, 0.3)),
        (dict(dropout_ratio=(0.03, 0.3), dropout_type='channel'), nn.Dropout2d, (0.03, 0.3)),
    ],
)
def test_dropout(arguments, kind, ratios):
    model = ERFNet(**arguments)
    encoder = [
        (type(block.convs_layers[9]), block.convs_layers[9].p, block.convs_layers[0].in_channels)
        for block in model.encoder
        if isinstance(block, NonBottleneck1d)
    ]
    assert encoder == [(kind, ratios[0], 64)] * 5 + [(kind, ratios[1], 128)] * 8
    assert [block.convs_layers[9].p for block in model.decoder if isinstance(block, NonBottleneck1d)] == [0] * 4


def test_dilations():
    blocks = [block for block in ERFNet().encoder if isinstance(block, NonBottleneck1d)]
    assert [block.convs_layers[5].dilation[0] for block in blocks] == [1] * 5 + [2, 4, 8, 16] * 2
    assert [block.convs_layers[7].dilation[1] for block in blocks] == [1] * 5 + [2, 4, 8, 16] * 2


# --- Encoder alone ----------------------------------------------------------------------------------------------------


def test_encoder_only():
    whole = seed_weights(ERFNet()).eval()
    encoder = ERFNet(encoder_only=True).eval()
    state = {name: value for name, value in whole.state_dict().items() if name.startswith('encoder.')}
    encoder.load_state_dict(state, strict=True)
    x = image(1, 3, 50, 64)
    with torch.no_grad():
        expected = x
        for block in whole.encoder:
            expected = block(expected)
        [found] = encoder(x)
    assert found.shape == (1, 128, 7, 8)
    assert torch.equal(found, expected)


def test_the_whole_starts_from_the_encoder(tmp_path):
    encoder = build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='mmseg_erfnet.ERFNet', encoder_only=True),
            decode_head=dict(
                type='FCNHead', in_channels=128, channels=128, num_convs=0, concat_input=False, num_classes=3
            ),
        )
    )
    assert encoder.train()(image(2, 3, 64, 64), labelled(3, 2, 8, 8), mode='loss')['decode.loss_ce'] > 0
    torch.save(dict(meta=dict(), state_dict=encoder.state_dict()), tmp_path / 'encoder.pth')
    whole = build(
        dict(
            type='mmseg_erfnet.ERFNet',
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'encoder.pth'), prefix='backbone.'),
        )
    )
    whole.init_weights()
    state = whole.state_dict()
    for name, value in encoder.backbone.state_dict().items():
        assert torch.equal(state[name], value), name


# --- Gradient checkpointing -------------------------------------------------------------------------------------------


def test_checkpointing_changes_memory_alone():
    results, kept = [], []
    for with_cp in (False, True):
        model = seed_weights(ERFNet(with_cp=with_cp)).train()
        sizes = []
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes) or x, lambda x: x):
            out = model(image(2, 3, 64, 64))[0]
        kept.append(sum(sizes))
        out.square().mean().backward()
        grads = {name: weight.grad for name, weight in model.named_parameters()}
        results.append((out, grads, dict(model.named_buffers())))
    (out, grads, buffers), (cp_out, cp_grads, cp_buffers) = results
    assert kept[1] < kept[0] / 5
    torch.testing.assert_close(cp_out, out)
    for name in grads:
        torch.testing.assert_close(cp_grads[name], grads[name], msg=name)
    for name in buffers:
        torch.testing.assert_close(cp_buffers[name], buffers[name], msg=name)
    assert {norm.momentum for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


# --- Resizing and export ----------------------------------------------------------------------------------------------


def test_no_resize_where_sizes_agree():
    sizes = dict(x={0: torch.export.Dim('n'), 2: 8 * torch.export.Dim('h'), 3: 8 * torch.export.Dim('w')})
    exported = torch.export.export(ERFNet().eval(), (image(2, 3, 64, 96),), dynamic_shapes=sizes)
    calls = [str(node.target) for node in exported.graph.nodes if node.op == 'call_function']
    assert sum('conv' in call for call in calls) == CONVOLUTIONS + 2
    assert [call for call in calls if 'upsample' in call or 'interpolate' in call] == []


def test_autocast_reaches_the_residual_stream():
    model = ERFNet().train()
    kinds = []
    for block in (*model.encoder, *model.decoder):
        block.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    with torch.autocast('cpu', torch.bfloat16):
        model(torch.rand(1, 3, 32, 32))
    assert set(kinds) == {torch.bfloat16}


def test_trace_at_an_odd_size():
    model = seed_weights(ERFNet()).eval()
    x = image(1, 3, 33, 47)
    with torch.no_grad():
        traced = torch.jit.trace(model, x)
        torch.testing.assert_close(traced(x)[0], model(x)[0])


# --- Wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(enc_downsample_channels=(16,)), 'at least two numbers'),
        (dict(enc_downsample_channels=(16, 64)), 'enc_stage_non_bottlenecks needs 1 numbers'),
        (dict(enc_stage_non_bottlenecks=(5,)), 'enc_stage_non_bottlenecks needs 2 numbers'),
        (dict(enc_non_bottleneck_channels=(64, 64)), r'it must be \(64, 128\)'),
        (dict(enc_stage_non_bottlenecks=(5, 7)), 'multiple of the 4 enc_non_bottleneck_dilations'),
        (dict(enc_non_bottleneck_dilations=()), 'multiple of the 0 enc_non_bottleneck_dilations'),
        (dict(dec_upsample_channels=(64,)), 'decoder needs 2 stages'),
        (dict(dec_stages_non_bottleneck=(2,)), 'decoder needs 2 stages'),
        (dict(dec_non_bottleneck_channels=(32, 16)), 'the two must be equal'),
        (dict(in_channels=16), 'more output channels than input channels'),
        (dict(in_channels=0), 'more output channels than input channels'),
        (dict(dropout_ratio=1.5), 'from 0 to 1'),
        (dict(dropout_ratio=(0.1, 0.2, 0.3)), '2 of them'),
        (dict(dropout_type='pixel'), 'element, channel'),
        (dict(norm_cfg=dict(type='GN', num_groups=32)), 'divisible'),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        ERFNet(**arguments)


def test_an_error_is_one_of_ours_and_one_of_mmsegmentation():
    with pytest.raises(UsageError) as caught:
        ERFNet(dec_upsample_channels=(128, 64, 16))
    assert isinstance(caught.value, AssertionError)


def test_wrong_arguments_of_the_decoder_do_not_matter_to_the_encoder():
    assert len(ERFNet(encoder_only=True, dec_upsample_channels=(1,)).decoder) == 0


def test_blocks_alone():
    x = image(1, 8, 9, 12)
    assert DownsamplerBlock(8, 12)(x).shape == (1, 12, 5, 6)
    assert NonBottleneck1d(8, dilation=4)(x).shape == x.shape
    assert UpsamplerBlock(8, 4)(x).shape == (1, 4, 18, 24)
