"""The runtime: what it imports, what it takes, what it says of bad input."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.small_models import exported

from mmseg_erfnet.deploy import Predictor, backends
from mmseg_erfnet.deploy.overlap import side_by_side
from mmseg_erfnet.errors import DataError, UsageError

openvino = pytest.importorskip('openvino')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

FORMATS = pytest.mark.parametrize('suffix', ['.onnx', '.xml'])


def frame(height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def model(suffix: str = '.xml') -> str:
    return str(exported() / f'erfnet_camvid11{suffix}')


@FORMATS
def test_neither_torch_nor_openmmlab_is_imported(suffix):
    program = """
import sys
import numpy as np
from mmseg_erfnet.deploy import Predictor
predictor = Predictor(sys.argv[1], threads=1)
frame = np.zeros((40, 56, 3), np.uint8)
labels = predictor.predict(frame)
predictor.paint(frame, labels)
heavy = {'torch', 'mmengine', 'mmcv', 'mmseg', 'onnx', 'nncf', 'matplotlib'} & set(sys.modules)
other = {'openvino', 'onnxruntime'} & set(sys.modules)
print(labels.shape, sorted(heavy), sorted(other))
"""
    found = subprocess.run([sys.executable, '-c', program, model(suffix)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f'(40, 56) [] {["onnxruntime" if suffix == ".onnx" else "openvino"]}'


BAD = [
    (np.zeros((40, 56), np.uint8), 'grey.*COLOR_GRAY2BGR'),
    (np.zeros((40, 56, 1), np.uint8), 'grey.*COLOR_GRAY2BGR'),
    (np.zeros((40, 56, 4), np.uint8), 'four channels.*COLOR_BGRA2BGR'),
    (np.zeros((3, 40, 56), np.uint8), r'shape \(3, 40, 56\)'),
    (np.zeros((2, 40, 56, 3), np.uint8), 'predict_batch'),
    (np.zeros((0, 56, 3), np.uint8), 'empty'),
    (np.zeros((40, 56, 3), np.float32), 'uint8 from 0 to 255: got float32'),
    ([[[0, 0, 0]]], 'NumPy array.*list'),
    (None, 'NoneType'),
]


@pytest.mark.parametrize(('bad', 'message'), BAD)
def test_what_is_no_frame_is_named(bad, message):
    predictor = Predictor.of('any', None, dict(classes=[], palette=[], output='labels', size=None, batch=None))
    with pytest.raises(DataError, match=message):
        predictor.predict(bad)


def test_batches_are_of_one_size():
    predictor = Predictor.of('any', None, dict(classes=[], palette=[], output='labels', size=None, batch=None))
    with pytest.raises(DataError, match='40x56, 41x56'):
        predictor.predict_batch([frame(40), frame(41)])
    with pytest.raises(DataError, match='no frames'):
        predictor.predict_batch([])


@FORMATS
def test_strided_frames_are_taken(suffix):
    predictor = Predictor(model(suffix), threads=1)
    mirrored = frame()[:, ::-1]
    assert np.array_equal(predictor.predict(mirrored), predictor.predict(mirrored.copy()))


@FORMATS
def test_threads_share_a_model(suffix):
    predictor = Predictor(model(suffix), threads=1)
    # More sizes than models are compiled for.
    frames = [frame(40 + 8 * (seed % 6), 56, seed) for seed in range(24)]
    expected = [Predictor(model(suffix)).predict(one) for one in frames[:6]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predictor.predict, frames))
    assert all(map(np.array_equal, found[:6], expected))
    for one, labels in zip(frames, found, strict=True):
        assert np.array_equal(labels, predictor.predict(one))


@FORMATS
def test_frames_side_by_side_get_the_same_labels(suffix, monkeypatch):
    one, many = (Predictor(model(suffix), threads=3, side_by_side=together) for together in (False, True))
    assert (one.parallel, many.parallel) == (1, 3 if suffix == '.xml' else 1)
    frames = [frame(40 + 8 * (seed % 3), 56, seed) for seed in range(12)]
    for large in (backends.LARGE_PIXELS, 48 * 56):  # two sizes then run one at a time
        monkeypatch.setattr(backends, 'LARGE_PIXELS', large)
        for item, labels in side_by_side(many.predict, frames, many.parallel):
            assert np.array_equal(labels, one.predict(item))


@pytest.mark.parametrize('released', ['the elder first', 'in another thread'])
def test_a_signal_is_handled_after_models_are_gone(released):
    """In a process of its own, which what goes wrong ends without a word."""
    program = """
