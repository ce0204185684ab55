"""CamVid from each of its usual forms, from damaged ones, from a server that breaks off."""

import io
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import exports
from helpers.tools import run_tool

from mmseg_erfnet.datasets import CamVid11Dataset, CamVidDataset, standard_split
from mmseg_erfnet.datasets.camvid import CLASSES, COLOURS, FRAMES, LABELS, PALETTE, PALETTE11
from mmseg_erfnet.datasets.preparation import prepare_camvid, sources
from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, StorageError, UsageError

NAMES = {split: standard_split(split)[:number] for split, number in (('train', 3), ('val', 2), ('test', 1))}
ALL = sorted(name for names in NAMES.values() for name in names)


@pytest.fixture(scope='module')
def scenes() -> dict[str, tuple[bytes, bytes]]:
    """Frame and label of six names of CamVid, as PNG."""
    return {
        name: tuple(cv2.imencode('.png', pixels)[1].tobytes() for pixels in render((48, 64), 0, index))
        for index, name in enumerate(ALL)
    }


@pytest.fixture
def official(scenes, tmp_path) -> Path:
    """What the official archives unpack to."""
    root = tmp_path / 'source'
    for name, (frame, label) in scenes.items():
        put(root / FRAMES / f'{name}.png', frame)
        put(root / LABELS / f'{name}_L.png', label)
    return root


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def archives(scenes: dict) -> dict[str, bytes]:
    """The official archives: the frames' has a folder inside, the labels' has not."""
    return {
        f'{FRAMES}.zip': zip_bytes({f'{FRAMES}/{name}.png': frame for name, (frame, _) in scenes.items()}),
        f'{LABELS}.zip': zip_bytes({f'{name}_L.png': label for name, (_, label) in scenes.items()}),
    }


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob('*')
        if path.is_file()
    }


def check(out: Path, scenes: dict) -> None:
    """`out` is the canonical layout of the scenes, with splits, and nothing else is beside it."""
    expected = {f'{FRAMES}/{name}.png': frame for name, (frame, _) in scenes.items()}
    expected |= {f'{LABELS}/{name}_L.png': label for name, (_, label) in scenes.items()}
    found = {path: data for path, (data, _) in contents(out).items()}
    assert {path: data for path, data in found.items() if not path.startswith('splits')} == expected
    splits = {path: data.decode().split() for path, data in found.items() if path.startswith('splits')}
    assert splits == {
        'splits/train.txt': NAMES['train'],
        'splits/val.txt': NAMES['val'],
        'splits/test.txt': NAMES['test'],
        'splits/trainval.txt': sorted(NAMES['train'] + NAMES['val']),
    }
    assert not [path.name for path in out.parent.iterdir() if path.name.endswith('.preparing')]


def test_official_folders(official, scenes, tmp_path):
    prepared = prepare_camvid(official, tmp_path / 'out')
    check(tmp_path / 'out', scenes)
    assert str(prepared) == (
        f'6 frames in {tmp_path}/out, 6 of them among the 701 of CamVid.\n'
        'Frames are missing: the splits contain only the frames present.\n'
        'Splits: train 3, val 2, test 1, trainval 5.'
    )
    dataset = CamVidDataset(data_root=str(tmp_path / 'out'), ann_file='splits/trainval.txt', pipeline=[LoadSegLabels()])
    assert len(dataset) == 5
    assert dataset[0]['gt_seg_map'].shape == (48, 64)


def test_official_archives(scenes, tmp_path):
    for name, data in archives(scenes).items():
        put(tmp_path / 'source' / name, data)
    prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_archives_beside_what_was_unpacked_from_them(official, scenes, tmp_path):
    for name, data in archives(scenes).items():
        put(official / name, data)
    put(official / '__MACOSX' / f'._{ALL[0]}.png', b'not an image')
    prepare_camvid(official, tmp_path / 'out')
    check(tmp_path / 'out', scenes)


