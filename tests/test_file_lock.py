"""The lock on a folder or a file: there is one holder, and a process that dies releases it."""

import subprocess
import sys

import pytest

from mmseg_erfnet.errors import StorageError, UsageError
from mmseg_erfnet.files import TEMPORARY, locked, writing_together

HOLD = (
    'import contextlib, sys, time\n'
    'from mmseg_erfnet.files import locked, writing_together\n'
    'lock = locked(sys.argv[1], "") if sys.argv[2] == "alone" else writing_together(sys.argv[1])\n'
    'with lock:\n'
    '    print("held", flush=True)\n'
    '    time.sleep(600)\n'
)


@pytest.mark.parametrize('kind', ['folder', 'file'])
def test_one_holder_at_a_time(tmp_path, kind):
    path = tmp_path if kind == 'folder' else tmp_path / '.out.lock'
    with subprocess.Popen([sys.executable, '-c', HOLD, path, 'alone'], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == 'held\n'
        with pytest.raises(UsageError, match='someone else works here'), locked(path, 'someone else works here'):
            pass
        process.kill()
    # The killed process has released the lock; and there is only one holder within a process, too.
    with locked(path, 'no one'), pytest.raises(UsageError, match='I am here'), locked(path, 'I am here'):
        pass
    with locked(path, 'no one'):
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_goes_where_the_body_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / 'lock', ''):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='part of the path is a file'), locked(tmp_path / 'file/lock', ''):
        pass


def test_what_a_killed_process_left_is_removed_when_nobody_writes_there(tmp_path):
    left = tmp_path / f'{TEMPORARY}1.png', tmp_path / 'labels/below' / f'{TEMPORARY}2.png'
    for path in (*left, tmp_path / 'labels/0.png', tmp_path / 'mine' / f'{TEMPORARY}3.png'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / f'{TEMPORARY}4').symlink_to(tmp_path / 'mine')
    with subprocess.Popen([sys.executable, '-c', HOLD, tmp_path, 'together'], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b'held\n'
        left[0].touch()  # of the process that is at work
        with writing_together(tmp_path, ['labels']):
            assert all(path.exists() for path in left)
        process.kill()
    with writing_together(tmp_path, ['labels']), writing_together(tmp_path, ['labels']):
        assert not any(path.exists() for path in left)
        assert (tmp_path / 'labels/0.png').exists()
        assert (tmp_path / 'mine' / f'{TEMPORARY}3.png').exists()
