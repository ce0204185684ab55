"""One's own data: from each form that is recognised, from broken ones, by two processes at a time, on a full disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import exports
from helpers.exports import CLASSES, name_of, put, scene
from helpers.tools import run_tool

from mmseg_erfnet.datasets import FolderDataset
from mmseg_erfnet.datasets.preparation import prepare_dataset
from mmseg_erfnet.datasets.preparation.orientation import take_orientation
from mmseg_erfnet.datasets.preparation.pairs import _unique, proper_name
from mmseg_erfnet.datasets.preparation.writing import Target
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, StorageError, UsageError

LOAD = [dict(type='LoadImageFromFile'), LoadSegLabels(palette=None)]


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob('*')
        if path.is_file()
    }


def label(out: Path, index: int) -> np.ndarray:
    (path,) = (out / 'labels').rglob(f'*{name_of(index)}*.png')
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize('form', exports.EXPORTS)
def test_every_form(form, tmp_path):
    """Each label has the right ids, the classes their names, every split loads, a second run changes nothing."""
    out = tmp_path / 'out'
    prepared = prepare_dataset(exports.EXPORTS[form](tmp_path / 'source'), out)
    names = [name.strip('_') for name in prepared.classes.names]
    if form in ('indices', 'palette'):
        assert names == [f'class_{number}' for number in range(5)]
        names = list(CLASSES)
    elif form == 'colours':
        names = [CLASSES[exports.COLOURS.index(colour)] for colour in prepared.classes.colours]
    assert sorted(names) == sorted(CLASSES)
    for index in range(10):
        expected = np.array([names.index(name) for name in CLASSES])[scene(index)[1]]
        if form == 'labelme2voc':
            expected[0, 0] = 255
        found = label(out, index)
        assert found.shape == exports.SIZE
        # Areas drawn from their outlines fill their holes.
        assert (found == expected).mean() > (0.8 if form == 'labelme_json' else 0.9999)
    splits = {part: len(members) for part, members in prepared.splits.items()}
    kept = {'train': 6, 'val': 2, 'test': 2}
    assert splits == {'roboflow': kept, 'kaggle': kept, 'fastai': {'train': 6, 'val': 4}}.get(
        form, {'train': 8, 'val': 2}
    )
    for part, number in splits.items():
        dataset = FolderDataset(data_root=str(out), ann_file=f'splits/{part}.txt', pipeline=LOAD)
        assert len(dataset) == number
        sample = dataset[0]
        assert sample['gt_seg_map'].shape == sample['img'].shape[:2]
    before = contents(out)
    again = prepare_dataset(tmp_path / 'source', out)
    assert not again.changed
    assert 'is up to date with its 10 frames of 5 classes' in str(again)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'source']


@pytest.mark.parametrize('form', ['cvat_masks', 'roboflow', 'labelme_json', 'fastai'])
@pytest.mark.parametrize('kind', ['zip', 'windows', 'tgz', 'zip in a folder'])
def test_archives(form, kind, tmp_path):
    folder = exports.EXPORTS[form](tmp_path / 'export')
    if kind == 'tgz':
        source = exports.tarred(folder, tmp_path / 'export.tgz')
    else:
        (tmp_path / 'downloads').mkdir()
        source = exports.zipped(folder, tmp_path / 'downloads/export.zip', windows=kind == 'windows')
    prepared = prepare_dataset(source.parent if kind == 'zip in a folder' else source, tmp_path / 'out')
    plain = prepare_dataset(folder, tmp_path / 'plain')
    assert prepared.splits == plain.splits
    assert {path: data for path, (data, _) in contents(tmp_path / 'out').items()} == {
        path: data for path, (data, _) in contents(tmp_path / 'plain').items()
    }


def test_an_archive_beside_what_was_unpacked_from_it(tmp_path):
    folder = exports.roboflow(tmp_path / 'source')
    exports.zipped(folder, tmp_path / 'export.zip').rename(folder / 'export.zip')
    assert prepare_dataset(folder, tmp_path / 'out').frames == 10


def test_masks_inside_the_images_own_json(tmp_path):
    prepared = prepare_dataset(exports.labelme_json(tmp_path / 'source', embedded=True), tmp_path / 'out')
    assert prepared.frames == 10


# What labels mean


def test_masks_of_0_and_255_are_mapped_and_said(tmp_path):
    source = exports.plain(tmp_path / 'source', 'binary')
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert 'The masks contain 0 and 255: 0 is read as background, 255 as foreground.' in str(prepared)
    np.testing.assert_array_equal(label(tmp_path / 'out', 3), scene(3)[1] == 1)
    named = prepare_dataset(source, tmp_path / 'road', classes='road')
    assert named.classes.names == ('background', 'road')
    two = prepare_dataset(source, tmp_path / 'two', classes='rest,road')
    assert '0 is read as rest, 255 as road' in str(two)
    with pytest.raises(DataError, match=r'all other masks contain only 0 and 255, but --classes names 3 classes'):
        prepare_dataset(source, tmp_path / 'three', classes='a,b,c')


def test_masks_of_0_and_255_saved_in_colour(tmp_path):
    source = exports.plain(tmp_path / 'source', 'binary')
    for path in (source / 'masks').iterdir():
        put(path, cv2.imread(str(path), cv2.IMREAD_COLOR))
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert '255 as foreground' in str(prepared)
    np.testing.assert_array_equal(label(tmp_path / 'out', 3), scene(3)[1] == 1)


def test_masks_of_one_bit(tmp_path):
    source = exports.plain(tmp_path / 'source', 'binary')
    for path in (source / 'masks').iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED), [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert '255 as foreground' in str(prepare_dataset(source, tmp_path / 'out'))
    np.testing.assert_array_equal(label(tmp_path / 'out', 3), scene(3)[1] == 1)


def test_values_of_a_list(tmp_path):
    source = exports.plain(tmp_path / 'source', 'binary')
    put(source / 'classes.csv', 'name,value\nelse,0\nroad,255\n')
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert prepared.classes.names == ('else', 'road')
    np.testing.assert_array_equal(label(tmp_path / 'out', 3), scene(3)[1] == 1)


@pytest.mark.parametrize(
    ('form', 'spoil', 'said'),
    [
        (
            'indices',
            lambda mask: np.where(mask == 4, 77, mask),
            r'0003\.png contains values without a class in --classes: 77 ',
        ),
        (
            'roboflow',
            lambda mask: np.where(mask == 1, 99, mask),
            r'_mask\.png contains values without a class .*_classes\.csv: 99',
        ),
        (
            'cvat_masks',
            lambda mask: np.where(mask == (128, 64, 128), (3, 2, 1), mask),
            r'RGB \(1, 2, 3\) \(\d+ pixels\)',
        ),
    ],
)
def test_labels_without_a_class(form, spoil, said, tmp_path):
    source = exports.EXPORTS[form](tmp_path / 'source')
    (path,) = [
        path
        for path in source.rglob('*street_0003*.png')
        if path.parent.name not in ('SegmentationObject', 'JPEGImages')
    ]
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    put(path, spoil(mask).astype(np.uint8))
    classes = ','.join(CLASSES) if form == 'indices' else None
    with pytest.raises(DataError, match=said):
        prepare_dataset(source, tmp_path / 'out', classes=classes)
    assert [path.name for path in tmp_path.iterdir()] == ['source']
    prepared = prepare_dataset(source, tmp_path / 'out', classes=classes, unknown='ignore')
    assert 'pixels without a class are ignored (255)' in str(prepared)
    assert (label(tmp_path / 'out', 3) == 255).any()


def test_classes_that_do_not_count(tmp_path):
    prepared = prepare_dataset(exports.cvat_masks(tmp_path / 'source'), tmp_path / 'out', ignore=['background'])
    assert prepared.classes.names == CLASSES[1:]
    ids = scene(2)[1].astype(int)
    np.testing.assert_array_equal(label(tmp_path / 'out', 2), np.where(ids == 0, 255, ids - 1))
    with pytest.raises(UsageError, match=r'--ignore names sea, which is not a class; the classes are background, road'):
        prepare_dataset(tmp_path / 'source', tmp_path / 'other', ignore=['sea'])


def test_one_class_is_refused(tmp_path):
    source = exports.plain(tmp_path / 'source', 'binary')
    with pytest.raises(UsageError, match=r'--ignore leaves only the class foreground, but training needs at least two'):
        prepare_dataset(source, tmp_path / 'out', ignore=['background'])
    with pytest.raises(UsageError, match=r'--ignore leaves no class, but training needs at least two classes'):
        prepare_dataset(source, tmp_path / 'out', ignore=['background', 'foreground'])
    painted = exports.labelme_json(tmp_path / 'labelme')
    with pytest.raises(
        DataError, match=r'--classes has a single class, road, but training .* add a class for all other'
    ):
        prepare_dataset(painted, tmp_path / 'out', classes='road')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['labelme', 'source']


def test_labels_that_leave_open_what_they_mean(tmp_path):
    source = exports.plain(tmp_path / 'values')
    for path in (source / 'masks').iterdir():
        put(path, np.array([0, 128, 255, 255, 0], np.uint8)[cv2.imread(str(path), cv2.IMREAD_UNCHANGED)])
    with pytest.raises(DataError, match=r'contain the values 0, 128, 255, and no list names their classes'):
        prepare_dataset(source, tmp_path / 'out')
    source = exports.plain(tmp_path / 'smooth', 'colours')
    for path in (source / 'masks').iterdir():
        put(path, cv2.GaussianBlur(cv2.imread(str(path)), (5, 5), 0))
    with pytest.raises(DataError, match=r'the labels contain \d+ colours, .*export masks without smooth edges'):
        prepare_dataset(source, tmp_path / 'out')
    source = exports.plain(tmp_path / 'empty')
    for path in (source / 'masks').iterdir():
        put(path, np.zeros(exports.SIZE, np.uint8))
    with pytest.raises(DataError, match='all labels contain only the value 0'):
        prepare_dataset(source, tmp_path / 'out')
    source = exports.plain(tmp_path / 'jpeg')
    for path in (source / 'masks').iterdir():
        put(path.with_suffix('.jpg'), cv2.imread(str(path)))
        path.unlink()
    with pytest.raises(DataError, match=r'is a JPEG, whose compression changes the values of labels'):
        prepare_dataset(source, tmp_path / 'out')


# Orientation


@pytest.mark.parametrize('drawn_on', ['shown', 'stored'])
@pytest.mark.parametrize('orientation', [1, 2, 3, 4, 5, 6, 7, 8])
def test_orientation(orientation, drawn_on, tmp_path):
    """Frame and label come out the same way up, or the pair is refused where nobody can know."""
    frame, ids = scene(0)
    turn = lambda pixels: {  # noqa: E731
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: pixels.swapaxes(0, 1)[::-1],
    }[orientation]
    source = exports.plain(tmp_path / 'source', number=4)
    put(source / f'images/{name_of(0)}.jpg', exports.exif_jpeg(frame, orientation))
    put(source / f'masks/{name_of(0)}.png', turn(ids) if drawn_on == 'shown' else ids)
    if 2 <= orientation <= 4:
        with pytest.raises(DataError, match=rf'EXIF orientation {orientation}.*--orientation shown .* or stored'):
            prepare_dataset(source, tmp_path / 'out')
    prepare_dataset(source, tmp_path / 'out', orientation=drawn_on if 2 <= orientation <= 4 else 'auto')
    np.testing.assert_array_equal(label(tmp_path / 'out', 0), turn(ids))
    (path,) = (tmp_path / 'out/images').glob(f'{name_of(0)}.*')
    # As every reader shows it.
    for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION):
        found = cv2.imread(str(path), flags)
        assert found.shape[:2] == turn(ids).shape
        assert np.abs(found.astype(int) - turn(frame)).mean() < 4


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        (b'\xff\xe1', b'\xff\xff\xe1'),  # a fill byte before the marker
        (b'\1\x12\0\3\0\0\0\1\0\6\0\0', b'\1\x12\0\4\0\0\0\1\0\0\0\6'),  # 32 bits instead of 16
    ],
    ids=['fill', 'long'],
)
def test_unusual_exif(old, new, tmp_path):
    frame, ids = scene(0)
    data = exports.exif_jpeg(frame, 6)
    assert data.count(old) == 1
    data = data.replace(old, new)
    _, rest = take_orientation(data)
    assert take_orientation(rest) == (1, rest)
    source = exports.plain(tmp_path / 'source', number=4)
    put(source / f'images/{name_of(0)}.jpg', data)
    put(source / f'masks/{name_of(0)}.png', ids.swapaxes(0, 1)[:, ::-1])
    prepare_dataset(source, tmp_path / 'out')
    assert cv2.imread(str(tmp_path / f'out/images/{name_of(0)}.png')).shape[:2] == ids.shape[::-1]


def test_orientation_of_both(tmp_path):
    frame, ids = scene(0)
    source = exports.plain(tmp_path / 'source', number=4)
    put(source / f'images/{name_of(0)}.jpg', exports.exif_jpeg(frame, 3))
    put(source / f'masks/{name_of(0)}.png', exports.exif_png(ids, 3))
    prepare_dataset(source, tmp_path / 'out')
    np.testing.assert_array_equal(label(tmp_path / 'out', 0), ids[::-1, ::-1])


# Frames


def test_grey_and_opaque_frames_become_rgb(tmp_path):
    source = exports.plain(tmp_path / 'source')
    frame = scene(0)[0]
    (source / f'images/{name_of(0)}.jpg').unlink()
    (source / f'images/{name_of(1)}.jpg').unlink()
    put(source / f'images/{name_of(0)}.png', frame[..., 0])
    put(source / f'images/{name_of(1)}.png', np.dstack([frame, np.full(exports.SIZE, 255, np.uint8)]))
    assert '1 grey frames were written as RGB' in str(prepare_dataset(source, tmp_path / 'out'))
    assert cv2.imread(str(tmp_path / f'out/images/{name_of(0)}.png'), cv2.IMREAD_UNCHANGED).shape == (*exports.SIZE, 3)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / f'out/images/{name_of(1)}.png'), -1), frame)
    put(source / f'images/{name_of(1)}.png', np.dstack([frame, np.full(exports.SIZE, 9, np.uint8)]))
    with pytest.raises(DataError, match=r'street_0001\.png is transparent in places; convert it'):
        prepare_dataset(source, tmp_path / 'other')


def test_what_is_broken_is_named_and_leaves_nothing(tmp_path):
    def spoiled(name, index, data):
        source = exports.plain(tmp_path / name)
        put(source / f'{index}', data)
        with pytest.raises(DataError) as error:
            prepare_dataset(source, tmp_path / 'data/out')
        assert not list((tmp_path / 'data').iterdir())
        return str(error.value)

    frame = (exports.plain(tmp_path / 'first') / f'images/{name_of(3)}.jpg').read_bytes()
    assert f'{name_of(3)}.jpg' in spoiled('truncated', f'images/{name_of(3)}.jpg', frame[:900])
    assert 'is empty (0 bytes)' in spoiled('empty', f'masks/{name_of(3)}.png', b'')
    assert f'masks/{name_of(3)}.png is 64x40, but' in spoiled('size', f'masks/{name_of(3)}.png', scene(3)[1][:40])
    assert '16 bits' in spoiled('deep', f'masks/{name_of(3)}.png', scene(3)[1].astype(np.uint16))
    assert 'occurs twice' in spoiled('twice', f'images/{name_of(3)}.png', scene(3)[0])


def test_frames_without_counterpart(tmp_path):
    source = exports.plain(tmp_path / 'source')
    (source / f'masks/{name_of(1)}.png').unlink()
    (source / f'images/{name_of(2)}.jpg').unlink()
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert prepared.frames == 8
    assert '2 images without a counterpart were left out' in str(prepared)
    with pytest.raises(DataError, match=r'10 labels but no frames .*"Save images" in CVAT'):
        prepare_dataset(exports.cvat_masks(tmp_path / 'cvat', images=False), tmp_path / 'other')
    (tmp_path / 'nothing').mkdir()
    with pytest.raises(DataError, match=r'no frame with its label \(0 frames and 0 labels are there\)'):
        prepare_dataset(tmp_path / 'nothing', tmp_path / 'other')
    with pytest.raises(DataError, match='does not exist; give the folder or the archive'):
        prepare_dataset(tmp_path / 'nowhere', tmp_path / 'other')


def test_two_exports_at_once(tmp_path):
    exports.cvat_masks(tmp_path / 'source/a')
    put(exports.cvat_masks(tmp_path / 'source/b') / 'labelmap.txt', 'sea:0,0,0::\n')
    with pytest.raises(DataError, match=r'a/labelmap\.txt and .*b/labelmap\.txt list different classes'):
        prepare_dataset(tmp_path / 'source', tmp_path / 'out')


def test_what_systems_leave_behind_is_skipped(tmp_path):
    source = exports.plain(tmp_path / 'source')
    for folder in ('__MACOSX/images', '.ipynb_checkpoints', 'images/.ipynb_checkpoints'):
        put(source / folder / f'._{name_of(0)}.jpg', b'not an image')
        put(source / folder / f'{name_of(0)}-checkpoint.jpg', b'not an image')
    put(source / f'masks/._{name_of(0)}.png', b'not an image')
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert (prepared.frames, 'left out' in str(prepared)) == (10, False)


def test_links_and_pipes(tmp_path):
    exports.plain(tmp_path / 'real')
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('images', 'masks'):
        (source / name).symlink_to(tmp_path / 'real' / name)
    (source / 'images_again').symlink_to(tmp_path / 'real/images')
    (source / 'loop').symlink_to(source)
    os.mkfifo(source / 'pipe.png')
    assert prepare_dataset(source, tmp_path / 'out').frames == 10


@pytest.mark.parametrize(
    'name',
    [
        'a b',
        ' edge ',
        'line\nbreak',
        'tab\there',
        'Ünïcödé',
        b'not-utf-8-\xff',
        'x' * 240,
        'x' * 199 + ' y',
        'x' + 'é' * 120,
    ],
)
def test_names(name, tmp_path):
    """Whatever a frame is called, it comes in a split that loads."""
    source = exports.plain(tmp_path / 'source', number=4)
    name = name.decode(errors='surrogateescape') if isinstance(name, bytes) else name
    for folder, suffix in (('images', '.jpg'), ('masks', '.png')):
        path = source / folder / f'{name_of(0)}{suffix}'
        path.rename(path.with_name(f'{name}{suffix}'))
    splits = prepare_dataset(source, tmp_path / 'out').splits
    for part, names in splits.items():
        dataset = FolderDataset(data_root=str(tmp_path / 'out'), ann_file=f'splits/{part}.txt', pipeline=LOAD)
        assert len(dataset) == len(names)
        assert all(dataset[index]['gt_seg_map'].shape == exports.SIZE for index in range(len(dataset)))


def test_names_that_differ_only_behind_the_cut():
    taken, names = set(), ['x' * 199 + ' y', 'x' * 199 + ' z', 'x' * 199]
    found = [_unique(proper_name(name), taken) for name in names]
    assert found == ['x' * 199, 'x' * 199 + '_2', 'x' * 199 + '_3']
    assert proper_name('x' + 'é' * 120) == 'x' + 'é' * 99


# Splits


def test_groups_stay_together(tmp_path):
    source = tmp_path / 'source'
    for index in range(30):
        frame, ids = scene(index)
        put(source / f'images/sequence{index % 5}/{index:03}.png', frame)
        put(source / f'masks/sequence{index % 5}/{index:03}.png', ids)
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert 'The split was drawn with seed 0 by 5 groups.' in str(prepared)
    sequences = {part: {name.partition('/')[0] for name in names} for part, names in prepared.splits.items()}
    assert set(sequences) == {'train', 'val', 'test'}
    assert sum(map(len, sequences.values())) == 5
    dataset = FolderDataset(data_root=str(tmp_path / 'out'), ann_file='splits/train.txt', pipeline=LOAD)
    assert len(dataset) == len(prepared.splits['train'])


def test_groups_and_splits_of_a_column(tmp_path):
    source = exports.plain(tmp_path / 'source')
    rows = ''.join(f'{name_of(index)}.jpg,site {index // 4}\n' for index in range(10))
    put(source / 'frames.csv', f'image,group\n{rows}')
    prepared = prepare_dataset(source, tmp_path / 'out')
    assert 'by 3 groups' in str(prepared)
    sites = [{int(name[-4:]) // 4 for name in names} for names in prepared.splits.values()]
    assert not set.intersection(*sites)
    rows = ''.join(f'{name_of(index)},{"valid" if index > 6 else "Train"}\n' for index in range(10))
    put(source / 'frames.csv', f'\ufefffilename,split\r\n{rows}')
    prepared = prepare_dataset(source, tmp_path / 'other')
    assert prepared.splits == {
        'train': [name_of(index) for index in range(7)],
        'val': [name_of(i) for i in range(7, 10)],
    }


def test_a_drawn_split_depends_on_seed_and_names_alone(tmp_path):
    source = exports.plain(tmp_path / 'source')
    splits = [
        prepare_dataset(source, tmp_path / f'out{seed}{run}', seed=seed).splits for seed in (0, 1, 2) for run in 'ab'
    ]
    assert splits[0] == splits[1]
    assert splits[2] == splits[3]
    assert len({tuple(split['val']) for split in splits}) > 1


def test_another_split_is_refused(tmp_path):
    source = exports.plain(tmp_path / 'source')
    splits = {seed: prepare_dataset(source, tmp_path / f'try{seed}', seed=seed).splits for seed in range(4)}
    other = next(seed for seed in splits if splits[seed] != splits[0])
    before = contents(tmp_path / 'try0')
    with pytest.raises(DataError, match=r'try0 contains another split \(train 8, val 2\), which is kept'):
        prepare_dataset(source, tmp_path / 'try0', seed=other)
    assert contents(tmp_path / 'try0') == before


def test_the_same_picture_in_two_splits(tmp_path):
    source = exports.roboflow(tmp_path / 'source')
    (frame,) = (source / 'train').glob('street_0002*.jpg')
    (mask,) = (source / 'train').glob('street_0002*_mask.png')
    put(source / 'test/copy.jpg', frame.read_bytes())
    put(source / 'test/copy_mask.png', mask.read_bytes())
    with pytest.raises(DataError, match=r'street_0002.* in train and copy in test are the same picture.*--duplicates'):
        prepare_dataset(source, tmp_path / 'out')
    prepared = prepare_dataset(source, tmp_path / 'out', duplicates='drop')
    assert {part: len(names) for part, names in prepared.splits.items()} == {'train': 5, 'val': 2, 'test': 3}
    assert '1 frames were removed from train' in str(prepared)


@pytest.mark.parametrize(
    ('val', 'test', 'kept', 'said'),
    [
        ((6, 7), (6, 7), {'train': 6, 'val': 2}, '2 frames were removed from test, because they are also in val.'),
        ((6,), (6, 7), {'train': 6, 'val': 1, 'test': 1}, '1 frames were removed from test'),
        (
            (6, 7),
            (7,),
            {'train': 6, 'val': 1, 'test': 1},
            '1 frames were removed from val, because they are also in te',
        ),
        (
            (5, 6, 7),
            (5, 8),
            {'train': 5, 'val': 2, 'test': 2},
            'removed from train, because they are also in val or test',
        ),
    ],
)
def test_duplicates_never_empty_val(val, test, kept, said, tmp_path):
    for part, indices in (('train', range(6)), ('valid', val), ('test', test)):
        for index in indices:
            frame, ids = scene(index)
            put(tmp_path / f'source/{part}/images/{part}{index}.png', frame)
            put(tmp_path / f'source/{part}/masks/{part}{index}.png', ids)
    with pytest.raises(DataError, match=r'--duplicates drop to remove them from (train|val|test)\.'):
        prepare_dataset(tmp_path / 'source', tmp_path / 'out')
    prepared = prepare_dataset(tmp_path / 'source', tmp_path / 'out', duplicates='drop')
    assert {part: len(names) for part, names in prepared.splits.items()} == kept
    assert said in str(prepared)
    assert ('No frames are left for test, so the config tests on val.' in str(prepared)) == ('test' not in kept)
    numbers = [{name[-1] for name in names} for names in prepared.splits.values()]
    assert len(set().union(*numbers)) == sum(map(len, numbers))


def test_the_same_picture_twice_comes_into_one_split(tmp_path):
    source = exports.plain(tmp_path / 'source', number=6)
    for index in range(6):
        for folder, suffix in (('images', '.jpg'), ('masks', '.png')):
            put(source / folder / f'copy_{index}{suffix}', (source / folder / f'{name_of(index)}{suffix}').read_bytes())
    prepared = prepare_dataset(source, tmp_path / 'out')
    part_of = {name: part for part, names in prepared.splits.items() for name in names}
    assert all(part_of[f'copy_{index}'] == part_of[name_of(index)] for index in range(6))


def test_one_frame_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match='only one frame, which leaves nothing for validation'):
        prepare_dataset(exports.plain(tmp_path / 'source', number=1), tmp_path / 'out')


# Writing


def test_what_is_in_the_target_is_not_overwritten(tmp_path):
    source, out = exports.plain(tmp_path / 'source'), tmp_path / 'out'
    prepare_dataset(source, out)
    put(out / 'images/mine.png', scene(0)[0])
    with pytest.raises(DataError, match=r'contains frames that the source lacks \(mine\)'):
        prepare_dataset(source, out)
    (out / 'images/mine.png').unlink()
    put(out / f'labels/{name_of(0)}.png', np.zeros(exports.SIZE, np.uint8))
    with pytest.raises(DataError, match=r'street_0000\.png is missing or differs'):
        prepare_dataset(source, out)
    put(tmp_path / 'file', b'x')
    with pytest.raises(DataError, match='file is a file; choose another folder'):
        prepare_dataset(source, tmp_path / 'file')


def test_full_disk(tmp_path, monkeypatch):
    source = exports.plain(tmp_path / 'source')
    write = Path.write_bytes

    def full(self, data):
        if name_of(5) in self.name:
            raise OSError(28, 'No space left on device')
        return write(self, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(StorageError, match=r'out cannot be written \(No space left on device\): make room'):
        prepare_dataset(source, tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_two_at_once(tmp_path, monkeypatch):
    """While one prepares, another is refused; once the first was killed, the next one goes through."""
    source, out = exports.plain(tmp_path / 'source'), tmp_path / 'out'
    code = (
        'import sys, time\n'
        'from mmseg_erfnet.datasets.preparation.writing import Target\n'
        'def wait(*_):\n'
        "    print('waiting', flush=True)\n"
        '    time.sleep(600)\n'
        'Target.put_splits = wait\n'
        'from mmseg_erfnet.datasets.preparation import prepare_dataset\n'
        'prepare_dataset(*sys.argv[1:])\n'
    )
    with subprocess.Popen([sys.executable, '-c', code, source, out], stdout=subprocess.PIPE, text=True) as process:
        while (line := process.stdout.readline()) != 'waiting\n':
            assert line, 'it ended'
        with pytest.raises(UsageError, match=r'out is being prepared by another process; wait'):
            prepare_dataset(source, out)
        process.kill()
    assert not out.exists()
    assert prepare_dataset(source, out).changed
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'source']


def test_interrupted(tmp_path, monkeypatch):
    source = exports.plain(tmp_path / 'source')
    monkeypatch.setattr(Target, 'put_splits', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(source, tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_tool(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('signal.signal', lambda *_: None)
    exports.roboflow(tmp_path / 'export')
    assert run_tool('prepare_dataset', 'export', '--out', 'data/my.streets').status == 0
    said = capsys.readouterr().out
    assert 'Roboflow, "Semantic Segmentation Masks": 10 frames of 5 classes' in said
    assert 'Next: mmseg-erfnet train configs/my_streets.py' in said
    before = contents(tmp_path)
    assert run_tool('prepare_dataset', 'export', '--out', 'data/my.streets').status == 0
    assert contents(tmp_path) == before
    assert 'nothing was changed' in capsys.readouterr().out
    put(tmp_path / 'configs/taken.py', 'x = 1\n')
    ended = run_tool('prepare_dataset', 'export', '--out', 'data/taken')
    assert 'configs/taken.py exists and was not written by prepare_dataset' in ended.sentence
    assert not (tmp_path / 'data/taken').exists()
    assert 'does not exist' in run_tool('prepare_dataset', 'nowhere', '--out', 'data/x').sentence
    capsys.readouterr()
    # A folder of the same name elsewhere, and one that is prepared anew with fewer classes.
    ended = run_tool('prepare_dataset', 'export', '--out', 'new/my.streets')
    assert 'configs/my_streets.py exists and trains on data/my.streets, not on new/my.streets' in ended.sentence
    shutil.rmtree('data/my.streets')
    ended = run_tool('prepare_dataset', 'export', '--out', 'data/my.streets', '--ignore', 'sky')
    assert 'configs/my_streets.py exists and is for 5 classes, but the data set has 4' in ended.sentence
    assert 'Next' not in capsys.readouterr().out
    assert not (tmp_path / 'new').exists()
    assert not (tmp_path / 'data/my.streets').exists()