@pytest.mark.parametrize('suffix', ['_L', ''])
def test_folders_by_split_with_painted_labels(scenes, tmp_path, suffix):
    for split, names in NAMES.items():
        for name in names:
            put(tmp_path / 'CamVid' / split / f'{name}.png', scenes[name][0])
            put(tmp_path / 'CamVid' / f'{split}_labels' / f'{name}{suffix}.png', scenes[name][1])
    prepare_camvid(tmp_path / 'CamVid', tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_segnets_indexed_labels(scenes, tmp_path):
    ids = np.arange(48 * 64).reshape(48, 64).astype(np.uint8) % 12
    for split, names in NAMES.items():
        for name in names:
            put(tmp_path / 'CamVid' / split / f'{name}.png', scenes[name][0])
            put(tmp_path / 'CamVid' / f'{split}annot' / f'{name}.png', cv2.imencode('.png', ids)[1].tobytes())
    out = tmp_path / 'out'
    prepare_camvid(tmp_path / 'CamVid', out)
    painted = cv2.imread(str(out / LABELS / f'{ALL[0]}_L.png'))[..., ::-1]
    np.testing.assert_array_equal(painted, np.array([*PALETTE11, [0, 0, 0]])[ids])
    dataset = CamVid11Dataset(data_root=str(out), ann_file='splits/train.txt', pipeline=[LoadSegLabels()])
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], np.where(ids == 11, 255, ids))
    # 12 is no id of SegNet's.
    label = next((tmp_path / 'CamVid/trainannot').iterdir())
    put(label, cv2.imencode('.png', ids + 1)[1].tobytes())
    with pytest.raises(
        DataError, match=rf"{label.name} has ids that are not SegNet's: 12 \(252 pixels\); 0 to 10 are the"
    ):
        prepare_camvid(tmp_path / 'CamVid', tmp_path / 'other')


def test_frames_of_other_formats_become_png(official, scenes, tmp_path):
    frame = cv2.imdecode(np.frombuffer(scenes[ALL[0]][0], np.uint8), cv2.IMREAD_COLOR)
    (official / FRAMES / f'{ALL[0]}.png').unlink()
    cv2.imwrite(str(official / FRAMES / f'{ALL[0]}.bmp'), frame)
    prepare_camvid(official, tmp_path / 'out')
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out' / FRAMES / f'{ALL[0]}.png')), frame)


def test_a_second_run_changes_nothing(official, tmp_path):
    out = tmp_path / 'out'
    prepare_camvid(official, out)
    before = contents(out)
    again = prepare_camvid(official, out)
    assert contents(out) == before
    assert str(again).startswith(f'{out} is up to date with its 6 frames; nothing was changed.')


def test_what_was_unpacked_in_place_gets_its_splits(official, scenes):
    prepare_camvid(official, official)
    check(official, scenes)


def test_another_split_is_refused(official, tmp_path):
    """Never silently replaced: the lists that are there stay, and with them the test split."""
    out = tmp_path / 'out'
    prepare_camvid(official, out)
    before = contents(out)
    with pytest.raises(DataError, match=r'another split \(train 3, val 2, test 1, trainval 5\), which is kept'):
        prepare_camvid(official, out, split='random')
    assert contents(out) == before
    prepared = prepare_camvid(official, tmp_path / 'other', split='random')
    assert {split: len(names) for split, names in prepared.splits.items()} == {'train': 5, 'val': 1, 'trainval': 6}
    assert 'There is no split test' in str(prepared)
    with pytest.raises(UsageError, match="split is one of auto, standard, random, source, not 'all'"):
        prepare_camvid(official, out, split='all')


def test_a_list_that_went_missing_is_written_again(official, tmp_path, scenes):
    prepare_camvid(official, tmp_path / 'out')
    (tmp_path / 'out/splits/test.txt').unlink()
    assert prepare_camvid(official, tmp_path / 'out').changed
    check(tmp_path / 'out', scenes)


def test_what_else_is_in_the_target_is_not_overwritten(official, tmp_path):
    out = tmp_path / 'out'
    prepare_camvid(official, out)
    extra = out / FRAMES / 'mine.png'
    shutil.copy(out / FRAMES / f'{ALL[0]}.png', extra)
    with pytest.raises(DataError, match=r'contains frames that the source lacks \(mine\); remove it or choose another'):
        prepare_camvid(official, out)
    extra.unlink()
    damaged = out / FRAMES / f'{ALL[0]}.png'
    damaged.write_bytes(b'')
    with pytest.raises(DataError, match=rf'{damaged.name} is missing or differs'):
        prepare_camvid(official, out)
    assert damaged.read_bytes() == b''


