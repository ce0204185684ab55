"""The synthetic CamVid is CamVid in form, can be told from it, and is the same for the same seed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.tools import run_tool

from mmseg_erfnet.datasets import CamVidDataset, standard_split, synthetic
from mmseg_erfnet.datasets.camvid import CLASSES
from mmseg_erfnet.datasets.synthetic import render, synthesize_camvid
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError


def test_splits_and_names(synthetic_camvid):
    splits = {path.stem: path.read_text().split() for path in (synthetic_camvid / 'splits').glob('*.txt')}
    sizes = {name: len(members) for name, members in splits.items()}
    assert sizes == {'train': 10, 'val': 3, 'test': 3, 'trainval': 13}
    assert splits['trainval'] == splits['train'] + splits['val']
    names = {*splits['trainval'], *splits['test']}
    assert len(names) == 16
    assert not names & {*standard_split('trainval'), *standard_split('test')}


def test_every_class_occurs_in_its_exact_colour(synthetic_camvid, tmp_path):
    # LoadSegLabels refuses any colour that is not in the palette.
    root = synthesize_camvid(tmp_path / 'camvid', images=120, size=(96, 128))
    dataset = CamVidDataset(data_root=str(root), pipeline=[LoadSegLabels()])
    seen = set().union(*(np.unique(dataset[index]['gt_seg_map']).tolist() for index in range(len(dataset))))
    assert {CLASSES[index] for index in seen} == set(CLASSES)


def test_scenes_can_be_learnt():
    """Most pixels of some frames can be told by the mean colour and height of their class in others."""
    train, test = ([render((96, 128), 0, index) for index in indices] for indices in (range(12), range(12, 16)))

    def features(frame: np.ndarray) -> np.ndarray:
        height = np.broadcast_to(np.linspace(0, 200, 96)[:, None, None], (96, 128, 1))
        return np.concatenate([cv2.blur(frame, (3, 3)).astype(float), height], -1).reshape(-1, 4)

    def codes(labels: np.ndarray) -> np.ndarray:
        return (labels.astype(int) @ [1, 256, 65536]).ravel()

    x, y = (np.concatenate(parts) for parts in zip(*((features(f), codes(t)) for f, t in train), strict=True))
    common = [code for code in np.unique(y) if (y == code).mean() > 0.02]
    means = np.stack([x[y == code].mean(0) for code in common])
    hits = [
        (np.array(common)[((features(f)[:, None] - means) ** 2).sum(-1).argmin(1)] == codes(t)).mean() for f, t in test
    ]
    assert np.mean(hits) > 0.6


def test_the_same_seed_gives_the_same_files(tmp_path):
    def contents(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*.*')}

    first, again = (synthesize_camvid(tmp_path / name, images=5, size=(64, 64), seed=3) for name in ('a', 'b'))
    assert len(contents(first)) == 14
    assert contents(first) == contents(again)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    other, _ = render((64, 64), 4, 0)
    assert not np.array_equal(other, cv2.imread(str(next((first / '701_StillsRaw_full').iterdir()))))
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(DataError, match='exists already; remove it or choose another folder'):
        synthesize_camvid(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


def test_wrong_arguments(tmp_path):
    with pytest.raises(UsageError, match='4 frames cannot be split in three; ask for 5 or more'):
        synthesize_camvid(tmp_path, images=4)
    with pytest.raises(UsageError, match='at least 32 pixels per side, not 31x64'):
        synthesize_camvid(tmp_path, size=(31, 64))
    for seed in (-1, 1 << 32):
        with pytest.raises(UsageError, match=f'a seed is a number from 0 to 4294967295, not {seed}'):
            synthesize_camvid(tmp_path, seed=seed)


def test_interrupted_it_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, 'encode_png', interrupt)
    with pytest.raises(KeyboardInterrupt):
        synthesize_camvid(tmp_path / 'camvid')
    assert not list(tmp_path.iterdir())


def test_two_at_once(tmp_path, monkeypatch):
    """In containers, both may have the same process id."""
    encode = synthetic.encode_png

    def meanwhile(picture):
        monkeypatch.setattr(synthetic, 'encode_png', encode)
        with pytest.raises(UsageError, match='is being prepared by another process; wait for it'):
            synthesize_camvid(tmp_path / 'camvid', images=5, size=(32, 32))
        return encode(picture)

    monkeypatch.setattr(synthetic, 'encode_png', meanwhile)
    synthesize_camvid(tmp_path / 'camvid', images=5, size=(32, 32))
    assert [path.name for path in tmp_path.iterdir()] == ['camvid']
    assert len(list((tmp_path / 'camvid').rglob('*.png'))) == 10


def test_tool(tmp_path, capsys):
    arguments = ['--out', str(tmp_path / 'x'), '--images', '5', '--size', '48x64']
    assert run_tool('synthesize_camvid', *arguments).status == 0
    assert f'5 synthetic frames of 48x64 in {tmp_path}/x' in capsys.readouterr().out
    assert '/x exists already' in run_tool('synthesize_camvid', *arguments).sentence
