"""A folder with a list of classes, under our loader and MMSegmentation's, under any model, and inside wrappers."""

import cv2
import numpy as np
import pytest
import torch
from helpers import exports
from helpers.exports import CLASSES, COLOURS, put, scene
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, MODELS

from mmseg_erfnet.datasets import FolderDataset, check_disjoint
from mmseg_erfnet.datasets.statistics import label_statistics
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError

LOAD = [dict(type='LoadImageFromFile'), dict(type='mmseg_erfnet.LoadSegLabels', palette=None)]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    """A folder as someone might have it: images, labels, classes.csv, and no splits."""
    root = exports.plain(tmp_path / 'data', number=6)
    (root / 'masks').rename(root / 'labels')
    rows = [f'{name},{red},{green},{blue}\n' for name, (red, green, blue) in zip(CLASSES, COLOURS, strict=True)]
    put(root / 'classes.csv', 'name,r,g,b\n' + ''.join(rows))
    return root


def folder(root, pipeline=LOAD, **options) -> FolderDataset:
    return DATASETS.build(dict(type='mmseg_erfnet.FolderDataset', data_root=str(root), pipeline=pipeline, **options))


def test_a_folder_without_splits(root):
    dataset = folder(root)
    assert (len(dataset), dataset.metainfo['classes']) == (6, CLASSES)
    assert dataset.metainfo['palette'] == [list(colour) for colour in COLOURS]
    for index in range(6):
        np.testing.assert_array_equal(dataset[index]['gt_seg_map'], scene(index)[1])


def test_mixed_suffixes(root):
    frame = root / f'images/{exports.name_of(2)}.jpg'
    put(frame.with_suffix('.png'), cv2.imread(str(frame)))
    frame.unlink()
    put(root / 'list.txt', ''.join(f'{exports.name_of(index)}\n' for index in (1, 2)))
    dataset = folder(root, ann_file='list.txt')
    assert [dataset.get_data_info(index)['img_path'][-3:] for index in range(2)] == ['jpg', 'png']
    put(root / 'list.txt', 'absent\n')
    with pytest.raises(DataError, match=r'images/absent\.png is missing'):
        folder(root, ann_file='list.txt')


def test_painted_labels(root):
    for index in range(6):
        put(root / f'labels/{exports.name_of(index)}.png', exports.painted(scene(index)[1]))
    np.testing.assert_array_equal(folder(root)[3]['gt_seg_map'], scene(3)[1])


def test_values_of_the_list(root):
    put(root / 'classes.csv', 'name,value\nrest,0\nroad,255\n')
    for index in range(6):
        put(root / f'labels/{exports.name_of(index)}.png', np.where(scene(index)[1] == 1, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(folder(root)[3]['gt_seg_map'], scene(3)[1] == 1)


def test_chosen_classes(root):
    dataset = folder(root, metainfo=dict(classes=['car', 'road']))
    assert dataset.metainfo['palette'] == [list(COLOURS[4]), list(COLOURS[1])]
    ids = scene(0)[1]
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], np.where(ids == 4, 0, np.where(ids == 1, 1, 255)))
    with pytest.raises(UsageError, match=r"the class 'sea', which is not in .*classes\.csv; choose from background"):
        folder(root, metainfo=dict(classes=['sea']))


def test_a_list_that_is_missing_or_broken(root):
    put(root / 'classes.csv', 'r,g,b\n')
    with pytest.raises(DataError, match=r'classes\.csv has no column of names'):
        folder(root)
    (root / 'classes.csv').unlink()
    with pytest.raises(DataError, match=r'classes\.csv cannot be read .*prepare_dataset\.py'):
        folder(root)


def test_under_the_loader_and_a_model_of_mmsegmentation(root):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    dataset = folder(root, pipeline)
    np.testing.assert_array_equal(dataset[1]['data_samples'].gt_sem_seg.data[0], scene(1)[1])
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=exports.SIZE, seg_pad_val=255),
            backbone=dict(type='MobileNetV2', out_indices=(0, 1)),
            decode_head=dict(type='FCNHead', in_channels=24, in_index=1, channels=8, num_classes=5),
        )
    )
    data = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    loss = model(**data, mode='loss')['decode.loss_ce']
    assert torch.isfinite(loss)