def test_images_without_a_counterpart_are_left_out_and_named(official, tmp_path):
    (official / LABELS / f'{ALL[0]}_L.png').unlink()
    (official / FRAMES / f'{ALL[1]}.png').unlink()
    prepared = prepare_camvid(official, tmp_path / 'out')
    assert prepared.frames == 4
    assert '2 images without a counterpart were left out: ' in str(prepared)
    assert all(name in str(prepared) for name in ALL[:2])
    assert ALL[0] not in (tmp_path / 'out/splits/trainval.txt').read_text()


def spoil_pairs(root: Path) -> None:
    shutil.rmtree(root / LABELS)


def spoil_size(root: Path) -> None:
    path = root / LABELS / f'{ALL[0]}_L.png'
    cv2.imwrite(str(path), cv2.imread(str(path))[:40])


def spoil_colour(root: Path) -> None:
    path = root / LABELS / f'{ALL[0]}_L.png'
    pixels = cv2.imread(str(path))
    pixels[0, :2] = (3, 2, 1)
    cv2.imwrite(str(path), pixels)


def spoil_frame(root: Path) -> None:
    path = root / FRAMES / f'{ALL[0]}.png'
    path.write_bytes(path.read_bytes()[:-30])


def spoil_names(root: Path) -> None:
    shutil.copy(root / FRAMES / f'{ALL[0]}.png', root / f'{ALL[0]}.png')


def spoil_archive(root: Path) -> None:
    put(root / 'more.zip', b'PK no archive')


@pytest.mark.parametrize(
    ('spoil', 'sentence'),
    [
        (
            spoil_pairs,
            r'holds no frame with its label \(6 frames and 0 labels are there\); give a folder with 701_Stills',
        ),
        (spoil_size, rf'{ALL[0]}_L\.png is 64x40, but .*{ALL[0]}\.png is 64x48; restore the pair'),
        (spoil_colour, r"colours that are not CamVid's: RGB \(1, 2, 3\) \(2 pixels\); put the original"),
        (spoil_frame, rf'{ALL[0]}\.png is truncated at \d+ bytes'),
        (spoil_names, f'{ALL[0]} occurs twice, .*keep the right one'),
        (spoil_archive, r'more\.zip is not an archive or is damaged .*download it again'),
    ],
)
def test_bad_sources_leave_nothing(official, tmp_path, spoil, sentence):
    spoil(official)
    with pytest.raises(DataError, match=sentence):
        prepare_camvid(official, tmp_path / 'data/out')
    assert not any((tmp_path / 'data').glob('*'))


def test_colours_outside_the_palette_can_be_accepted(official, tmp_path):
    spoil_colour(official)
    prepare_camvid(official, tmp_path / 'out', unknown='ignore')
    name = f'{LABELS}/{ALL[0]}_L.png'
    assert (tmp_path / 'out' / name).read_bytes() == (official / name).read_bytes()


def test_foreign_frames_need_a_random_split(official, tmp_path):
    for path in [*official.rglob('*.png')]:
        path.rename(path.with_name(f'mine_{path.name}'))
    with pytest.raises(DataError, match=r'none of the 6 frames \(mine_.* and 3 more\) has the name of one of'):
        prepare_camvid(official, tmp_path / 'out')
    prepared = prepare_camvid(official, tmp_path / 'out', split='random')
    assert (prepared.frames, prepared.standard) == (6, 0)


@pytest.mark.parametrize('source', ['absent', 'file.txt'])
def test_no_source(tmp_path, source):
    (tmp_path / 'file.txt').write_text('text')
    with pytest.raises(DataError, match=rf'{source} (does not exist|is not an archive)'):
        prepare_camvid(tmp_path / source, tmp_path / 'out')


@pytest.mark.parametrize('member', ['../evil.png', '/evil.png', 'a/../../evil.png', '..\\evil.png', '../evil.txt'])
def test_archives_that_would_write_elsewhere(scenes, tmp_path, member):
    for name, data in archives(scenes).items():
        put(tmp_path / 'source' / name, data)
    put(tmp_path / 'source/x.zip', zip_bytes({member: scenes[ALL[0]][0]}))
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r'x\.zip would write outside its folder'):
        prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    assert contents(tmp_path) == before
    assert not Path('/evil.png').exists()


