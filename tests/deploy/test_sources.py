"""What inputs mean: images, clips and live sources, with names of their own."""

import os
from pathlib import Path

import pytest

from mmseg_erfnet.deploy.sources import find_sources
from mmseg_erfnet.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files by name, empty; the current folder is theirs."""
    for name in (
        'in/0.png',
        'in/1.JPG',
        'in/below/2.png',
        'in/drive.mp4',
        'in/notes.txt',
        'in/._0.png',
        'in/__MACOSX/0.png',
        'in/.ipynb_checkpoints/0-checkpoint.png',
        'other/0.png',
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'in'


def names(*inputs: str | Path, **options) -> dict[str, str]:
    return {source.name: source.kind for source in find_sources(map(os.fspath, inputs), **options)}


def test_folders_hold_images_and_clips(folder):
    found = {'0': 'image', '1': 'image', 'below/2': 'image', 'drive': 'video'}
    assert names(folder) == names('in') == names('in/') == found
    assert find_sources(['in'])[0].place == str(folder / '0.png')


def test_links_to_folders_are_entered_once(folder, tmp_path):
    (tmp_path / 'other/below').mkdir()
    (tmp_path / 'other/below/9.png').touch()
    (folder / 'linked').symlink_to(tmp_path / 'other')
    (folder / 'again').symlink_to(tmp_path / 'other')
    (folder / 'linked/home').symlink_to(folder)
    found = names(folder)
    assert set(found) == {'0', '1', 'below/2', 'drive', 'again/0', 'again/below/9'}
    (tmp_path / 'all').symlink_to(folder)
    assert set(names(tmp_path / 'all')) == set(found)


def test_single_files_and_patterns(folder):
    assert names('in/0.png') == {'0': 'image'}
    assert names('in/drive.mp4') == {'drive': 'video'}
    assert names('in/[01].*') == {'0': 'image', '1': 'image'}
    assert names('in/**/*.png') == {'0': 'image', 'below/2': 'image'}
    assert names('in/*.mp4') == {'drive': 'video'}
    assert names('i*') == names(folder)
    # A file whose name is a pattern.
    (folder / 'x[1].png').touch()
    assert names('in/x[1].png') == {'x[1]': 'image'}


def test_an_unquoted_pattern_is_several_inputs(folder):
    assert names('in/0.png', 'in/1.JPG') == {'0': 'image', '1': 'image'}
    assert names('in/0.png', 'in/0.png') == {'0': 'image'}
    # Of several inputs, names are below the folder that they share.
    assert set(names('in/0.png', 'other/0.png')) == {'in/0', 'other/0'}
    assert set(names('in', 'other')) == {'in/0', 'in/1', 'in/below/2', 'in/drive', 'other/0'}


def test_live_sources(folder):
    assert names('0', '7') == {'camera0': 'live', 'camera7': 'live'}
    (source,) = find_sources(['rtsp://user:secret@10.0.0.8:554/live/1?x=2'])
    assert (source.kind, source.name) == ('live', '10.0.0.8_554_live_1')
    assert str(source) == 'rtsp://10.0.0.8:554/live/1?x=2'
    assert names('http://host/drive.mp4') == {'host_drive.mp4': 'live'}
    (folder.parent / '7').touch()
    assert names('7') == {'7': 'video'}, 'a file of that name goes first'


def test_streams_have_names_of_their_own(folder):
    assert names('0', 'rtsp://h/cam?ch=1', 'rtsp://h/cam?ch=2') == dict.fromkeys(
        ('camera0', 'h_cam_ch_1', 'h_cam_ch_2'), 'live'
    )
    # What the query does not tell apart.
    addresses = 'rtsp://a:1@h/cam', 'rtsp://b:2@h/cam', 'http://h/cam'
    found = set(names(*addresses))
    assert len(found) == 3
    assert found == set(names(*reversed(addresses)))
    assert all(name.startswith('h_cam_') for name in found)
    # A clip's labels go into a folder of its name.
    (folder / 'camera0').mkdir()
    (folder / 'camera0/000000.png').touch()
    assert 'camera0.live' in names(folder, '0')


def test_what_is_given_twice_is_named(folder):
    for inputs, twice in (
        (('0', '0'), 'camera 0'),
        (('0', 'rtsp://u:se@cret@h/cam?ch=1', 'rtsp://u:se@cret@h/cam?ch=1'), r'rtsp://h/cam\?ch=1'),
    ):
        with pytest.raises(UsageError, match=f'^{twice} is given twice'):
            names(*inputs)


def test_the_folder_of_the_results_is_left_out(folder):
    (folder / 'out/painted').mkdir(parents=True)
    (folder / 'out/painted/0.png').touch()
    assert 'out/painted/0' in names(folder)
    assert set(names(folder, out=folder / 'out')) == {'0', '1', 'below/2', 'drive'}
    assert set(names(folder, out=folder)) >= {'0', 'out/painted/0'}
    assert set(names('in/**/*.png', out=folder / 'out')) == {'0', 'below/2'}
    assert 'out/painted/0' not in names(folder, is_result=lambda path: path.parent.name == 'painted')


@pytest.mark.parametrize('files', [['a.png', 'a.jpg', 'a.jpg.png', 'a.jpg.png.png'], ['d.mp4', 'd/0.png', 'd.mp4.png']])
def test_every_input_has_a_name_of_its_own(tmp_path, files):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_sources([str(tmp_path)])
    assert len({source.name for source in found}) == len(files)
    for one in found:
        if one.kind == 'video':
            assert not any(Path(other.name).is_relative_to(one.name) for other in found if other is not one)


def test_content_tells_what_a_suffix_does_not(tmp_path):
    (tmp_path / 'photo').write_bytes(b'\x89PNG\r\n\x1a\n')
    (tmp_path / 'film').write_bytes(b'anything')
    assert names(tmp_path / 'photo') == {'photo': 'image'}
    assert names(tmp_path / 'film') == {'film': 'video'}


def test_what_is_not_there(folder, tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'empty').mkdir()
    for text, sentence in (
        ('absent.png', r'There is no absent\.png: give an image'),
        ('*.bmp', r'There is no \*\.bmp'),
        ('x' * 300, 'There is no xxx'),
        ('nul\0', 'There is no nul'),
        ('empty', r'empty holds no image \(\.png.* and no video'),
        ('in/*.txt', r'in/\*\.txt holds no image'),
        ('pipe.png', r'pipe\.png is not a regular file'),
        ('/dev/null', 'is not a regular file'),
        ('99999999999999999999', 'There is no camera'),
        ('rtsp://u:secret@[host/cam', r'^rtsp://\[host/cam is not a valid address: correct it'),
    ):
        with pytest.raises(UsageError, match=sentence):
            find_sources([text])


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith('below'):
            raise PermissionError(13, 'Permission denied', os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert names(folder) == {'0': 'image', '1': 'image', 'below': 'image', 'drive': 'video'}
