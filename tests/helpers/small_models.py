"""Models small enough to export in seconds, created once for all tests."""

import functools
import tempfile
from pathlib import Path

import torch
from conftest import ROOT
from mmengine.config import Config
from torch import nn

from mmseg_erfnet.datasets.synthetic import synthesize_camvid
from mmseg_erfnet.engine.launch import load_config

# One or two blocks where ERFNet has many, so that each kind of block is present.
SMALL = {
    'model.backbone.enc_stage_non_bottlenecks': (1, 2),
    'model.backbone.enc_non_bottleneck_dilations': (2, 4),
    'model.backbone.dec_stages_non_bottleneck': (1, 1),
}


@functools.cache
def workshop() -> Path:
    """A folder for the whole test session, with synthetic frames of 96x128 in ``camvid``."""
    folder = Path(tempfile.mkdtemp(prefix='deploy-tests-'))
    synthesize_camvid(folder / 'camvid', images=16, size=(96, 128))
    return folder


def config(name: str, **options) -> Config:
    """Return a shipped config with a small network, on the synthetic frames."""
    data = {f'{part}_dataloader.dataset.data_root': str(workshop() / 'camvid') for part in ('train', 'val', 'test')}
    return load_config(str(ROOT / 'configs' / f'{name}.py'), options=SMALL | data | options)


# One output for two classes.
BINARY = {
    'test_dataloader.dataset.type': 'BaseSegDataset',
    'test_dataloader.dataset.metainfo': dict(classes=('other', 'road'), palette=[[0, 0, 0], [128, 64, 128]]),
    'model.decode_head.loss_decode': dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True),
    **{f'model.decode_head.{key}': value for key, value in dict(num_classes=2, out_channels=1, threshold=0.6).items()},
}
# The step of the test pipeline that sets the size at which the network sees a frame.
RESIZE = 'test_dataloader.dataset.pipeline.1'
SCALE = f'{RESIZE}.scale'


def without_resize(cfg: Config) -> Config:
    """The config without a resize of frames."""
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step.type != 'Resize']
    return cfg


@functools.cache
def checkpoint(name: str) -> Path:
    """Weights of a small network with many predicted classes and a BN that is not the identity."""
    from mmseg_erfnet.models.building import load_segmentor

    torch.manual_seed(0)
    segmentor = load_segmentor(config(name), None)
    for layer in segmentor.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    # Spread widely, so that the logits of classes rarely tie.
    nn.init.normal_(segmentor.decode_head.conv_seg.weight, std=1)
    path = workshop() / f'{name}.pth'
    torch.save(dict(state_dict=segmentor.state_dict(), meta={}), path)
    return path


@functools.cache
def exported() -> Path:
    """A folder with the small erfnet_camvid11 in both formats, for frames of any size, resized to 72x96 inside."""
    from mmseg_erfnet.export.exporter import export

    folder = workshop() / 'exported'
    export(
        config('erfnet_camvid11', **{SCALE: (96, 72)}),
        checkpoint('erfnet_camvid11'),
        folder,
        formats=('onnx', 'openvino'),
        report=lambda line: None,
    )
    return folder
