"""What `export` writes, and that a model which differs from PyTorch is not written."""

import hashlib
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers.small_models import BINARY, RESIZE, SCALE, checkpoint, config, exported, without_resize, workshop
from mmseg.apis import inference_model

from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.errors import DataError, StorageError, UsageError
from mmseg_erfnet.files import locked
from mmseg_erfnet.models.building import load_segmentor

onnx = pytest.importorskip('onnx')
openvino = pytest.importorskip('openvino')
pytest.importorskip('onnxruntime')
export = pytest.importorskip('mmseg_erfnet.export.exporter')
parity = pytest.importorskip('mmseg_erfnet.export.parity')
torch_predictor = pytest.importorskip('mmseg_erfnet.export.torch_backend').torch_predictor


def frames() -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted((workshop() / 'camvid/701_StillsRaw_full').iterdir())[:3]]


def test_files_are_whole_and_alone():
    assert sorted(path.name for path in exported().iterdir()) == [
        'erfnet_camvid11.bin',
        'erfnet_camvid11.onnx',
        'erfnet_camvid11.xml',
    ]


def test_graph_is_from_frames_to_labels_without_bn():
    model = onnx.load(exported() / 'erfnet_camvid11.onnx')
    onnx.checker.check_model(model)
    (first,), (last,) = model.graph.input, model.graph.output
    for value, dimensions in ((first, ['batch', 'height', 'width', 3]), (last, ['batch', 'height', 'width'])):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim] == dimensions
    kinds = {node.op_type for node in model.graph.node}
    # Stack traces would tell the paths of whoever exports.
    for file in exported().iterdir():
        assert str(ROOT).encode() not in file.read_bytes()
    assert 'ArgMax' in kinds
    assert not kinds & {'BatchNormalization', 'Dropout'}
    model = openvino.Core().read_model(exported() / 'erfnet_camvid11.xml')
    assert str(model.input(0).partial_shape) == '[?,?,?,3]'
    assert model.output(0).element_type == model.input(0).element_type == openvino.Type.u8


def test_metadata_travel_with_the_model():
    found = [Predictor(exported() / f'erfnet_camvid11{suffix}').metadata for suffix in ('.onnx', '.xml')]
    # Each format's files have a checksum of their own.
    assert found[0].pop('checksum') != found[1].pop('checksum')
    assert found[0] == found[1]
    metadata = found[0]
    assert metadata['classes'][:2] == ['Sky', 'Building']
    assert metadata['palette'][0] == [128, 128, 128]
    assert metadata['checkpoint_sha256'] == hashlib.sha256(checkpoint('erfnet_camvid11').read_bytes()).hexdigest()
    assert metadata['config'] == 'erfnet_camvid11.py'
    assert 'mmseg_erfnet.ERFNet' in metadata['config_text']
    assert metadata['versions']['torch'] == torch.__version__
    assert metadata['resize'] == dict(height=72, width=96, keep_ratio=True)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_labels_are_those_of_mmseg(suffix):
    cfg = config('erfnet_camvid11', **{SCALE: (96, 72), 'test_pipeline.1.scale': (96, 72)})
    segmentor = load_segmentor(cfg, checkpoint('erfnet_camvid11'))
    predictor = Predictor(exported() / f'erfnet_camvid11{suffix}')
    # Photos keep their proportions; 61x77, a portrait and a panorama need padding inside.
    for frame in (*frames(), *(frames()[0][:height, :width] for height, width in ((61, 77), (96, 59), (17, 128)))):
        expected = inference_model(segmentor, np.ascontiguousarray(frame)).pred_sem_seg.data[0].numpy()
        labels = predictor.predict(frame)
        assert labels.dtype == np.uint8
        assert labels.shape == frame.shape[:2]
        assert (labels == expected).mean() > 0.995
    batch = predictor.predict_batch(frames())
    assert np.array_equal(batch, np.stack([predictor.predict(frame) for frame in frames()]))


def test_a_strip_keeps_one_row():
    """Its proportions would leave none."""
    frame = np.full((1, 400, 3), 128, np.uint8)
    for suffix in ('.onnx', '.xml'):
        assert Predictor(exported() / f'erfnet_camvid11{suffix}').predict(frame).shape == (1, 400)


