"""Labels in, class ids out: exactly, or with a sentence that says what is wrong."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import BROKEN
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmseg_erfnet.datasets.base import CheckedSegDataset
from mmseg_erfnet.datasets.camvid import CLASSES, COLOURS, PALETTE
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError

SHAPE = (24, 32)


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 32, SHAPE).astype(np.uint8)


@pytest.fixture
def painted(ids, tmp_path) -> str:
    path = str(tmp_path / 'x_L.png')
    Image.fromarray(np.array(PALETTE, np.uint8)[ids]).save(path)
    return path


@pytest.fixture
def indexed(ids, tmp_path) -> str:
    path = str(tmp_path / 'x_ids.png')
    Image.fromarray(ids).save(path)
    return path


def load(path: str, transform: LoadSegLabels | None = None, **results) -> np.ndarray:
    results = (transform or LoadSegLabels()).transform({'seg_map_path': path, 'seg_fields': [], **results})
    assert results['seg_fields'] == ['gt_seg_map']
    assert results['gt_seg_map'].dtype == np.uint8
    return results['gt_seg_map']


def test_colours_become_ids(painted, ids):
    np.testing.assert_array_equal(load(painted), ids)


def test_real_labels_agree_with_a_search_by_class(camvid_root):
    path = min((camvid_root / 'LabeledApproved_full').glob('*_L.png'))
    rgb = np.asarray(Image.open(path).convert('RGB'))
    labels = load(str(path))
    for index, colour in enumerate(PALETTE):
        np.testing.assert_array_equal(labels == index, (rgb == colour).all(-1), err_msg=CLASSES[index])


def test_indices_stay_or_follow_the_label_map_as_in_mmseg(indexed, ids):
    label_map = {old: 255 if old % 3 else old // 3 for old in range(32)}
    for options in (
        {},
        {'label_map': label_map},
        {'label_map': label_map, 'reduce_zero_label': True},
        {'reduce_zero_label': True},
    ):
        if options.get('reduce_zero_label') and 'label_map' in options:
            options['label_map'] = {**label_map, 31: 7}
        stock = LoadAnnotations().transform(
            {'seg_map_path': indexed, 'seg_fields': [], 'reduce_zero_label': False, **options}
        )
        np.testing.assert_array_equal(load(indexed, LoadSegLabels(palette=None), **options), stock['gt_seg_map'])


def test_colours_follow_the_label_map(painted, ids):
    label_map = {old: 255 if old == 30 else 31 - old for old in range(32)}
    np.testing.assert_array_equal(load(painted, label_map=label_map), np.where(ids == 30, 255, 31 - ids))
    # The next dataset's map must not be the last one's.
    np.testing.assert_array_equal(load(painted, label_map=dict.fromkeys(range(32), 0)), np.zeros(SHAPE))


def test_a_palette_of_ones_own(tmp_path):
    path = str(tmp_path / 'label.png')
    Image.fromarray(np.array([[[1, 2, 3], [250, 251, 252]]], np.uint8)).save(path)
    assert load(path, LoadSegLabels(palette=[[250, 251, 252], [1, 2, 3]])).tolist() == [[1, 0]]


def test_palette_images_are_read_by_colour_or_by_index(ids, tmp_path):
    path = str(tmp_path / 'p.png')
    image = Image.fromarray(ids, 'P')
    image.putpalette(np.array(PALETTE, np.uint8).tobytes())
    image.save(path)
    np.testing.assert_array_equal(load(path), ids)
    np.testing.assert_array_equal(load(path, LoadSegLabels(palette=None)), ids)


def test_without_labels_nothing_changes():
    results = {'img_path': 'x.png', 'ori_shape': SHAPE}
    assert LoadSegLabels()(dict(results)) == results


def test_labels_are_compared_with_the_file_not_with_the_resized_frame(painted, ids):
    assert load(painted, ori_shape=SHAPE, img_shape=(12, 16)).shape == SHAPE


def test_resized_labels_set_the_size_of_the_score(painted, ids):
    expected = cv2.resize(ids, (16, 8), interpolation=cv2.INTER_NEAREST_EXACT)
    results = {'seg_map_path': painted, 'seg_fields': [], 'ori_shape': SHAPE, 'img_shape': SHAPE}
    resized = LoadSegLabels(size=(16, 8)).transform(dict(results))
    np.testing.assert_array_equal(resized['gt_seg_map'], expected)
    assert resized['ori_shape'] == (8, 16)


def test_resized_labels_lie_on_the_frame(tmp_path):
    """Frames are resized by their pixels' centres. Half of this one is class 1; a shift would show."""
    label = np.zeros((48, 60), np.uint8)
    label[:, 30:] = 1
    cv2.imwrite(str(tmp_path / 'label.png'), label)
    results = {'seg_map_path': str(tmp_path / 'label.png'), 'seg_fields': [], 'ori_shape': label.shape}
    resized = LoadSegLabels(palette=None, size=(20, 16)).transform(results)['gt_seg_map']
    frame = cv2.resize(label * 255, (20, 16), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resized, frame > 127)
    np.testing.assert_array_equal(resized, resized[:, ::-1] ^ 1)


