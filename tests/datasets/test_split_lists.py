"""Split lists, by whomever written: names come out, or a sentence."""

import contextlib
import random

import pytest
from helpers.fuzz import mutated

from mmseg_erfnet.datasets import FolderDataset
from mmseg_erfnet.datasets.preparation import sources, splits
from mmseg_erfnet.datasets.split_lists import parse_split
from mmseg_erfnet.errors import DataError, UserError

NAMES = ['a', 'b c', 'sequence 1/a1', 'x, y', 'ünï']
SEEDS = [
    b'a\nb c\nx, y\n',
    '\ufeffa.png\r\nb c.png\r\n'.encode(),
    'a\nünï\n'.encode('utf-16'),
    b'/SegNet/train/a.png /SegNet/trainannot/a.png\n',
    b'"/x/b c.png" y/b c.png\n',
    b'images\\a.jpg;labels\\a.png\n',
]


MEANT = [['a', 'b c', 'x, y'], ['a', 'b c'], ['a', 'ünï'], ['a'], ['b c'], ['a']]


@pytest.mark.parametrize(('data', 'names'), zip(SEEDS, MEANT, strict=True))
def test_lines_and_the_frames_that_they_mean(data, names):
    known = splits.called(NAMES)
    assert [splits.resolve(line, known) for line in parse_split(data, 'list')] == names


def test_names_in_folders():
    known = splits.called(['s1/a', 's2/a', 's2/b'])
    assert [splits.resolve(line, known) for line in ('s1/a.png', '/x/s2/a', 'b', 'a')] == ['s1/a', 's2/a', 's2/b', None]


def test_faults_are_named():
    with pytest.raises(DataError, match='list is not UTF-8 text'):
        parse_split(b'\xff\xfa', 'list')
    with pytest.raises(DataError, match='list is not text but binary data'):
        parse_split(b'a\0b\n', 'list')
    with pytest.raises(DataError, match='list, line 2, is too long for a name'):
        parse_split(b'a\n' + b'x' * 5000, 'list')
    with pytest.raises(DataError, match='list has 16777217 bytes, too many for a list'):
        parse_split(b'x' * ((1 << 24) + 1), 'list')


def test_fuzz():
    """Thousands of mutated lists: only errors of the project's own, and only names that are there."""
    chance = random.Random(1)
    known = splits.called(NAMES)
    for _ in range(4000):
        data = mutated(chance.choice(SEEDS), chance)
        file = sources.SourceFile('list', sources.PurePosixPath('splits/train.txt'), lambda data=data: data)
        try:
            lines = parse_split(data, 'list')
            found, _ = splits.listed_splits([file], NAMES)
        except UserError:
            continue
        assert {splits.resolve(line, known) for line in lines} <= {*NAMES, None}
        assert set().union(*found.values()) <= set(NAMES)


def test_fuzz_of_a_dataset(tmp_path):
    """The lists that training reads: a dataset, or an error of the project's own."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'classes.csv').write_text('name,r,g,b\na,0,0,0\n')
    for folder in ('images', 'labels'):
        (tmp_path / folder / 'a.png').touch()
    chance = random.Random(2)
    for _ in range(300):
        (tmp_path / 'list.txt').write_bytes(mutated(chance.choice(SEEDS), chance))
        with contextlib.suppress(UserError):
            assert len(FolderDataset(data_root=str(tmp_path), ann_file='list.txt', pipeline=[])) == 1
