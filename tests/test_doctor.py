"""A dozen broken set-ups: each is found and reported with its remedy."""

import importlib.metadata
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import ROOT
from helpers.tools import start_tool

from mmseg_erfnet import doctor


@pytest.fixture
def data(synthetic_camvid, tmp_path):
    """A copy of the synthetic frames, to be broken."""
    return shutil.copytree(synthetic_camvid, tmp_path / 'camvid')


def problems(data=None, config: str = 'erfnet_camvid', **options) -> list[str]:
    options = {key.replace('__', '.'): value for key, value in options.items()}
    for part in ('train', 'test') if config.endswith('trainval') else ('train', 'val', 'test'):
        options.setdefault(f'{part}_dataloader.dataset.data_root', str(data))
    path = str(ROOT / 'configs' / f'{config}.py')
    return [str(finding) for finding in doctor.examine(path, options) if finding.remedy]


def the_problem(*args, **options) -> str:
    found = problems(*args, **options)
    assert len(found) == 1, found
    return found[0]


def test_nothing_is_wrong(data):
    assert problems(data) == []
    assert problems(data, 'erfnet_camvid11') == []
    assert problems(data, 'erfnet_camvid11_trainval') == [], 'a config without validation'


def test_missing_folder(tmp_path):
    found = problems(tmp_path / 'nowhere')
    assert any('nowhere' in line and 'tools/prepare_camvid.py' in line for line in found)


def test_missing_split(data):
    (data / 'splits' / 'val.txt').unlink()
    assert 'val.txt' in problems(data)[0]


def test_empty_split(data):
    (data / 'splits' / 'train.txt').write_text('')
    assert 'train.txt is empty; write one name per line' in the_problem(data)


def test_split_that_names_a_missing_frame(data):
    with (data / 'splits' / 'train.txt').open('a') as file:
        file.write('nobody_knows\n')
    assert 'nobody_knows.png is missing' in the_problem(data)


def test_leak_between_splits(data):
    shutil.copy(data / 'splits' / 'train.txt', data / 'splits' / 'val.txt')
    assert 'in the training and in the validation split' in the_problem(data)


def test_leak_of_what_is_scored(data):
    shutil.copy(data / 'splits' / 'val.txt', data / 'splits' / 'test.txt')
    assert 'are in the training and in the test split' in the_problem(data, 'erfnet_camvid11_trainval')


def test_truncated_label(data):
    label = min((data / 'LabeledApproved_full').iterdir())
    label.write_bytes(label.read_bytes()[:100])
    found = problems(data)
    assert found
    assert all(f'{label.name} is truncated' in line for line in found)


def test_colour_outside_the_palette(data):
    label = min((data / 'LabeledApproved_full').iterdir())
    pixels = cv2.imread(str(label))
    pixels[0, 0] = (1, 2, 3)
    cv2.imwrite(str(label), pixels)
    assert 'RGB (3, 2, 1) (1 pixel' in problems(data)[0]


def test_label_of_another_size(data):
    label = min((data / 'LabeledApproved_full').iterdir())
    cv2.imwrite(str(label), cv2.imread(str(label))[:-8])
    assert 'frame and label must have the same size' in problems(data)[0]


def test_nothing_but_ignored_pixels(data):
    label = min((data / 'LabeledApproved_full').iterdir())
    cv2.imwrite(str(label), np.zeros_like(cv2.imread(str(label))))
    found = the_problem(data, 'erfnet_camvid11')
    assert 'nothing but ignored pixels' in found
    assert 'check the label map' in found


def test_head_of_another_number_of_classes(data):
    found = problems(data, model__decode_head__num_classes=30)
    assert any(
        'has 32 classes, but model.decode_head has num_classes=30; set model.decode_head.num_classes=32' in line
        for line in found
    )
    assert any('32 weights for 30 classes' in line for line in found)


def test_stock_backbone_by_mistake(data):
    found = the_problem(data, model__backbone__type='ERFNet')
    assert "write type='mmseg_erfnet.ERFNet'" in found


def test_wrong_argument_of_the_model(data):
    found = the_problem(data, model__backbone__enc_stage_non_bottlenecks=(5, 7))
    assert 'enc_stage_non_bottlenecks must be a multiple' in found


def test_pipeline_that_does_not_fit(data):
    label, batch = problems(data, train_dataloader__dataset__pipeline=[dict(type='LoadImageFromFile')])
    assert 'has no label; load labels in its pipeline' in label
    assert 'train_dataloader.dataset packs no inputs and data_samples for the model; end it with' in batch


def test_config_that_is_not_there():
    (found,) = [str(finding) for finding in doctor.examine('nowhere.py') if finding.remedy]
    assert found.startswith('PROBLEM config: There is no config nowhere.py')