import gc, signal, sys, threading
import numpy as np
from mmseg_erfnet.deploy import Predictor
models = [Predictor(sys.argv[1]), Predictor(sys.argv[1])]
[one.predict(np.zeros((40, 56, 3), np.uint8)) for one in models]
def release():
    while models:
        models.pop(0)
        gc.collect()
if sys.argv[2] == 'in another thread':
    thread = threading.Thread(target=release)
    thread.start()
    thread.join()
else:
    release()
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
signal.raise_signal(signal.SIGUSR1)
"""
    found = subprocess.run(
        [sys.executable, '-c', program, model('.xml'), released], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.strip()) == (0, 'handled')


def test_painting_names_the_classes_below():
    predictor = Predictor(model('.onnx'))
    picture, labels = frame(80, 200), np.zeros((80, 200), np.uint8)
    labels[:40] = 3
    painted = predictor.paint(picture, labels, opacity=1)
    assert painted.shape[0] > 80
    assert painted.shape[1:] == (200, 3)
    assert painted[0, 0].tolist() == predictor.palette[3][::-1]
    assert painted[79, 0].tolist() == predictor.palette[0][::-1]
    assert np.array_equal(predictor.paint(picture, labels, opacity=0, legend=False), picture)
    with pytest.raises(DataError, match=r'a uint8 array of shape \(80, 200\): got int64 \(80, 200\)'):
        predictor.paint(picture, labels.astype(np.int64))


def test_models_that_cannot_be_run_are_named(tmp_path):
    for name, content, message in (
        ('model.pth', b'', 'is not an exported model'),
        ('model.onnx', b'junk', 'cannot read'),
        ('model.xml', b'junk', 'needs model.bin next to it'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=message):
            Predictor(tmp_path / name)
    (tmp_path / 'model.bin').write_bytes(b'')
    os.mkfifo(tmp_path / 'pipe.onnx')
    with pytest.raises(UsageError, match='There is no model'):
        Predictor(tmp_path / 'pipe.onnx')
    with pytest.raises(UsageError, match='OpenVINO cannot read'):
        Predictor(tmp_path / 'model.xml')
    with pytest.raises(UsageError, match='There is no model'):
        Predictor(tmp_path / 'other.onnx')
    foreign = onnx.load(model('.onnx'))
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / 'foreign.onnx')
    with pytest.raises(UsageError, match=r'was not written by tools/export.py'):
        Predictor(tmp_path / 'foreign.onnx')
    onnx.helper.set_model_props(foreign, {'mmseg_erfnet': '{}'})
    onnx.save(foreign, tmp_path / 'foreign.onnx')
    with pytest.raises(UsageError, match='has no checksum'):
        Predictor(tmp_path / 'foreign.onnx')
    content = (tmp_path / 'foreign.onnx').read_bytes()
    (tmp_path / 'foreign.onnx').write_bytes(content.replace(b'{}', b'\xff\xfe'))
    with pytest.raises(UsageError, match=r'was not written by|cannot read'):
        Predictor(tmp_path / 'foreign.onnx')


@pytest.mark.parametrize(
    ('suffix', 'options', 'message'),
    [
        ('.xml', dict(device='NPU.7'), 'no device NPU.7'),
        ('.onnx', dict(device='TPU'), 'no device TPU'),
        ('.xml', dict(precision='f8'), 'f32 or bf16: got f8'),
        ('.onnx', dict(precision='bf16'), 'only in f32'),
        ('.xml', dict(threads=0), '1 or more'),
    ],
)
def test_options_are_checked(suffix, options, message):
    with pytest.raises(UsageError, match=message):
        Predictor(model(suffix), **options)


def test_frames_that_openvino_cannot_address_are_refused(monkeypatch):
    """With 11 classes in float32, 400x560 is the limit here. Beyond 2^31 bytes the process would end by a signal."""
    monkeypatch.setattr(backends, 'LARGE_PIXELS', 1)
    monkeypatch.setattr(backends, 'OPENVINO_LIMIT', 4 * 11 * 400 * 560 + 1)
    predictor = Predictor(model())
    assert predictor.predict(frame(400, 560)).shape == (400, 560)
    with pytest.raises(DataError, match=r'561x400 is too large for this model in OpenVINO.*: shrink the image'):
        predictor.predict(frame(400, 561))