def test_frames_of_the_networks_size_are_not_resized():
    """Nor are their logits: OpenVINO then computes what `export` traced for them."""
    onnx_model, openvino_model = (Predictor(exported() / f'erfnet_camvid11{suffix}') for suffix in ('.onnx', '.xml'))
    for size, resizes in (((72, 96), False), ((96, 128), True)):
        frame = cv2.resize(frames()[0], size[::-1])
        labels = openvino_model.predict(frame)
        assert (labels == onnx_model.predict(frame)).mean() > 0.999
        layers = openvino_model._backend._compiled[1, *size, 3].get_runtime_model().get_ops()
        assert any(layer.get_rt_info()['layerType'].astype(str) == 'Interpolate' for layer in layers) == resizes


@pytest.mark.slow
def test_any_size_is_padded(tmp_path):
    cfg = without_resize(config('erfnet_camvid11'))
    (path,) = export.export(cfg, checkpoint('erfnet_camvid11'), tmp_path, ('openvino',), report=lambda line: None)
    segmentor = load_segmentor(cfg, checkpoint('erfnet_camvid11'))
    segmentor.data_preprocessor.test_cfg = dict(size_divisor=8)
    segmentor.cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
    predictor = Predictor(path, precision='f32')
    for height, width in ((96, 128), (93, 61), (7, 9)):
        frame = np.ascontiguousarray(frames()[0][:height, :width])
        expected = inference_model(segmentor, frame).pred_sem_seg.data[0].numpy()
        assert (predictor.predict(frame) == expected).mean() > 0.999


@pytest.mark.slow
def test_size_and_batch_can_be_fixed_and_probabilities_asked_for(tmp_path):
    cfg = without_resize(config('erfnet_camvid11'))
    lines = []
    files = export.export(
        cfg,
        checkpoint('erfnet_camvid11'),
        tmp_path / 'out',
        ('onnx', 'openvino'),
        'probabilities',
        size=(40, 52),
        batch=1,
        report=lines.append,
    )
    assert [path.name for path in files] == ['erfnet_camvid11.onnx', 'erfnet_camvid11.xml']
    assert len(lines) == 2
    for path in files:
        predictor = Predictor(path)
        found = predictor.predict_batch([frame[:40, :52] for frame in frames()])
        assert found.shape == (3, 11, 40, 52)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        with pytest.raises(DataError, match='only takes frames of 40x52: got 96x128'):
            predictor.predict(frames()[0])


@pytest.mark.slow
def test_a_model_that_differs_is_not_kept(tmp_path, monkeypatch):
    def broken(graph, size=None, batch=None, _right=export.to_onnx):
        # Half a grey level, as a mean forgotten or rounded would be: hardly a label changes.
        graph.mean += 0.5
        return _right(graph, size, batch)

    monkeypatch.setattr(export, 'to_onnx', broken)
    with pytest.raises(export.ParityError, match=r'erfnet_camvid11.onnx differs from PyTorch .* logits by up to'):
        export.export(
            without_resize(config('erfnet_camvid11')), checkpoint('erfnet_camvid11'), tmp_path / 'out', size=(40, 52)
        )
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(formats=('tensorrt',)), 'tensorrt'),
        (dict(output='colours'), 'colours'),
        (dict(size=(0, 4)), '1 or more'),
        (dict(int8=True, output='logits'), 'int8 needs the output labels'),
        (dict(int8=True, formats=('openvino',), max_drop=float('nan')), 'from 0 to 100: got nan'),
        (dict(scale=0.01), 'factor from'),
    ],
)
def test_what_is_asked_for_is_checked(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        export.export(config('erfnet_camvid11'), None, tmp_path / 'out', **arguments)
    assert not (tmp_path / 'out').exists()


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'nncf', None)
    monkeypatch.delitem(sys.modules, 'mmseg_erfnet.export.quantize', raising=False)
    with pytest.raises(UsageError, match=r'needs nncf, which is not installed: pip install "mmseg_erfnet\[export\]"'):
        export.export(config('erfnet_camvid11'), None, tmp_path, ('openvino',), int8=True)


