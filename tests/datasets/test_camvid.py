"""CamVid's classes, splits and groupings, and what the datasets say of files that are not as they should be."""

import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader

from mmseg_erfnet.datasets import CamVid11Dataset, CamVidDataset, check_disjoint, random_split, standard_split
from mmseg_erfnet.datasets.camvid import CLASSES, FRAMES, GROUPS, LABELS, PALETTE
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError


@pytest.fixture
def root(synthetic_camvid, tmp_path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(synthetic_camvid, tmp_path / 'camvid'))


def build(root: Path, **kwargs) -> CamVidDataset:
    pipeline = [{'type': 'LoadImageFromFile'}, LoadSegLabels()]
    return CamVidDataset(**{'data_root': str(root), 'ann_file': 'splits/val.txt', 'pipeline': pipeline, **kwargs})


def a_frame(dataset: CamVidDataset) -> Path:
    return Path(dataset.get_data_info(0)['img_path'])


def labels_of(dataset) -> np.ndarray:
    return np.stack([dataset[index]['gt_seg_map'] for index in range(len(dataset))])


def test_the_32_classes_are_the_official_ones_in_their_order():
    assert len(CLASSES) == 32
    assert list(CLASSES) == sorted(CLASSES, key=str.lower)
    assert len({tuple(colour) for colour in PALETTE}) == 32
    # Colours are multiples of 64, which label_colors.txt uses throughout
    assert {value for colour in PALETTE for value in colour} == {0, 64, 128, 192}
    assert dict(zip(CLASSES, PALETTE, strict=True))['Void'] == [0, 0, 0]


def test_groups_take_each_class_but_void_once():
    members = [name for group in GROUPS.values() for name in group]
    assert sorted(members) == sorted(set(CLASSES) - {'Void'})
    assert list(GROUPS) == [
        'Sky',
        'Building',
        'Pole',
        'Road',
        'Pavement',
        'Tree',
        'SignSymbol',
        'Fence',
        'Car',
        'Pedestrian',
        'Bicyclist',
    ]


def test_standard_split_has_the_published_sizes_and_no_overlap():
    parts = {name: standard_split(name) for name in ('train', 'val', 'test')}
    assert {name: len(names) for name, names in parts.items()} == {'train': 367, 'val': 101, 'test': 233}
    assert len(set().union(*parts.values())) == 701
    assert standard_split('trainval') == sorted(parts['train'] + parts['val'])
    with pytest.raises(UsageError, match="no split 'valid'; choose one of train, val, test, trainval"):
        standard_split('valid')


def test_random_split_is_573_and_128_and_the_same_everywhere():
    names = standard_split('trainval') + standard_split('test')
    train, val = random_split(names)
    assert (len(train), len(val)) == (573, 128)
    assert not set(train) & set(val)
    assert random_split(reversed(names)) == (train, val)
    # Pinned: another machine or library must not draw another split.
    assert val[:3] == ['0001TP_006720', '0001TP_006810', '0001TP_006840']
    assert random_split(names, seed=1)[1] != val
    with pytest.raises(UsageError, match='each name once'):
        random_split(['a', 'a', 'b'], val=1)
    with pytest.raises(UsageError, match='choose val from 1 to 1'):
        random_split(['a', 'b'], val=2)
    with pytest.raises(UsageError, match='at least two frames, but there is 1'):
        random_split(['a'], val=1)


def test_frames_and_labels_are_paired(synthetic_camvid):
    dataset = build(synthetic_camvid, ann_file='splits/train.txt')
    names = (synthetic_camvid / 'splits/train.txt').read_text().split()
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [Path(info['img_path']).stem for info in infos] == names
    assert [Path(info['seg_map_path']).name for info in infos] == [f'{name}_L.png' for name in names]
    assert dataset.metainfo['classes'] == CLASSES
    assert dataset.metainfo['palette'] == PALETTE


def test_void_is_a_class_unless_it_is_to_be_ignored(synthetic_camvid):
    void = CLASSES.index('Void')
    with_void = labels_of(build(synthetic_camvid))
    ignoring = build(synthetic_camvid, ignore_void=True)
    assert (with_void == void).any()
    assert with_void.max() < 32
    np.testing.assert_array_equal(labels_of(ignoring), np.where(with_void == void, 255, with_void))
    assert len(ignoring.metainfo['classes']) == 32


@pytest.mark.parametrize('grouping', ['segnet', 'exact'])
def test_11_classes_are_grouped_from_the_32(synthetic_camvid, grouping):
    dataset = CamVid11Dataset(
        data_root=str(synthetic_camvid), ann_file='splits/val.txt', grouping=grouping, pipeline=[LoadSegLabels()]
    )
    expected = np.full(256, 255)
    for index, members in enumerate(GROUPS.values()):
        for name in members if grouping == 'segnet' else members[:1]:
            expected[CLASSES.index(name)] = index
    np.testing.assert_array_equal(labels_of(dataset), expected[labels_of(build(synthetic_camvid))])


