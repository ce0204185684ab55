"""The programs of docs/deploy: they compile, run, and give Python's labels."""

import ctypes
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from helpers.small_models import exported

from mmseg_erfnet.deploy import Predictor, fixed

openvino = pytest.importorskip('openvino')
CPP = ROOT / 'docs' / 'deploy' / 'cpp'


@pytest.mark.slow
def test_the_cpp_program_gives_the_same_labels(tmp_path):
    for tool in ('cmake', 'g++'):
        if shutil.which(tool) is None:
            pytest.skip(f'no {tool} found')
    cmake = Path(openvino.__file__).parent / 'cmake'
    if not cmake.is_dir():
        pytest.skip('this OpenVINO came without its CMake files')
    build = tmp_path / 'build'
    configure = ['cmake', '-S', CPP, '-B', build, f'-DOpenVINO_DIR={cmake}', '-DCMAKE_BUILD_TYPE=Release']
    for command in (configure, ['cmake', '--build', build]):
        subprocess.run(command, check=True, capture_output=True)
    frame = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    model, picture, labels = exported() / 'erfnet_camvid11.xml', tmp_path / 'frame.ppm', tmp_path / 'labels.pgm'
    cv2.imwrite(str(picture), frame)
    program = build / 'segment'
    done = subprocess.run([program, model, picture, labels], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('56x40 in ')
    expected = Predictor(model, threads=1).predict(frame)
    assert (cv2.imread(str(labels), cv2.IMREAD_UNCHANGED) == expected).mean() > 0.999
    done = subprocess.run([program, model, labels, labels], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ')


@pytest.mark.parametrize('keep_ratio', [False, True])
@pytest.mark.parametrize('size', [(72, 96), (90, 160), (40, 61), (30, 20)])
def test_the_native_part_for_android_does_what_python_does(size, keep_ratio, library):
    """Around a network that is a function of its picture."""
    weights = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)

    class Backend(fixed.LiteRT):
        def _open(self, path, contents, threads):
            self.pictures = []

        def _logits(self, picture):
            self.pictures.append(picture)
            return np.einsum('kc,chw->khw', weights, picture)

    resize = dict(height=72, width=96, keep_ratio=keep_ratio)
    about = dict(picture=[72, 96], fill=[104.0, 117.0, 123.5], threshold=None, resize=resize)
    backend = Backend(Path('model.tflite'), contents={'.json': json.dumps(about).encode()})
    # Smooth, as pictures are.
    frame = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), size[::-1])
    expected = backend.run(frame[None])[0]
    picture = np.empty((3, 72, 96), np.float32)
    fill = np.array(about['fill'], np.float32)
    library.frame_to_picture(pointer(frame), *size, pointer(picture), 72, 96, pointer(fill), keep_ratio)
    assert np.abs(picture - backend.pictures[0]).max() <= 1
    logits, labels = np.ascontiguousarray(backend._logits(picture)), np.empty(size, np.uint8)
    library.logits_to_labels(pointer(logits), 5, 72, 96, pointer(labels), *size, keep_ratio)
    assert (labels == expected).mean() > 0.98


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    if shutil.which('g++') is None:
        pytest.skip('no g++ found')
    target = tmp_path_factory.mktemp('native') / 'libsegment.so'
    source = ROOT / 'docs/deploy/android/segment.cpp'
    subprocess.run(
        ['g++', '-std=c++17', '-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', source, '-o', target],
        check=True,
    )
    return ctypes.CDLL(str(target))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
