"""The formats of one size, ncnn and LiteRT: around the network by itself, and each with its own packages."""

import json
import sys

import numpy as np
import pytest
import torch
from helpers.small_models import BINARY, RESIZE, SCALE, checkpoint, config, without_resize

from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.fixed import _OnePicture
from mmseg_erfnet.deploy.metadata import OPEN_CHECKSUM, seal
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.models.building import load_segmentor

pytest.importorskip('onnx')
exporter = pytest.importorskip('mmseg_erfnet.export.exporter')
from mmseg_erfnet.export import fixed  # noqa: E402
from mmseg_erfnet.export.folding import fold  # noqa: E402
from mmseg_erfnet.export.graph import FrameToLabels, frame_resize  # noqa: E402
from mmseg_erfnet.export.torch_backend import torch_predictor  # noqa: E402


def street(height: int = 72, width: int = 96) -> np.ndarray:
    return render((height, width), seed=1, index=0)[0][..., ::-1].copy()


@pytest.mark.parametrize('options', [{}, {'model.decode_head.type': 'mmseg.FCNHead'}])
def test_a_picture_gives_the_logits_of_the_graph(options):
    cfg = config('erfnet_camvid11', **options)
    graph = FrameToLabels(fold(load_segmentor(cfg, checkpoint('erfnet_camvid11'))), None, 'logits')
    network = fixed.PictureToLogits(graph).eval()
    assert not any(
        isinstance(layer, torch.nn.ConvTranspose2d) and any(layer.output_padding) for layer in network.modules()
    )
    picture = torch.from_numpy(street()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        found, expected = network(picture), graph(torch.from_numpy(street())[None])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_transposed_convolution_is_cut_to_the_same_bits():
    torch.manual_seed(0)
    conv = torch.nn.ConvTranspose2d(5, 3, 3, stride=2, padding=1, output_padding=1).double()
    x = torch.randn(2, 5, 7, 4).double()
    assert torch.allclose(fixed.CutTransposed(conv).double()(x), conv(x), rtol=0, atol=1e-15)


def test_the_size_is_fixed_by_the_config_or_by_hand():
    cfg = config('erfnet_camvid11')
    graph = FrameToLabels(fold(load_segmentor(cfg, checkpoint('erfnet_camvid11'))), None)
    assert fixed.picture_size(graph, frame_resize(cfg), None) == (360, 480)
    assert fixed.picture_size(graph, frame_resize(cfg, 1.25), None) == (448, 600)
    assert fixed.picture_size(graph, None, (61, 99)) == (64, 104)
    for resize in (None, frame_resize(without_resize(cfg), 1.25)):
        with pytest.raises(UsageError, match='give --size'):
            fixed.fixed_resize(resize, None)
    graph.align_corners = True
    with pytest.raises(UsageError, match='align_corners=False'):
        fixed.picture_size(graph, None, (64, 64))


@pytest.mark.parametrize(('scale', 'resized'), [(0.5, (48, 64)), (1.5, (144, 192))])
def test_a_scale_without_a_resize_is_described(scale, resized, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(exporter, 'save_fixed', lambda graph, *rest: written.append((graph.resize(96, 128), *rest)))
    cfg = without_resize(config('erfnet_camvid11'))
    model = exporter._Model(cfg, load_segmentor(cfg, None), frame_resize(cfg, scale), (96, 128), None)
    model.write(tmp_path / 'x.param', 'labels', dict(resize=None))
    resize = dict(height=resized[0], width=resized[1], keep_ratio=False)
    assert written == [(resized, resized, tmp_path / 'x.param', dict(resize=resize))]


class Placing(_OnePicture):
    """The code around a network, without a network."""

    def _open(self, path, contents, threads):
        pass


def test_a_frame_that_does_not_fit_is_named(tmp_path):
    about = dict(picture=[16, 24], fill=[1, 2, 3], threshold=None, resize=None)
    backend = Placing(tmp_path / 'x.tflite', contents={'.json': json.dumps(about).encode()})
    assert backend.place(street(15, 24))[:, 15].tolist() == [[1] * 24, [2] * 24, [3] * 24]
    with pytest.raises(DataError, match='A frame of 15x25 does not fit into the input of the model, 16x24'):
        backend.place(street(15, 25))


@pytest.mark.parametrize(('resize', 'size'), [(None, [13, 22]), (dict(height=8, width=9, keep_ratio=False), None)])
def test_litert_in_int8_keeps_the_size_that_was_asked_for(resize, size, tmp_path, monkeypatch):
    monkeypatch.setitem(fixed.BACKENDS, '.tflite', Placing)
    about = dict(picture=[16, 24], fill=[0, 0, 0], threshold=None, resize=resize, size=[13, 22])
    (tmp_path / 'x.tflite').write_bytes(b'float32')
    (tmp_path / 'x.json').write_text(json.dumps(about))
    # What the scoring asks for: frames of any size. An entry that only this format has is kept.
    metadata = dict(checksum=OPEN_CHECKSUM, size=None, resize=None)
    fixed.LiteRTQuantizer(tmp_path / 'x.tflite').save(b'int8', tmp_path / 'y.tflite', metadata)
    found = json.loads((tmp_path / 'y.json').read_text())
    assert (found['size'], found['resize'], found['picture']) == (size, resize, [16, 24])


@pytest.mark.parametrize('name', ['ncnn', 'litert'])
def test_absent_packages_are_one_sentence(name, tmp_path, monkeypatch):
    for package in fixed.PACKAGES[name]:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf'The format {name} needs .*: pip install .*{name}'):
        exporter.export(config('erfnet_camvid11', **{SCALE: (96, 72)}), None, tmp_path / 'out', (name,))
    assert not (tmp_path / 'out').exists()
    path = tmp_path / f'model{fixed.FIXED_FORMATS[name]}'
    about = dict(
        checksum=OPEN_CHECKSUM,
        **dict(classes=['a'], palette=[[0, 0, 0]], output='labels', size=None, batch=None),
        **dict(picture=[8, 8], fill=[0, 0, 0], threshold=None, resize=None),
    )
    for suffix, text in ((path.suffix, 'x'), ('.bin', 'x'), ('.json', json.dumps(about))):
        path.with_suffix(suffix).write_text(text)
    seal(path)
    with pytest.raises(UsageError, match='pip install'):
        Predictor(path)


@pytest.mark.formats
@pytest.mark.parametrize('name', ['ncnn', 'litert'])
def test_labels_are_those_of_pytorch(name, tmp_path):
    for package in fixed.PACKAGES[name]:
        pytest.importorskip(package)
    cfg = config('erfnet_camvid11', **{RESIZE: dict(type='Resize', scale=(96, 72), keep_ratio=True)})
    lines = []
    (path,) = exporter.export(cfg, checkpoint('erfnet_camvid11'), tmp_path, (name,), report=lines.append)
    assert lines[0].startswith(f'erfnet_camvid11_{name}{path.suffix}: logits within ')
    predictor, expected = Predictor(path, threads=1), torch_predictor(cfg, checkpoint('erfnet_camvid11'))
    assert predictor.classes == expected.classes
    for size in ((72, 96), (144, 192), (90, 96)):
        frame = street(*size)
        assert (predictor.predict(frame) == expected.predict(frame)).mean() > 0.98
    assert np.array_equal(predictor.predict_batch([frame, frame])[1], predictor.predict(frame))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match='is damaged'):
        Predictor(path)
    with pytest.raises(UsageError, match='only on the CPU'):
        type(predictor._backend)(path, 'GPU')


