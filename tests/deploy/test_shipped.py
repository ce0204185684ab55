"""The model that comes with the package is found in the wheel and beside the clone, and is that of the checkpoint."""

import hashlib

import pytest
from conftest import ROOT

from mmseg_erfnet import configs
from mmseg_erfnet.deploy import Predictor, shipped
from mmseg_erfnet.errors import UsageError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package folder, and what is installed: OpenVINO and ONNX Runtime."""
    installed = ['openvino', 'onnxruntime']
    monkeypatch.setattr(configs, 'PACKAGE', tmp_path / 'mmseg_erfnet')
    monkeypatch.setattr(shipped.importlib.util, 'find_spec', lambda name: name in installed or None)
    return tmp_path, installed


def put(folder):
    folder.mkdir(parents=True)
    for name in shipped.FILES.values():
        (folder / name).touch()
    return folder


@pytest.mark.parametrize('place', ['weights', 'mmseg_erfnet/weights'])
def test_by_what_is_installed(package, place):
    root, installed = package
    folder = put(root / place)
    assert shipped.default_model() == folder / 'erfnet_camvid11_trainval_int8.xml'
    installed.remove('openvino')
    assert shipped.default_model() == folder / 'erfnet_camvid11_trainval.onnx'
    installed.clear()
    with pytest.raises(UsageError, match='needs OpenVINO or ONNX Runtime: pip install openvino'):
        shipped.default_model()


def test_it_is_not_there(package):
    with pytest.raises(UsageError, match=r'int8\.xml or .* is not in .*: install the package again, or name a model'):
        shipped.default_model()


@pytest.mark.parametrize('name', shipped.FILES.values())
def test_it_is_the_published_checkpoint_and_keeps_proportions(name):
    about = Predictor(ROOT / 'weights' / name, threads=1).metadata
    published = (ROOT / 'weights' / f'{shipped.DEFAULT}.pth').read_bytes()
    assert about['checkpoint_sha256'] == hashlib.sha256(published).hexdigest()
    assert about['resize'] == dict(height=360, width=480, keep_ratio=True)