def test_unknown_colours_are_an_error_or_ignored(painted, ids):
    pixels = cv2.imread(painted)
    pixels[:2, :5] = (3, 2, 1)
    pixels[9, 9] = (0, 0, 1)
    cv2.imwrite(painted, pixels)
    with pytest.raises(
        DataError,
        match=r'x_L\.png has colours outside the palette: RGB \(1, 2, 3\) \(10 pixels\), '
        r"RGB \(1, 0, 0\) \(1 pixels\); fix the label, or set unknown='ignore'",
    ):
        load(painted)
    ids[:2, :5] = ids[9, 9] = 255
    for label_map in (None, {index: index for index in range(32)}):
        np.testing.assert_array_equal(load(painted, LoadSegLabels(unknown='ignore'), label_map=label_map), ids)


def test_unknown_colours_are_cut_short(tmp_path):
    path = str(tmp_path / 'noise.png')
    cv2.imwrite(path, np.random.RandomState(0).randint(1, 60, (16, 16, 3)).astype(np.uint8))
    with pytest.raises(DataError, match='and 251 more'):
        load(path)


def test_unknown_ids_are_an_error_or_ignored(indexed, ids):
    label_map = dict.fromkeys(range(31), 0)
    with pytest.raises(DataError, match=rf'ids that the dataset does not know: 31 \({(ids == 31).sum()} pixels\)'):
        load(indexed, LoadSegLabels(palette=None), label_map=label_map)
    loaded = load(indexed, LoadSegLabels(palette=None, unknown='ignore'), label_map=label_map)
    np.testing.assert_array_equal(loaded, np.where(ids == 31, 255, 0))


def test_all_void_labels_load(tmp_path):
    path = str(tmp_path / 'void.png')
    cv2.imwrite(path, np.full((*SHAPE, 3), COLOURS['Void'], np.uint8))
    assert (load(path, label_map=dict.fromkeys(range(32), 255)) == 255).all()


def test_label_of_another_size(painted):
    with pytest.raises(DataError, match=r'x_L\.png is 32x24, but its frame is 30x24; .*restore the pair'):
        load(painted, ori_shape=(24, 30))


def test_missing_label():
    with pytest.raises(DataError, match=r'/none_L\.png cannot be read \(No such file or directory\); restore it'):
        load('/none_L.png')


@pytest.mark.parametrize(
    ('spoil', 'sentence'),
    [
        (lambda data: data[:-20], 'is truncated at'),
        (lambda data: b'', r'is empty \(0 bytes\)'),
        (lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:], 'is damaged'),
    ],
)
@pytest.mark.parametrize('palette', ['camvid', None])
def test_damaged_label(painted, indexed, spoil, sentence, palette):
    path = painted if palette else indexed
    with Path(path).open('r+b') as file:
        data = spoil(file.read())
        file.seek(0)
        file.truncate()
        file.write(data)
    with pytest.raises(DataError, match=rf'\.png {sentence}.*put the original file in its place'):
        load(path, LoadSegLabels(palette=palette))