def test_config_with_a_mistake_in_it(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('model = dict(\n')
    (found,) = [str(finding) for finding in doctor.examine(str(path)) if finding.remedy]
    assert found.endswith("config.py cannot be read (SyntaxError: '(' was never closed (line 1)); correct it")


@pytest.mark.parametrize(
    ('installed', 'words'),
    [
        (['onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'mmcv'], 'of two families'),
        (['onedl-mmengine', 'onedl-mmcv'], 'onedl-mmsegmentation missing; pip install "mmseg_erfnet[onedl]"'),
        (['mmengine', 'mmsegmentation'], 'mmcv missing; pip install "mmseg_erfnet[openmmlab]"'),
        ([], 'neither mmengine nor mmcv nor mmsegmentation is installed'),
    ],
)
def test_families(installed, words, monkeypatch):
    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return '1.0'

    monkeypatch.setattr(importlib.metadata, 'version', version)
    findings = list(doctor.examine())
    assert words in str(findings[-1])
    assert findings[-1].remedy


def test_package_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    finding = list(doctor.examine())[-1]
    assert 'mmcv: cannot be imported' in str(finding)
    assert finding.remedy


def test_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, 'version_info', (3, 10, 0))
    assert 'use Python 3.11 or newer' in str(next(doctor.examine()))


def test_full_disk(data, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=2**20))
    assert 'free some space' in the_problem(data)


def test_tool_ends_with_1_if_anything_is_wrong(tmp_path):
    result = start_tool('doctor', 'nowhere.py', cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout.endswith('1 problem.\n')
    assert 'PROBLEM config: There is no config nowhere.py' in result.stdout
    assert 'OneDL' not in result.stdout + result.stderr


def findings(data, config: str = 'erfnet_camvid', **options) -> list[str]:
    path = str(ROOT / 'configs' / f'{config}.py')
    return [str(finding) for finding in doctor.examine(path, {'data_root': str(data), **options})]


def test_folder_that_each_split_reads(data):
    lines = findings(data)
    frames = data / '701_StillsRaw_full'
    assert any(f'train: 10 frames, 32 classes, from {frames} by {data}/splits/train.txt' in line for line in lines)
    assert any(f'val: 3 frames, 32 classes, from {frames} by {data}/splits/val.txt' in line for line in lines)


def test_test_pipeline_is_that_of_the_test_set(data):
    """The variable ``test_pipeline`` is not read: the check uses the pipeline of the split's dataset."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmseg_erfnet.LoadSegLabels', size=(48, 24))]
    lines = findings(data, **{'test_dataloader.dataset.pipeline': pipeline})
    assert any('test: 3 checked: frames of 128x96, labels of 48x24' in line for line in lines)


def test_masks_of_0_and_255(tmp_path):
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.jpg'), np.zeros((64, 64, 3), np.uint8))
        cv2.imwrite(str(tmp_path / 'masks' / f'{index}.png'), np.eye(64, dtype=np.uint8) * 255)
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=('ground', 'crack')),
        pipeline=load,
    )
    options = {f'{part}_dataloader.dataset': {**dataset, '_delete_': True} for part in ('train', 'val', 'test')}
    options['model.decode_head.num_classes'] = 2
    options['model.decode_head.loss_decode.class_weight'] = None
    path = str(ROOT / 'configs' / 'erfnet_camvid.py')
    wrong = [str(finding) for finding in doctor.examine(path, options) if finding.remedy]
    assert any('only 0 and 255' in line and line.endswith('; write crack as 1') for line in wrong), wrong


def test_overlap_that_is_allowed(data):
    shutil.copy(data / 'splits' / 'train.txt', data / 'splits' / 'val.txt')
    assert problems(data, allow_overlap=True) == []


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'train_dataloader.dataset.type': 'mmseg_erfnet.CamVidDatset'}, 'did you mean mmseg_erfnet.CamVidDataset?'),
        (
            {'train_dataloader.dataset.type': 'mmseg.BaseSegDataset'},
            'dataset.cache_gb is not an argument of BaseSegDataset',
        ),
        ({'train_dataloader.dataset.metainfo': dict(classes=['Unicorn'])}, 'is not a subset of classes'),
        ({'optim_wrapper.optimizer.type': 'Adamm'}, "optim_wrapper.optimizer.type is 'Adamm'"),
        ({'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': True}, 'has persistent_workers'),
        ({'train_dataloader.dataset.pipeline.3.degree': 999}, 'degree must lie within 0 and 180, got 999'),
    ],
)
def test_remedy_is_that_of_the_mistake(data, options, words):
    wrong = [line for line in findings(data, **options) if line.startswith('PROBLEM')]
    assert any(words in line for line in wrong), wrong
    assert not any('data_prefix' in line for line in wrong)


def test_shared_memory_that_is_too_small(data, monkeypatch):
    from mmseg_erfnet.engine import shared_memory

    monkeypatch.setattr(shared_memory, 'room', lambda: 1000)
    assert 'shared memory: /dev/shm has 0 MB free' in the_problem(data)