# A value without a class


@pytest.mark.parametrize('kind', ['ours', 'BaseSegDataset', 'repeated'])
def test_a_value_without_a_class_is_named(root, kind):
    """File, value and count, also under MMSegmentation's own dataset."""
    label = scene(4)[1]
    label[:2, :3] = 77
    put(root / f'labels/{exports.name_of(4)}.png', label)
    if kind == 'ours':
        dataset = folder(root)
    else:
        dataset = BaseSegDataset(
            data_root=str(root),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=CLASSES, palette=[list(colour) for colour in COLOURS]),
            pipeline=[dict(type='LoadImageFromFile'), LoadSegLabels(palette=None)],
        )
        dataset = RepeatDataset(dataset, 2) if kind == 'repeated' else dataset
    np.testing.assert_array_equal(dataset[3]['gt_seg_map'], scene(3)[1])
    with pytest.raises(DataError, match=rf'labels/{exports.name_of(4)}\.png has .*77 \(6 pixels\)'):
        dataset[4]


def test_a_colour_without_a_class_is_named(root):
    for index in range(6):
        put(root / f'labels/{exports.name_of(index)}.png', exports.painted(scene(index)[1]))
    dataset = BaseSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=CLASSES[:4], palette=[list(colour) for colour in COLOURS[:4]]),
        pipeline=[dict(type='LoadImageFromFile'), LoadSegLabels(palette=COLOURS)],
    )
    index = next(index for index in range(6) if (scene(index)[1] == 4).any())
    count = (scene(index)[1] == 4).sum()
    said = rf'{exports.name_of(index)}\.png has labels without a class: RGB \(0, 0, 142\) \({count} pixels\)'
    with pytest.raises(DataError, match=said):
        dataset[index]
    dataset.pipeline.transforms[1] = LoadSegLabels(palette=COLOURS, unknown='ignore')
    assert (dataset[index]['gt_seg_map'] == 255).sum() == count


# Wrappers


def test_wrappers_are_seen_through(root):
    put(root / 'first.txt', ''.join(f'{exports.name_of(index)}\n' for index in range(3)))
    put(root / 'second.txt', ''.join(f'{exports.name_of(index)}\n' for index in range(3, 6)))
    first, second = (folder(root, ann_file=f'{name}.txt') for name in ('first', 'second'))
    parts = [
        dict(type='mmseg_erfnet.FolderDataset', data_root=str(root), pipeline=LOAD, ann_file=f'{name}.txt')
        for name in ('first', 'second')
    ]
    both = ConcatDataset(
        [
            dict(type='RepeatDataset', times=3, dataset=parts[0]),
            dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=parts[1]),
        ]
    )
    expected = label_statistics(folder(root))
    found = label_statistics(both)
    np.testing.assert_array_equal(found.counts, expected.counts)  # each frame once
    check_disjoint(RepeatDataset(first, 2), second)
    with pytest.raises(DataError, match='3 frames are in the training and in the validation split'):
        check_disjoint(both, RepeatDataset(second, 2))


def test_a_balanced_dataset_shows_rare_classes_more_often(root):
    with_car = [index for index in range(6) if (scene(index)[1] == 4).any()]
    dataset = folder(root)
    assert [index for index in range(6) if 4 in dataset.get_cat_ids(index)] == with_car
    for index in set(range(6)) - set(with_car[:1]):
        label = scene(index)[1]
        label[label == 4] = 0
        put(root / f'labels/{exports.name_of(index)}.png', label)
    balanced = ClassBalancedDataset(folder(root), 0.9)
    counts = [balanced._get_ori_dataset_idx(index) for index in range(len(balanced))]
    assert counts.count(with_car[0]) > max(counts.count(index) for index in range(6) if index != with_car[0])
