"""How the tools end: what a signal leaves behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from helpers.tools import run_tool

from mmseg_erfnet.cli import common
from mmseg_erfnet.files import folder_for, replacing


@pytest.fixture
def left(monkeypatch) -> Iterator[list[int]]:
    """The signals with which tools have ended."""
    numbers = []

    def leave(number: int) -> None:
        numbers.append(number)
        raise SystemExit(128 + number)

    monkeypatch.setattr(common, 'leave', leave)
    # A shell that starts a job in the background makes it ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield numbers
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_unfinished(number, left, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    @common.tool
    def main(argv=None):
        with folder_for(tmp_path / 'out'), replacing(tmp_path / 'out' / 'model.xml') as temporary:
            temporary.write_text('half')
            os.kill(os.getpid(), number)
            time.sleep(10)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + number
    assert left == [number]
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_at_once(left):
    @common.tool
    def main(argv=None):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # while it cleans up
            time.sleep(10)

    with pytest.raises(SystemExit):
        main()
    assert left == [signal.SIGTERM]


def test_a_tool_in_another_thread():
    done = []
    thread = threading.Thread(target=common.tool(lambda argv: done.append(argv)), args=(['x'],))
    thread.start()
    thread.join()
    assert done == [['x']]


def test_a_folder_that_gets_nothing_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_for(tmp_path / 'a' / 'b'):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with pytest.raises(IsADirectoryError), folder_for(tmp_path / 'a' / 'b') as folder:
        (folder / 'below').mkdir() or folder.read_text()
    assert (tmp_path / 'a' / 'b' / 'below').exists()
    with pytest.raises(ZeroDivisionError), folder_for(tmp_path / 'a'):
        raise ZeroDivisionError
    assert (tmp_path / 'a').exists()


def test_a_null_byte_in_an_argument_is_one_sentence(tmp_path):
    ended = run_tool('predict', f'{tmp_path}/photo\0.png')
    assert ended.status == 1
    assert r'photo\x00.png contains a null byte' in ended.sentence
