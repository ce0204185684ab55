"""The config that is written: short, complete, fitted to the pictures, and never written over."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import exports
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_erfnet import configs
from mmseg_erfnet.datasets.preparation import check_config, config_path, prepare_dataset, write_config
from mmseg_erfnet.datasets.preparation.config import config_text, network_size
from mmseg_erfnet.datasets.statistics import class_weights, label_statistics
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.registry import DATASETS


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return prepare_dataset(exports.roboflow(tmp_path / 'export'), tmp_path / 'data/streets')


def test_the_config(prepared, tmp_path):
    path = config_path(prepared.out)
    assert path == Path('configs/streets.py')
    said = write_config(prepared, path)
    assert 'erfnet_camvid11_trainval.pth at 48x64 pixels' in said
    text = path.read_text()
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) <= 120
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    datasets = {}
    for part, number in (('train', 6), ('val', 2), ('test', 2)):
        datasets[part] = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
        assert len(datasets[part]) == number
        assert datasets[part][0]['inputs'].shape[0] == 3
    assert datasets['val'][0]['inputs'].shape == (3, 48, 64)
    assert Path(cfg.load_from).is_file()
    head = cfg.model.decode_head
    assert (cfg.model.data_preprocessor.size, head.num_classes) == ((48, 64), 5)
    measured = class_weights(label_statistics(datasets['train']).pixels)
    np.testing.assert_allclose(head.loss_decode.class_weight, measured, atol=5e-4)
    assert cfg.val_evaluator.class_weight == head.loss_decode.class_weight
    assert head.loss_decode.type == 'mmseg_erfnet.WeightedCrossEntropyLoss'


def test_a_config_that_is_there_stays(prepared):
    path = config_path(prepared.out)
    write_config(prepared, path)
    path.write_text(path.read_text() + '# mine\n')
    base = path.parent / '_base_/datasets/own.py'
    base.write_text(base.read_text() + '# mine\n')
    assert 'exists and was left unchanged' in write_config(prepared, config_path(prepared.out))
    assert path.read_text().endswith('# mine\n')
    assert base.read_text().endswith('# mine\n')
    path.write_text('model = dict()\n')
    with pytest.raises(UsageError, match=r'configs/streets\.py exists and was not written by prepare_dataset'):
        config_path(prepared.out)


def test_a_config_of_another_data_set(prepared):
    """`new/streets` does not get the config that trains on `data/streets`."""
    path = config_path(prepared.out)
    write_config(prepared, path)
    said = r"configs/streets\.py exists and trains on data/streets, not on new/streets; .* data_root = 'new/streets' in"
    with pytest.raises(UsageError, match=said):
        config_path(Path('new/streets'))
    with pytest.raises(UsageError, match=said):
        write_config(replace(prepared, out=Path('new/streets')), path)
    with pytest.raises(
        UsageError, match=r'streets\.py exists and is for 5 classes, but the data set has 2; .*move the'
    ):
        check_config(path, prepared.out, 2)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match=r'streets\.py cannot be read \(Is a directory\); choose another --out'):
        config_path(prepared.out)


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('data_root, size =', 'size ='),
        ("data_root, size = 'data/streets', (48, 64)", "data_root = './data/../data/streets'\nsize = [48, 64]"),
        ("'data/streets', (", "__import__('sys').exit('executed'), ("),
        ("'data/streets', (", "'{{ fileDirname }}/streets', ("),
        ('num_classes=5', 'num_classes=len(names)'),
        ('num_classes=5', 'num_classes=3'),  # a metainfo that names three of the five classes
        ('resize = ', 'resize = = '),
    ],
)
def test_an_edited_config_goes_on(prepared, old, new):
    path = config_path(prepared.out)
    write_config(prepared, path)
    edited = path.read_text().replace(old, new)
    assert new in edited
    path.write_text(edited)
    assert config_path(prepared.out) == path
    assert write_config(prepared, path).endswith('Next: mmseg-erfnet train configs/streets.py')
    assert path.read_text() == edited


def test_the_name_of_a_folder_cannot_end_the_first_line(prepared):
    text = config_text(replace(prepared, out=Path('data/a\nb\udcff')), 'data/streets', None)
    assert text.startswith(r'# a\nb\xff: 5 classes, 6 training frames. Written by prepare_dataset')


def test_without_weights(prepared, monkeypatch):
    monkeypatch.setattr(configs, 'PACKAGE', Path('nowhere'))
    assert configs.shipped_file('erfnet_camvid11_trainval.pth') is None
    text = config_text(prepared, 'data/streets', None)
    assert 'load_from = None  # the package contains no weights, so training starts from scratch' in text


def test_weights_of_clone_and_wheel(tmp_path, monkeypatch):
    assert configs.shipped_file('erfnet_camvid11_trainval.pth').name == 'erfnet_camvid11_trainval.pth'
    package = tmp_path / 'site/mmseg_erfnet'
    monkeypatch.setattr(configs, 'PACKAGE', package)
    for folder in (package.parent / 'weights', package / 'weights'):
        exports.put(folder / 'a.pth', b'x')
        assert configs.shipped_file('a.pth') == folder / 'a.pth'


@pytest.mark.parametrize(
    ('sizes', 'expected'),
    [
        ([(720, 960)], (360, 480)),
        ([(1080, 1920)], (360, 640)),
        ([(1024, 2048)], (320, 640)),
        ([(1920, 1080)], (640, 360)),
        ([(3000, 4000), (4000, 3000), (3000, 4000)], (360, 480)),
        ([(100, 130)], (96, 128)),
        ([(20, 20)], (32, 32)),
        ([(853, 1280)] * 9, (360, 544)),
    ],
)
def test_the_size_fits_the_pictures(sizes, expected):
    size = network_size(sizes)
    assert size == expected
    assert not any(side % 8 for side in size)
