import errno
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_erfnet.engine.runs import (
    are_metrics,
    check_own_files,
    checkpoint_to_test,
    work_dir_of_test,
    writing_reported,
)
from mmseg_erfnet.errors import StorageError, UsageError


def run(folder: Path, *checkpoints: str) -> Path:
    folder.mkdir(parents=True)
    for name in (*checkpoints, 'last_checkpoint'):
        (folder / name).touch()
    return folder


def test_a_folder_stands_for_its_best_checkpoint(tmp_path):
    folder = run(tmp_path / 'run', 'epoch_30.pth', 'best_mIoU_epoch_5.pth', 'best_mIoU_epoch_20.pth')
    assert checkpoint_to_test(folder) == str(folder / 'best_mIoU_epoch_20.pth')
    assert checkpoint_to_test(folder / 'epoch_30.pth') == str(folder / 'epoch_30.pth')
    assert checkpoint_to_test(*sorted(folder.glob('best_*'))) == str(folder / 'best_mIoU_epoch_20.pth')
    without = run(tmp_path / 'trainval', 'epoch_9.pth', 'epoch_10.pth')
    (without / 'last_checkpoint').write_text('epoch_10.pth')
    assert checkpoint_to_test(without) == str(without / 'epoch_10.pth')


@pytest.mark.parametrize('paths', [('missing.pth',), ('.',), ('a/best_1.pth', 'b/best_1.pth')])
def test_what_names_no_checkpoint_is_said(tmp_path, monkeypatch, paths):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r'no checkpoint (in )?|One checkpoint is tested at a time'):
        checkpoint_to_test(*paths)


def test_a_test_never_writes_into_another_run(tmp_path):
    default, other = run(tmp_path / 'work_dirs' / 'model'), run(tmp_path / 'a', 'best_mIoU_epoch_5.pth')
    cfg = Config(dict(work_dir=str(default)))
    assert work_dir_of_test(cfg, other / 'best_mIoU_epoch_5.pth') == str(other), 'its own run'
    assert work_dir_of_test(cfg, default / 'epoch_1.pth') == str(default)
    assert work_dir_of_test(cfg, tmp_path / 'weights' / 'shipped.pth') == f'{default}_shipped'
    cfg.work_dir = str(tmp_path / 'work_dirs' / 'new')
    assert work_dir_of_test(cfg, tmp_path / 'weights' / 'shipped.pth') == cfg.work_dir


def test_a_run_replaces_no_file_that_no_run_wrote(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text('model = 1\n')
    with pytest.raises(UsageError, match=r'config\.py is an input, .*; choose another --work-dir'):
        check_own_files(tmp_path, str(config))
    check_own_files(tmp_path / 'new', str(config))
    check_own_files(tmp_path, str(tmp_path / 'elsewhere' / 'other.py'))
    (tmp_path / 'curves.png').touch()
    with pytest.raises(UsageError, match=r'curves\.png exists, and is not a result of an earlier run'):
        check_own_files(tmp_path, None)
    (tmp_path / '.training.lock').touch()  # the folder of a run
    check_own_files(tmp_path, str(config))


@pytest.mark.parametrize(
    ('content', 'found'),
    [(b'{"confusion_matrix": [[1]]}', True), (b'{"mIoU": 3}', False), (b'[1]', False), (b'\xff', False), (b'', False)],
)
def test_metrics_of_a_test_are_told_from_other_files(tmp_path, content, found):
    (tmp_path / 'metrics.json').write_bytes(content)
    assert are_metrics(tmp_path / 'metrics.json') == found


@pytest.mark.parametrize(
    ('number', 'name', 'reported'),
    [
        (errno.ENOSPC, None, True),
        (errno.EACCES, 'run/x/y.log', True),
        (errno.EEXIST, 'run', True),
        (errno.EACCES, 'data/frame.png', False),
        (errno.EACCES, None, False),
    ],
)
def test_a_failed_write_is_a_sentence(number, name, reported):
    error = OSError(number, 'reason', name) if name else OSError(number, 'reason')
    with pytest.raises(OSError, match='cannot be written' if reported else 'reason') as info, writing_reported('run'):
        raise error
    assert (type(info.value) is StorageError) is reported