@pytest.mark.formats
@pytest.mark.parametrize(
    ('options', 'size'), [(dict(scale=0.5), (90, 130)), (dict(scale=1.5), (64, 96)), ({}, (90, 130))]
)
def test_a_size_may_differ_from_the_networks(options, size, tmp_path):
    for package in fixed.PACKAGES['ncnn']:
        pytest.importorskip(package)
    cfg, weights = config('erfnet_camvid11', **{SCALE: (96, 72)}), checkpoint('erfnet_camvid11')
    if options:
        cfg = without_resize(cfg)
    (path,) = exporter.export(cfg, weights, tmp_path, ('ncnn',), size=size, report=lambda line: None, **options)
    expected = torch_predictor(cfg, weights, **options)
    assert (Predictor(path, threads=1).predict(street(*size)) == expected.predict(street(*size))).mean() > 0.98


@pytest.mark.formats
def test_litert_in_int8_is_scored_and_keeps_its_interface(tmp_path):
    for package in fixed.PACKAGES['litert']:
        pytest.importorskip(package)
    lines, cfg = [], config('erfnet_camvid11', **{SCALE: (96, 72)})
    options = dict(int8=True, max_drop=50, report=lines.append)
    floating, quantised = exporter.export(cfg, checkpoint('erfnet_camvid11'), tmp_path, ('litert',), **options)
    assert quantised.name == 'erfnet_camvid11_litert_int8.tflite'
    assert lines[1].startswith('erfnet_camvid11_litert_int8.tflite: mIoU on ')
    assert quantised.stat().st_size < floating.stat().st_size / 2
    predictor, expected = Predictor(quantised, threads=1), Predictor(floating, threads=1)
    assert set(predictor.metadata['int8']) >= {'fp32', 'int8', 'calibration_images'}
    # A picture in float32 and logits in float32, as without int8.
    frame = street()
    logits = predictor._backend.logits(frame)
    assert (logits.dtype, logits.shape) == (np.float32, (11, 72, 96))
    assert (predictor.predict(frame) == expected.predict(frame)).mean() > 0.7
    assert len(np.unique(logits)) > 256


@pytest.mark.formats
def test_frames_as_they_are_and_binary_heads(tmp_path):
    for package in fixed.PACKAGES['ncnn']:
        pytest.importorskip(package)
    cfg = without_resize(config('erfnet_camvid11', **BINARY))
    (path,) = exporter.export(cfg, None, tmp_path, ('ncnn',), size=(72, 96), report=lambda line: None)
    predictor = Predictor(path, threads=1)
    assert set(np.unique(predictor.predict(street()))) <= {0, 1}
    with pytest.raises(DataError, match='only takes frames of 72x96'):
        predictor.predict(street(80, 96))
