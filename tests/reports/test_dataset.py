import shutil

import cv2
import numpy as np
import pytest
from helpers.browser import visit
from helpers.tools import run_tool
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_erfnet.datasets import CamVid11Dataset
from mmseg_erfnet.datasets.statistics import class_weights, label_statistics, median_frequency_weights
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.registry import DATASETS
from mmseg_erfnet.reports.dataset import augmentation_sheet, write_dataset_report

PICTURES = ['augmentations.jpg', 'distribution.png', 'images.png', 'pixels.png', 'samples.jpg', 'weights.png']


@pytest.fixture
def counted(synthetic_camvid):
    dataset = CamVid11Dataset(data_root=str(synthetic_camvid), ann_file='splits/train.txt', pipeline=[LoadSegLabels()])
    return label_statistics(dataset)


def test_weights_are_those_of_the_training_split_and_make_a_base(small_config, counted, tmp_path):
    classes, weights = write_dataset_report(small_config('erfnet_camvid11'), tmp_path / 'out', c=1.02)
    assert classes == counted.classes
    np.testing.assert_array_equal(weights['log'], class_weights(counted.pixels, 1.02))
    np.testing.assert_array_equal(weights['median'], median_frequency_weights(counted))
    assert '1 / ln(1.02 + p)' in (tmp_path / 'out' / 'class_weights_log.py').read_text()
    for kind, values in weights.items():
        config = tmp_path / f'{kind}.py'
        config.write_text(f"_base_ = ['out/class_weights_{kind}.py']\nweights = list(_base_.class_weights.values())\n")
        np.testing.assert_allclose(Config.fromfile(config).weights, values, rtol=1e-5)
        assert list(Config.fromfile(config).class_weights) == list(classes)


@pytest.mark.parametrize('name', ['report.html', 'samples.jpg', 'weights.png', 'class_weights_log.py'])
def test_files_of_others_are_not_replaced(name, small_config, tmp_path):
    (tmp_path / name).write_text('<!DOCTYPE html> of the user')
    with pytest.raises(UsageError, match=rf'{name} exists, and is not a result .*; choose another --out'):
        write_dataset_report(small_config('erfnet_camvid11'), tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['<!DOCTYPE html> of the user']


@pytest.mark.parametrize(('name', 'width'), [('erfnet_camvid', 390), ('erfnet_cityscapes', 1300)])
def test_opens_in_a_browser(name, width, small_config, tmp_path):
    write_dataset_report(small_config(name), tmp_path / 'out', samples=3, augmented=1, variants=2)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir() if path.suffix in ('.png', '.jpg')) == PICTURES
    found = visit(tmp_path / 'out' / 'report.html', tmp_path, width)
    assert found == (len(PICTURES), 0, found.overflow, [], [])
    assert found.overflow <= 0


def test_absent_classes_and_unreadable_splits_are_named(small_config, tmp_path, capsys):
    cfg = small_config('erfnet_camvid11')
    cfg.train_dataloader.dataset.indices = 1
    cfg.test_dataloader = dict(dataset=dict(cfg.val_dataloader.dataset, ann_file='splits/none.txt'))
    write_dataset_report(cfg, tmp_path, samples=1, augmented=1, variants=1)
    page = (tmp_path / 'report.html').read_text()
    assert 'Left out of the charts, because no training image contains them: ' in page
    assert 'absent from train' in page
    assert 'test not counted' in page
    assert 'splits/none.txt cannot be read' in page
    assert '1/1' in capsys.readouterr().err, 'progress'


def test_augmentations_show_the_pipeline_and_come_again(small_config):
    cfg = small_config('erfnet_camvid')
    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sheets = [augmentation_sheet(dataset, [0, 3], variants=3, seed=seed, width=80) for seed in (0, 0, 1)]
    assert sheets[0].shape[1] == 4 * 84
    assert (sheets[0] == sheets[1]).all()
    assert (sheets[0] != sheets[2]).any()
    image = sheets[0][22:82, :80]  # below its title
    assert (
        np.abs(
            image.astype(int)
            - cv2.resize(cv2.imread(dataset.get_data_info(0)['img_path']), (80, 60), interpolation=cv2.INTER_AREA)
        ).max()
        == 0
    ), 'the image as it is'


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('--workers', '0'), '--workers is 0; it takes'),
        (('--c', '1'), '--c is 1; above 1'),
        (('--c', 'nan'), '--c is nan'),
    ],
)
def test_the_tool_ends_in_a_sentence(arguments, sentence, tmp_path):
    assert run_tool('dataset_report', 'no.py', '--out', tmp_path, *arguments).sentence.startswith(sentence)


def test_labels_that_are_all_void_are_a_sentence(small_config, synthetic_camvid, tmp_path):
    shutil.copytree(synthetic_camvid, tmp_path / 'camvid')
    for path in (tmp_path / 'camvid').glob('Labeled*/*.png'):
        cv2.imwrite(str(path), np.zeros((96, 128, 3), np.uint8))
    cfg = small_config('erfnet_camvid11')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'camvid')
    with pytest.raises(DataError, match='training images has a labelled pixel; check'):
        write_dataset_report(cfg, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_nothing_to_report_on(small_config, tmp_path):
    with pytest.raises(UsageError, match='no train_dataloader'):
        write_dataset_report(small_config('erfnet_camvid', train_dataloader=None), tmp_path)