def test_lane_markings_are_road_in_segnet_only(synthetic_camvid):
    lane = CLASSES.index('LaneMkgsDriv')
    for grouping, expected in (('segnet', list(GROUPS).index('Road')), ('exact', 255)):
        dataset = CamVid11Dataset(data_root=str(synthetic_camvid), ann_file='splits/val.txt', grouping=grouping)
        assert dataset.metainfo['label_map'][lane] == expected
    with pytest.raises(UsageError, match="'segnet' or 'exact', not 'both'"):
        CamVid11Dataset(data_root=str(synthetic_camvid), grouping='both')


def test_chosen_classes_keep_their_colours_and_their_order(synthetic_camvid):
    chosen = CamVid11Dataset(
        data_root=str(synthetic_camvid),
        ann_file='splits/val.txt',
        metainfo={'classes': ['Car', 'Road']},
        pipeline=[LoadSegLabels()],
    )
    assert chosen.metainfo['palette'] == [[64, 0, 128], [128, 64, 128]]
    everything = labels_of(build(synthetic_camvid))
    car = np.isin(everything, [CLASSES.index(name) for name in GROUPS['Car']])
    road = np.isin(everything, [CLASSES.index(name) for name in GROUPS['Road']])
    np.testing.assert_array_equal(labels_of(chosen), np.select([car, road], [0, 1], 255))
    reordered = build(synthetic_camvid, metainfo={'classes': list(CLASSES[::-1])})
    assert reordered.metainfo['palette'] == PALETTE[::-1]
    np.testing.assert_array_equal(labels_of(reordered), 31 - everything)
    with pytest.raises(UsageError, match='2 classes and a palette of 1 colours'):
        build(synthetic_camvid, metainfo={'classes': ['Car', 'Road'], 'palette': [[1, 2, 3]]})


def test_real_frames_are_read_in_both_protocols(camvid_root):
    split = {'data_root': str(camvid_root), 'indices': 3, 'pipeline': [LoadSegLabels()]}
    for dataset in (CamVidDataset(**split), CamVid11Dataset(**split)):
        frame = dataset[0]['gt_seg_map']
        sky, road = map(dataset.metainfo['classes'].index, ('Sky', 'Road'))
        assert frame.shape == (360, 480)
        assert (frame[:60] == sky).mean() > 0.2
        assert (frame[-60:] == road).mean() > 0.3


def test_a_config_finds_the_datasets_by_their_prefix(synthetic_camvid):
    dataset = DATASETS.build({'type': 'mmseg_erfnet.CamVid11Dataset', 'data_root': str(synthetic_camvid)})
    assert type(dataset) is CamVid11Dataset
    assert len(dataset) == 16
    assert len(pickle.loads(pickle.dumps(dataset))) == 16


# Data that is not as it should be


def test_sequences_are_held_out(root):
    split = root / 'splits/val.txt'
    names = split.read_text().split()
    for kind, suffix in ((FRAMES, ''), (LABELS, '_L')):
        (root / kind / f'{names[0]}{suffix}.png').rename(root / kind / f'0006R0_f01{suffix}.png')
    split.write_text('\n'.join(['0006R0_f01', *names[1:]]))
    only, without = (build(root, filter_cfg={key: '0006R0'}) for key in ('only', 'without'))
    assert [Path(only[index]['img_path']).stem for index in range(len(only))] == ['0006R0_f01']
    assert [Path(without[index]['img_path']).stem for index in range(len(without))] == names[1:]
    with pytest.raises(UsageError, match=r'names 1600000\.0; .*val.txt has .*0006R0.* reads 0016E5 as a number'):
        build(root, filter_cfg=dict(only=16e5))
    with pytest.raises(UsageError, match='names no sequence'):
        build(root, filter_cfg=dict(without=[]))
    with pytest.raises(UsageError, match=r'is dict\(only=...\) or dict\(without=...\)'):
        build(root, filter_cfg=dict(sequences='0006R0'))


def test_empty_split(root):
    (root / 'splits/val.txt').write_text('\n\n')
    with pytest.raises(DataError, match=r'splits/val\.txt is empty; write one name per line'):
        build(root)


def test_empty_folder(root):
    with pytest.raises(DataError, match=r"701_StillsRaw_full ends in '\.bmp'; check"):
        build(root, ann_file='', img_suffix='.bmp')


def test_missing_split(root):
    with pytest.raises(DataError, match=r'splits/none\.txt cannot be read.*prepare_camvid\.py'):
        build(root, ann_file='splits/none.txt')


