import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmseg_erfnet.engine.hooks.prediction import RECORD, PredictionHook, output_names
from mmseg_erfnet.errors import StorageError, UsageError


class Frames:
    """As much of a dataset as the hook asks for."""

    metainfo = dict(classes=('a', 'b'), palette=[[0, 0, 0], [255, 0, 0]])

    def __init__(self, *names: str, root: str | None = '/data/images') -> None:
        self.paths = [f'/data/images/{name}' for name in names]
        self.data_prefix = dict(img_path=root) if root else {}

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


def predict(hook: PredictionHook, dataset: Frames) -> None:
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    hook.before_test_epoch(runner)
    for value, path in enumerate(dataset.paths):
        sample = SimpleNamespace(
            img_path=path, pred_sem_seg=SimpleNamespace(data=_Labels(np.full((1, 4, 4), value, np.uint8)))
        )
        hook.after_test_iter(runner, 0, outputs=[sample])


class _Labels:
    def __init__(self, values):
        self.values = values

    def squeeze(self, axis):
        return _Labels(self.values.squeeze(axis))

    def cpu(self):
        return self

    def numpy(self):
        return self.values


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['city1/0001.png', 'city2/0001.png'], ['city1/0001.png', 'city2/0001.png']),
        (['x.jpg', 'x.png', 'x.jpg.png'], ['x.jpg.png', 'x.png.png', 'x.jpg.png.png']),
        (['a/b.c.jpg'], ['a/b.c.png']),
    ],
)
def test_relative_paths_are_kept(names, expected):
    assert list(output_names(Frames(*names)).values()) == expected


def test_images_beside_their_folder_keep_what_tells_them_apart():
    names = output_names(Frames('../one/1.png', '../two/1.png'))
    assert list(names.values()) == ['one/1.png', 'two/1.png']
    assert list(output_names(Frames('one/1.png', 'two/1.png', root=None)).values()) == ['one/1.png', 'two/1.png']


def test_images_of_one_name_in_two_folders_give_two_maps(tmp_path):
    predict(PredictionHook(out_dir=str(tmp_path / 'maps')), Frames('city1/0001.png', 'city2/0001.png'))
    found = [cv2.imread(str(tmp_path / 'maps' / city / '0001.png'), -1)[0, 0] for city in ('city1', 'city2')]
    assert found == [0, 1]


def test_only_what_a_test_has_written_is_replaced(tmp_path):
    hook, frames = PredictionHook(out_dir=str(tmp_path)), Frames('1.png', '2.png')
    predict(hook, frames)
    predict(hook, frames)
    predict(hook, Frames('3.png'))
    assert json.loads((tmp_path / RECORD).read_text()) == ['1.png', '2.png', '3.png']
    predict(hook, frames)

    (tmp_path / '4.png').write_bytes(b'ground truth')
    with pytest.raises(UsageError, match=r'not written by a test and would be replaced \(4\.png\)'):
        predict(hook, Frames('1.png', '4.png'))
    assert (tmp_path / '4.png').read_bytes() == b'ground truth'


@pytest.mark.parametrize('record', ['', '{}', '[1, null]', '\x00'])
def test_a_damaged_record_is_none(tmp_path, record):
    (tmp_path / RECORD).write_text(record)
    (tmp_path / '1.png').touch()
    with pytest.raises(UsageError, match='not written by a test'):
        predict(PredictionHook(out_dir=str(tmp_path)), Frames('1.png'))


def test_one_folder_cannot_take_both():
    with pytest.raises(UsageError, match='name two folders'):
        PredictionHook(out_dir='out', show_dir='./out')


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / 'out').touch()
    with pytest.raises(StorageError, match=r'out cannot be written .*choose another folder'):
        predict(PredictionHook(out_dir=str(tmp_path / 'out')), Frames('1.png'))
