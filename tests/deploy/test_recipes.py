"""The programs of docs/deploy: they compile, run, and give Python's labels."""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from helpers.small_models import exported

from mmseg_erfnet.deploy import Predictor

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