def test_split_naming_a_missing_frame(root):
    with (root / 'splits/val.txt').open('a') as file:
        file.write('absent\n')
    with pytest.raises(DataError, match=r'absent\.png is missing \(2 files in all\).*remove its name from'):
        build(root)


def test_missing_label(root):
    label = next((root / LABELS).glob('*_L.png'))
    label.unlink()
    with pytest.raises(DataError, match=rf'{label.name} is missing, which its counterpart requires; restore'):
        build(root, ann_file='')


def test_duplicate_names(root):
    split = root / 'splits/val.txt'
    split.write_text(split.read_text() * 2)
    with pytest.raises(DataError, match=r'val\.txt names synthetic_\d+.* more than once'):
        build(root)


def test_missing_folder(root):
    shutil.rmtree(root / LABELS)
    with pytest.raises(DataError, match=r'LabeledApproved_full cannot be read \(No such file.*check data_root'):
        build(root)


def test_unreadable_folder(root, monkeypatch):
    def deny(path):  # by hand, because the superuser may read anything
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(os, 'scandir', deny)
    with pytest.raises(DataError, match=r'701_StillsRaw_full cannot be read \(Permission denied\)'):
        build(root)


def test_frames_without_labels_can_be_listed(root):
    shutil.rmtree(root / LABELS)
    dataset = build(root, data_prefix={'img_path': FRAMES}, test_mode=True)
    assert 'gt_seg_map' not in dataset[0]


@pytest.mark.parametrize(
    ('spoil', 'sentence'),
    [
        (lambda data: data[: len(data) // 2], r'is truncated at \d+ bytes; put the original'),
        (lambda data: b'', r'is empty \(0 bytes\); put the original'),
        (lambda data: b'no image', r'cannot be read as an image'),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], r'is damaged \(wrong checksum at byte \d+\)'),
    ],
)
def test_frame_that_goes_bad_in_mid_epoch(root, spoil, sentence):
    dataset = build(root)
    path = a_frame(dataset)
    assert dataset[0]['img'].shape == (96, 128, 3)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=f'{path.name} {sentence}'):
        dataset[0]


def test_frame_that_disappears_in_mid_epoch(root):
    dataset = build(root)
    a_frame(dataset).unlink()
    with pytest.raises(DataError, match=r'\.png cannot be read \(No such file or directory\); restore it'):
        dataset[0]


def test_a_worker_hands_the_sentence_on(root):
    dataset = build(root)
    loader = DataLoader(dataset, num_workers=1, collate_fn=list)
    assert len(list(loader)) == 3
    path = a_frame(dataset)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf'DataError: .*{path.name} is truncated at \d+ bytes; put the original file'):
        next(iter(loader))


@pytest.mark.parametrize(
    ('convert', 'kind'),
    [
        (lambda image: image[..., 0], 'grey, 8 bits'),
        (lambda image: np.dstack([image, image[..., :1]]), 'RGBA, 8 bits'),
        (lambda image: image.astype(np.uint16) * 257, 'RGB, 16 bits'),
    ],
)
def test_frame_that_is_not_8_bit_rgb(root, convert, kind):
    dataset = build(root)
    path = a_frame(dataset)
    cv2.imwrite(str(path), convert(cv2.imread(str(path))))
    with pytest.raises(DataError, match=rf'{path.name} is not an 8-bit RGB image \(128x96, {kind}.*convert it'):
        dataset[0]


@pytest.mark.parametrize('ending', ['.jpg', '.bmp'])
def test_frames_of_other_formats(root, ending):
    for path in (root / FRAMES).glob('*.png'):
        cv2.imwrite(str(path.with_suffix(ending)), cv2.imread(str(path)))
    dataset = build(root, img_suffix=ending)
    assert dataset[0]['img'].shape == (96, 128, 3)
    path = a_frame(dataset)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=rf'{path.name} cannot be read as an image'):
        dataset[0]


def test_a_frame_in_both_splits_is_an_error(root):
    train, val = (build(root, ann_file=f'splits/{split}.txt') for split in ('train', 'val'))
    check_disjoint(train, val)
    with pytest.raises(DataError, match=rf'{len(val)} frames are in the training and in the validation split'):
        check_disjoint(ConcatDataset([train, val]), val)


def test_a_name_of_camvid_in_both_splits_is_an_error_wherever_it_lies(root, tmp_path):
    name = standard_split('train')[0]
    other = tmp_path / 'other'
    for copy in (root, other):
        (copy / FRAMES).mkdir(parents=True, exist_ok=True)
        shutil.copy(next((root / FRAMES).glob('synthetic*')), copy / FRAMES / f'{name}.png')
    train, val = (build(copy, ann_file='', data_prefix={'img_path': FRAMES}) for copy in (root, other))
    with pytest.raises(DataError, match=f'1 frames are .*{name}'):
        check_disjoint(train, val)