def test_a_nan_passes_no_gate(tmp_path, monkeypatch):
    """Neither one in what was exported nor one in the weights themselves."""
    found = parity.Difference()
    for value in (0.0, float('nan'), 0.0):
        found.add_logits(np.full((1, 2, 2), value), np.zeros((1, 2, 2)), own=True)
    with pytest.raises(export.ParityError, match='logits by up to nan'):
        found.check('x.onnx')
    found = parity.Difference(logits=[0.0])
    found.add_labels(np.array([[0.0, float('nan')]]), own=True)
    with pytest.raises(export.ParityError, match='on 1 of 2 pixels'):
        found.check('x.onnx')
    segmentor = load_segmentor(config('erfnet_camvid11'), checkpoint('erfnet_camvid11'))
    segmentor.decode_head.conv_seg.bias.data[3] = float('nan')
    monkeypatch.setattr(export, 'load_segmentor', lambda *arguments: segmentor)
    with pytest.raises(export.ParityError, match='NaN or infinite logits in PyTorch'):
        export.export(config('erfnet_camvid11', **{SCALE: (96, 72)}), None, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_labels_may_differ_at_ties_alone():
    found = parity.Difference(logits=[0.0])
    found.add_labels(np.array([[0.0, 1e-3], [0.0, 0.0]]), own=True)
    assert found.check('x.onnx') == 'logits within 0.0e+00 of PyTorch, labels equal on 75.000 % of 4 pixels'
    found.add_labels(np.array([[0.1]]), own=True)
    with pytest.raises(export.ParityError, match='on 1 of 5 pixels'):
        found.check('x.onnx')


@pytest.mark.slow
@pytest.mark.parametrize('keep_ratio', [False, True])
def test_a_scale_is_inside_the_model(keep_ratio, tmp_path):
    cfg = config('erfnet_camvid11', **{RESIZE: dict(type='Resize', scale=(96, 72), keep_ratio=keep_ratio)})
    weights = checkpoint('erfnet_camvid11')
    (path,) = export.export(cfg, weights, tmp_path, ('openvino',), scale=1.5, report=lambda line: None)
    predictor = Predictor(path, threads=1)
    assert predictor.metadata['scale'] == 1.5
    assert predictor.metadata['resize'] == dict(height=104, width=144, keep_ratio=keep_ratio)
    larger = config('erfnet_camvid11', **{RESIZE: dict(type='Resize', scale=(144, 104), keep_ratio=keep_ratio)})
    frame = frames()[0]
    for other in (torch_predictor(larger, weights), torch_predictor(cfg, weights, scale=1.5)):
        assert (predictor.predict(frame) == other.predict(frame)).mean() > 0.995


@pytest.mark.slow
def test_any_frame_is_scaled_where_there_is_no_resize(tmp_path):
    cfg, weights = without_resize(config('erfnet_camvid11')), checkpoint('erfnet_camvid11')
    (path,) = export.export(cfg, weights, tmp_path, scale=1.25, report=lambda line: None)
    predictor = Predictor(path, threads=1)
    assert predictor.metadata['resize'] is None
    other = torch_predictor(cfg, weights, scale=1.25)
    for height, width in ((96, 128), (64, 61)):
        frame = np.ascontiguousarray(frames()[0][:height, :width])
        assert (predictor.predict(frame) == other.predict(frame)).mean() > 0.995


@pytest.mark.slow  # exports three models
def test_a_binary_head_is_exported_as_mmseg_decides(tmp_path):
    cfg = config('erfnet_camvid11', **BINARY, **{SCALE: (96, 72)})
    for output in ('labels', 'probabilities'):
        (path,) = export.export(cfg, None, tmp_path / output, ('onnx',), output, report=lambda line: None)
        found = Predictor(path, threads=1).predict(frames()[0])
        assert found.shape == ((96, 128) if output == 'labels' else (1, 96, 128))
        assert found.min() >= 0
        assert found.max() <= 1


def test_weight_standardisation_runs_in_channels_last():
    for kind in ('ConvWS', 'ConvAWS'):
        predictor = torch_predictor(
            config('erfnet_camvid11', **{'model.backbone.conv_cfg': dict(type=kind), SCALE: (96, 72)}), None
        )
        assert predictor.predict(frames()[0]).shape == (96, 128)


@pytest.mark.slow  # exports two models
def test_a_kill_between_two_files_leaves_no_pair_that_loads(tmp_path, monkeypatch):
    out = tmp_path / 'out'
    cfg = config('erfnet_camvid11', **{SCALE: (96, 72)})
    export.export(cfg, checkpoint('erfnet_camvid11'), out, ('openvino',), report=lambda line: None)
    replace, moved = os.replace, []

    def killed(source, target):
        moved.append(target)
        if Path(target) == out / 'erfnet_camvid11.xml':
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        # Weights of another initialisation.
        export.export(cfg, None, out, ('openvino',), report=lambda line: None)
    assert any(str(target).endswith('erfnet_camvid11.bin') for target in moved)
    with pytest.raises(UsageError, match='are from different exports'):
        Predictor(out / 'erfnet_camvid11.xml')
    assert sorted(path.name for path in out.iterdir()) == ['erfnet_camvid11.bin', 'erfnet_camvid11.xml']


@pytest.mark.parametrize('name', ['erfnet_camvid11.xml', 'erfnet_camvid11.bin'])
def test_files_of_others_are_not_replaced(name, tmp_path):
    (tmp_path / name).write_bytes(b'a model of the user')
    with pytest.raises(UsageError, match=rf'{name} exists, and is not a result .*; choose another --out'):
        export.export(config('erfnet_camvid11'), checkpoint('erfnet_camvid11'), tmp_path, ('openvino',))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'a model of the user']
    for path in exported().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    export._check_targets([tmp_path / 'erfnet_camvid11.xml'], [])