def test_labels_whose_pixels_were_cut_before_compression(tmp_path):
    """A PNG whose parts are whole but which holds too few pixels, which decoders fill up or refuse."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', 32, 24, 8, 2, 0, 0, 0)
    path = tmp_path / 'short.png'
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b'\0' * (1 + 96) * 5)[:-4])
        + chunk(b'IEND', b'')
    )
    with pytest.raises(DataError, match=r'short\.png'):
        load(str(path))


@pytest.mark.parametrize(
    ('convert', 'kind'),
    [
        (lambda image: image[..., 0], 'grey, 8 bits'),
        (lambda image: np.dstack([image, image[..., :1]]), 'RGBA, 8 bits'),
        (lambda image: image.astype(np.uint16), 'RGB, 16 bits'),
    ],
)
def test_colour_label_of_another_kind(painted, convert, kind):
    cv2.imwrite(painted, convert(cv2.imread(painted)))
    with pytest.raises(DataError, match=rf'x_L\.png is not an 8-bit RGB label image \(32x24, {kind}.*palette=None'):
        load(painted)


@pytest.mark.parametrize('pixels', [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16)])
def test_index_label_of_another_kind(tmp_path, pixels):
    path = str(tmp_path / 'x.png')
    cv2.imwrite(path, pixels)
    with pytest.raises(DataError, match=r'x\.png is not an 8-bit image of class indices'):
        load(path, LoadSegLabels(palette=None))


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ({'palette': 'cityscapes'}, "palette is 'camvid', a list"),
        ({'palette': [[0, 0]]}, 'three integers from 0 to 255'),
        ({'palette': [[0, 0, 256]]}, 'three integers from 0 to 255'),
        ({'palette': [[0, 0, 0], [0, 0, 0]]}, 'a different colour for each class'),
        ({'unknown': 'void'}, "unknown is 'error' or 'ignore'"),
    ],
)
def test_wrong_arguments(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        LoadSegLabels(**arguments)


# --- Frames -----------------------------------------------------------------------------------------------------------


def dataset(folder: Path, **options) -> CheckedSegDataset:
    """A dataset of the one frame `x.png`, with MMSegmentation's loader."""
    return CheckedSegDataset(
        data_prefix={'img_path': str(folder)},
        img_suffix='.png',
        pipeline=[{'type': 'LoadImageFromFile'}],
        metainfo={'classes': ['one'], 'palette': [[1, 2, 3]]},
        test_mode=True,
        **options,
    )


@pytest.mark.parametrize('cache_gb', [0, 0.01])
@pytest.mark.parametrize('kind', BROKEN)
def test_a_frame_that_cannot_be_decoded_is_named(tmp_path, kind, cache_gb):
    """MMCV ends in an AssertionError without a name."""
    (tmp_path / 'x.png').write_bytes(BROKEN[kind])
    with pytest.raises(DataError, match=r'x\.png (is|has|cannot be read) .*(put the original|convert it)'):
        dataset(tmp_path, cache_gb=cache_gb)[0]


def test_frames_and_labels_that_are_pipes_are_not_waited_for(tmp_path, ids):
    Image.fromarray(np.dstack([ids] * 3)).save(tmp_path / 'x.png')
    frames = dataset(tmp_path)
    assert frames[0]['img'].shape == (*SHAPE, 3)
    (tmp_path / 'x.png').unlink()
    os.mkfifo(tmp_path / 'x.png')
    with pytest.raises(DataError, match=r'x\.png is not a regular file; restore it'):
        frames[0]
    with pytest.raises(DataError, match=r'x\.png is not a regular file'):
        load(str(tmp_path / 'x.png'))


def test_an_error_of_the_loader_is_said_of_the_frame_or_raised(tmp_path, ids, monkeypatch):
    """An older decoder may refuse what the check accepts. What is no fault of the frame stays an error of its own."""
    Image.fromarray(np.dstack([ids] * 3)).save(tmp_path / 'x.png')
    frames = dataset(tmp_path)

    def fail(results):
        raise AssertionError

    monkeypatch.setattr(frames.pipeline, 'transforms', [fail])
    with pytest.raises(AssertionError):
        frames[0]
    monkeypatch.setattr('mmseg_erfnet.images.cv2.imdecode', lambda data, flags: None)
    with pytest.raises(DataError, match=r'x\.png is damaged and cannot be decoded'):
        frames[0]


@pytest.mark.parametrize('orientation', [3, 6])
def test_turned_frames(tmp_path, ids, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.dstack([ids] * 3)).save(tmp_path / 'x.png', exif=exif)
    if orientation == 3:  # the label may be turned or not
        with pytest.raises(DataError, match=r'x\.png is stored turned \(EXIF orientation 3\)'):
            dataset(tmp_path)[0]
    else:  # it has another size if it is not turned, too
        assert dataset(tmp_path)[0]['ori_shape'] == SHAPE[::-1]