@pytest.mark.parametrize('damage', ['data', 'end', 'bomb'])
def test_damaged_archives(scenes, tmp_path, damage, monkeypatch):
    for name, data in archives(scenes).items():
        if damage == 'data':
            data = data[:200] + bytes(20) + data[220:]
        elif damage == 'end':
            data = data[: len(data) // 2]
        put(tmp_path / 'source' / name, data)
    if damage == 'bomb':
        monkeypatch.setattr(sources, 'MAX_BYTES', 100)
    with pytest.raises(DataError, match=rf'({FRAMES}|{LABELS})\.zip.*(download it again|claims \d+ bytes)'):
        prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_full_disk(official, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(self, data):
        if self.suffix == '.png':
            raise OSError(28, 'No space left on device')
        return write(self, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(StorageError, match=r'out cannot be written \(No space left on device\): make room'):
        prepare_camvid(official, tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['source']


@pytest.mark.parametrize(
    'number',
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        signal.SIGTERM,
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_leaves_nothing_half_done(official, scenes, tmp_path, number):
    """Killed while it waits in the middle of its work; a later run is as if nothing had been."""
    go_on = tmp_path.with_name(f'{tmp_path.name}.go_on')
    code = (
        'import pathlib, sys, time\n'
        'from mmseg_erfnet.datasets.preparation.writing import Target\n'
        'put = Target.put\n'
        'def slow(target, path, *file):\n'
        f'    if {ALL[-1]!r} in path:\n'
        "        print('waiting', flush=True)\n"
        f'        while not pathlib.Path({str(go_on)!r}).exists():\n'
        '            time.sleep(0.05)\n'
        '    put(target, path, *file)\n'
        'Target.put = slow\n'
        f'sys.argv = ["prepare", {str(official)!r}, "--out", {str(tmp_path / "out")!r}]\n'
        'from mmseg_erfnet.cli.prepare_camvid import main\nmain()\n'
    )
    # Tests that run in a shell's background ignore Ctrl-C, and so would what they start.
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.stdout.readline() != 'waiting\n':
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    go_on.touch()  # the signal is there by now
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (tmp_path / 'out').exists()
    if number != signal.SIGKILL:
        assert errors.strip().endswith('out was left unchanged')
        assert 'Traceback' not in errors
        assert [path.name for path in tmp_path.iterdir()] == ['source']
    prepare_camvid(official, tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_tool(official, scenes, tmp_path, capsys):
    old = signal.getsignal(signal.SIGTERM)
    try:
        assert run_tool('prepare_camvid', official, '--out', tmp_path / 'out').status == 0
        assert 'Splits: train 3, val 2, test 1, trainval 5.' in capsys.readouterr().out
        check(tmp_path / 'out', scenes)
        spoil_size(official)
        assert 'restore the pair' in run_tool('prepare_camvid', official, '--out', tmp_path / 'out').sentence
    finally:
        signal.signal(signal.SIGTERM, old)


# Variants


def test_kaggles_own_split_is_kept_and_named(scenes, tmp_path):
    own = {'train': ALL[:4], 'val': ALL[4:5], 'test': ALL[5:]}
    for split, names in own.items():
        for name in names:
            put(tmp_path / 'CamVid' / split / f'{name}.png', scenes[name][0])
            put(tmp_path / 'CamVid' / f'{split}_labels' / f'{name}_L.png', scenes[name][1])
    rows = [f'{name},{red},{green},{blue}' for name, (red, green, blue) in COLOURS.items()]
    put(tmp_path / 'CamVid/class_dict.csv', '\r\n'.join(['name,r,g,b', *rows]).encode())
    prepared = prepare_camvid(tmp_path / 'CamVid', tmp_path / 'out')
    assert prepared.splits == {**own, 'trainval': sorted(own['train'] + own['val'])}
    assert "The split is the source's own, not SegNet's: results on it are not comparable with published ones" in str(
        prepared
    )
    assert prepare_camvid(tmp_path / 'CamVid', tmp_path / 'standard', 'standard').splits['test'] == NAMES['test']


@pytest.mark.parametrize('packed', [False, True])
def test_fastai(scenes, tmp_path, packed):
    folder = tmp_path / 'camvid'
    ids = {}
    for name, (frame, label) in scenes.items():
        colours = cv2.imdecode(np.frombuffer(label, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        ids[name] = np.argmax((colours[..., None, :] == np.array(PALETTE)).all(-1), -1).astype(np.uint8)
        put(folder / f'images/{name}.png', frame)
        put(folder / f'labels/{name}_P.png', cv2.imencode('.png', ids[name])[1].tobytes())
    put(folder / 'codes.txt', '\n'.join(CLASSES).encode())
    put(folder / 'valid.txt', f'\ufeff{ALL[1]}.png\r\n{ALL[3]}.png\r\n'.encode())
    source = exports.tarred(folder, tmp_path / 'camvid.tgz') if packed else folder
    prepared = prepare_camvid(source, tmp_path / 'out')
    assert prepared.splits['val'] == [ALL[1], ALL[3]]
    assert len(prepared.splits['train']) == 4
    dataset = CamVidDataset(data_root=str(tmp_path / 'out'), ann_file='splits/val.txt', pipeline=[LoadSegLabels()])
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], ids[ALL[1]])


def test_a_zip_from_windows(official, scenes, tmp_path):
    archive = exports.zipped(official, tmp_path / 'camvid.zip', windows=True)
    prepare_camvid(archive, tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_lists_with_two_columns_and_suffixes(official, tmp_path):
    put(
        official / 'train.txt',
        ''.join(f'/SegNet/CamVid/train/{n}.png /x/trainannot/{n}.png\n' for n in ALL[:4]).encode(),
    )
    put(official / 'val.txt', '\n'.join(f'{name}.png' for name in ALL[4:]).encode('utf-16'))
    splits = prepare_camvid(official, tmp_path / 'out').splits
    assert (splits['train'], splits['val']) == (ALL[:4], ALL[4:])


def test_labels_in_other_colours(official, scenes, tmp_path):
    """With a list that names CamVid's classes they are translated; without one the remedy is `palette=...`."""
    swapped = {tuple(colour): tuple(reversed(colour)) for colour in PALETTE if tuple(reversed(colour)) != tuple(colour)}
    for name in ALL:
        pixels = cv2.imdecode(np.frombuffer(scenes[name][1], np.uint8), cv2.IMREAD_COLOR)
        put(official / LABELS / f'{name}_L.png', cv2.imencode('.png', pixels[..., ::-1])[1].tobytes())
    assert swapped
    with pytest.raises(DataError, match=r"colours that are not CamVid's: .*LoadSegLabels\(palette=\.\.\.\)"):
        prepare_camvid(official, tmp_path / 'out')
    lines = [f'{blue} {green} {red} {name}' for name, (red, green, blue) in COLOURS.items()]
    put(official / 'label_colors.txt', '\n'.join(lines).encode())
    prepare_camvid(official, tmp_path / 'out')
    label = cv2.imread(str(tmp_path / f'out/{LABELS}/{ALL[0]}_L.png'))
    np.testing.assert_array_equal(label, cv2.imdecode(np.frombuffer(scenes[ALL[0]][1], np.uint8), cv2.IMREAD_COLOR))


def test_names_with_blanks_and_newlines_load(official, tmp_path):
    for path in [*official.rglob(f'{ALL[0]}*')]:
        path.rename(path.with_name(path.name.replace(ALL[0], 'my \nframe 1 ')))
    prepare_camvid(official, tmp_path / 'out', split='random')
    dataset = CamVidDataset(data_root=str(tmp_path / 'out'), ann_file='splits/trainval.txt', pipeline=[LoadSegLabels()])
    assert 'my _frame 1.png' in {
        Path(info['img_path']).name for info in map(dataset.get_data_info, range(len(dataset)))
    }
    assert len(dataset) == 6


def test_links_to_folders_are_entered_once(official, scenes, tmp_path):
    linked = tmp_path / 'linked'
    linked.mkdir()
    for folder in (FRAMES, LABELS):
        (linked / folder).symlink_to(official / folder)
    (linked / 'again').symlink_to(linked / FRAMES)
    (linked / 'loop').symlink_to(linked)
    prepare_camvid(linked, tmp_path / 'out')
    check(tmp_path / 'out', scenes)