@pytest.mark.parametrize('name', ['net.onnx', 'net_int8.bin'])
def test_a_release_replaces_no_files_of_others(name, tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'export', lambda *arguments, **options: pytest.fail('it was exported'))
    (tmp_path / name).write_bytes(b'a model of the user')
    with pytest.raises(UsageError, match=rf'{name} exists, and is not a result'):
        export.export_release(config('erfnet_camvid11'), str(tmp_path / 'net.pth'), tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'a model of the user']


def test_a_release_replaces_an_earlier_one(tmp_path):
    cfg, weights = config('erfnet_camvid11'), str(tmp_path / 'net.pth')
    for suffix, kind in (('.onnx', '.onnx'), ('_int8.xml', '.xml'), ('_int8.bin', '.bin')):
        (tmp_path / f'net{suffix}').write_bytes((exported() / f'erfnet_camvid11{kind}').read_bytes())
    assert [path.name for path in export.check_release(cfg, weights, tmp_path)] == ['net_int8.xml', 'net.onnx']
    cfg.train_dataloader = None
    with pytest.raises(UsageError, match='has no train_dataloader'):
        export.check_release(cfg, weights, tmp_path)


def test_one_export_at_a_time_and_what_a_killed_one_left_is_removed(tmp_path):
    left = tmp_path / '.unfinished-abcdefgh' / 'erfnet_camvid11.bin'
    left.parent.mkdir()
    left.touch()
    with locked(tmp_path, ''), pytest.raises(UsageError, match=r'Another export is writing into .*: wait for it'):
        export.export(config('erfnet_camvid11'), checkpoint('erfnet_camvid11'), tmp_path)
    assert left.exists()
    with export._unfinished(tmp_path) as folder:
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match=r'file/out cannot be written'):
        export.export(config('erfnet_camvid11'), None, tmp_path / 'file' / 'out')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['erfnet_camvid11_train', 'erfnet_camvid11_trainval'])
def test_the_shipped_weights_pass_without_their_data(name, tmp_path):
    cfg = load_config(
        str(ROOT / 'configs/erfnet_camvid11.py'), options={'test_dataloader.dataset.data_root': str(tmp_path / 'none')}
    )
    (path,) = export.export(cfg, str(ROOT / f'weights/{name}.pth'), tmp_path / 'out', ('openvino',))
    assert Predictor(path).classes[3] == 'Road'


def test_frames_are_synthetic_where_there_are_no_data(tmp_path):
    cfg = config('erfnet_camvid11', **{'test_dataloader.dataset.data_root': str(tmp_path)})
    frames = export.sample_frames(cfg, 2)
    assert [frame.shape for frame in frames] == [(360, 480, 3)] * 2
