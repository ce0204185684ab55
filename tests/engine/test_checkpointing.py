"""Which files are a run's, who may train in a folder, and what a resumed run takes from a checkpoint."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.tiny_run import tiny_run
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from mmseg_erfnet.engine.checkpointing import (
    LOCK,
    WorkDirLock,
    check_new_run,
    latest_checkpoint,
    own_work_dir,
    run_checkpoints,
)
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.engine.runner import SafeRunner
from mmseg_erfnet.errors import CheckpointError, StorageError, UsageError

RUNNERS = [SafeRunner, Runner]


# --- Whose files ------------------------------------------------------------------------------------------------------


def touched(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.touch()
    return paths


def test_only_regular_files_of_a_folder_under_its_names_are_its_checkpoints(tmp_path):
    own = touched(tmp_path, 'epoch_2.pth', 'epoch_10.pth')
    touched(tmp_path, 'epoch_x.pth', 'epoch_11.pth.partial', 'best_mIoU_epoch_12.pth', 'other_13.pth', 'epoch_.pth')
    (tmp_path / 'epoch_14.pth').mkdir()
    (tmp_path / 'epoch_15.pth').symlink_to(own[0])
    os.mkfifo(tmp_path / 'epoch_16.pth')
    (tmp_path / 'sub').mkdir()
    touched(tmp_path / 'sub', 'epoch_17.pth')
    assert run_checkpoints(tmp_path) == own
    assert latest_checkpoint(tmp_path) == str(own[1])
    assert run_checkpoints(tmp_path / 'none') == []


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\xff\xfe\0binary',
        b'a' * 10_000_000,
        b'/etc/passwd',
        b'../epoch_9.pth/..',
        b'best_mIoU_epoch_1.pth',
        b'epoch_1.pth\nepoch_2.pth',
        b'\0',
    ],
)
def test_a_damaged_pointer_is_passed_over(tmp_path, content):
    touched(tmp_path, 'epoch_1.pth', 'epoch_3.pth', 'best_mIoU_epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_3.pth')


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: Path(path).symlink_to('/dev/zero')])
def test_a_pointer_that_is_no_file_is_passed_over(tmp_path, make):
    touched(tmp_path, 'epoch_3.pth')
    make(tmp_path / 'last_checkpoint')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_3.pth')


def test_a_copied_folder_finds_its_own_checkpoint(tmp_path):
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    original.mkdir()
    touched(original, 'epoch_1.pth', 'epoch_2.pth')
    (original / 'last_checkpoint').write_text(str(original / 'epoch_1.pth'))
    shutil.copytree(original, copy)
    assert latest_checkpoint(copy) == str(copy / 'epoch_1.pth')


# --- A folder for each run --------------------------------------------------------------------------------------------


def test_a_new_run_in_the_folder_of_another_is_refused(tmp_path):
    check_new_run(tmp_path / 'new', resume=False)
    touched(tmp_path, 'config.py', 'weights.pth')
    check_new_run(tmp_path, resume=False)
    touched(tmp_path, 'best_mIoU_epoch_1.pth')
    with pytest.raises(UsageError, match=r'holds best_mIoU_epoch_1\.pth of an earlier run'):
        check_new_run(tmp_path, resume=False)
    touched(tmp_path, 'epoch_1.pth')
    check_new_run(tmp_path, resume=True)
    check_new_run(tmp_path, resume=tmp_path / 'epoch_1.pth')
    with pytest.raises(UsageError, match=r'holds epoch_1\.pth of an earlier run: .* --resume, .* with --work-dir\.$'):
        check_new_run(tmp_path, resume=False)


def test_a_run_resumed_in_the_folder_of_another_writes_nothing(small_config, tmp_path):
    mine, other = tmp_path / 'mine', tmp_path / 'other'
    for folder in (mine, other):
        folder.mkdir()
        touched(folder, 'epoch_1.pth', 'best_mIoU_epoch_1.pth')
    for options in (dict(resume=str(other / 'epoch_1.pth')), dict(resume=str(other))):
        with pytest.raises(UsageError, match=r'mine holds epoch_1\.pth of an earlier run'):
            train(small_config('erfnet_camvid', mine), **options)
    cfg = small_config('erfnet_camvid', mine, resume=True, load_from=str(other / 'epoch_1.pth'))
    with pytest.raises(UsageError, match=r'mine holds epoch_1\.pth of an earlier run'):
        train(cfg)
    assert {path.name for path in mine.iterdir()} == {'epoch_1.pth', 'best_mIoU_epoch_1.pth', LOCK}


def test_training_anew_in_the_folder_of_a_run_writes_nothing(small_config, tmp_path):
    touched(tmp_path, 'epoch_1.pth')
    with pytest.raises(UsageError, match=r'epoch_1\.pth of an earlier run'):
        train(small_config('erfnet_camvid', tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {'epoch_1.pth', LOCK}


HOLDER = """
import os, sys, time
from mmseg_erfnet.engine.checkpointing import own_work_dir
with own_work_dir(sys.argv[1], resume=True):
    if os.fork() == 0:  # a data loader's worker, which may outlive its run
        time.sleep(60)
        os._exit(0)
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in the folder, with a worker."""
    command = [sys.executable, '-W', 'ignore', '-c', HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert 'held\n' in iter(process.stdout.readline, '')
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_two_runs_cannot_use_one_folder(tmp_path, holder, monkeypatch):
    said = rf'Another training run is using \S+ \(process {holder.pid} on \S+\): wait for it, .* --work-dir\.$'
    for _ in range(2):
        with pytest.raises(UsageError, match=said), own_work_dir(tmp_path, resume=True):
            pass
    with pytest.raises(UsageError, match='Another training run'):
        tiny_run(tmp_path, 1, kind=Runner).train()
    monkeypatch.setenv('RANK', '1')
    with own_work_dir(tmp_path, resume=True, launcher='pytorch'):
        pass  # not the first of its launcher's processes
    holder.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with own_work_dir(tmp_path, resume=True):
                return
        except UsageError:
            time.sleep(0.02)
    pytest.fail('the lock outlived its process')


def test_a_refusal_leaves_no_empty_folder(small_config, tmp_path):
    with pytest.raises(UsageError, match='no checkpoint to resume from'):
        train(small_config('erfnet_camvid', tmp_path / 'runs' / 'new'), resume=str(tmp_path))
    with pytest.raises(UsageError), own_work_dir(tmp_path / 'other', resume=False):
        raise UsageError('The config is wrong.')
    assert [path.name for path in tmp_path.rglob('*')] == ['other']
    assert not list((tmp_path / 'other').iterdir())


def test_the_lock_is_given_back_and_taken_once(tmp_path):
    before = len(WorkDirLock.held)
    with own_work_dir(tmp_path, resume=False):
        again = WorkDirLock(tmp_path)
        again.acquire()
        again.release()
        assert len(WorkDirLock.held) == before + 1
    assert len(WorkDirLock.held) == before
    with pytest.raises(ZeroDivisionError), own_work_dir(tmp_path, resume=False):
        raise ZeroDivisionError
    assert len(WorkDirLock.held) == before


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    touched(tmp_path, '.unfinished-0123456789abcdef.pth', 'notes.pth', '.hidden.pth')
    with own_work_dir(tmp_path, resume=False):
        assert {path.name for path in tmp_path.iterdir()} == {'notes.pth', '.hidden.pth', LOCK}


def test_a_folder_that_cannot_be_used(tmp_path):
    touched(tmp_path, 'file')
    for folder in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(StorageError, match='cannot be written'), own_work_dir(folder, resume=False):
            pass
    (tmp_path / LOCK).symlink_to(tmp_path / 'file')
    with pytest.raises(StorageError, match='symbolic links'), own_work_dir(tmp_path, resume=False):
        pass


# --- Resuming ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run of three epochs, of which the second was best."""
    tiny_run(tmp_path / 'run', 3, {1: 0.1, 2: 0.9, 3: 0.2}).train()
    return tmp_path / 'run'


def contents(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in folder.glob('*.pth')}


def changed(path: Path, **entries) -> None:
    """Change entries of a checkpoint; double underscores lead into it."""
    checkpoint = torch.load(path, weights_only=True)
    for name, value in entries.items():
        *way, last = name.split('__')
        place = checkpoint
        for part in way:
            place = place[part]
        place[last] = value
    torch.save(checkpoint, path)


def resumed(folder: Path, epochs: int, scores: dict | None = None, **options) -> Runner:
    runner = tiny_run(folder, epochs, scores or {4: 0.95, 5: 0.3}, resume=True, **options)
    runner.train()
    return runner


@pytest.mark.parametrize('kind', RUNNERS)
def test_a_copied_run_resumes_from_its_own_files_and_leaves_the_original_alone(run, tmp_path, kind):
    copy = tmp_path / 'copy'
    shutil.copytree(run, copy)
    before = contents(run)
    changed(copy / 'epoch_3.pth', message_hub__runtime_info__mark=7)
    runner = resumed(copy, 5, kind=kind)
    assert runner.message_hub.get_info('mark') == 7, "read the copy's own file"
    assert contents(run) == before
    assert sorted(path.name for path in copy.glob('best*')) == ['best_score_epoch_4.pth']
    assert runner.message_hub.get_info('best_ckpt') == str(copy / 'best_score_epoch_4.pth')


@pytest.mark.parametrize('kind', RUNNERS)
def test_resuming_a_file_of_another_run_removes_nothing_there(run, tmp_path, kind):
    before = contents(run)
    options = dict(load_from=str(run / 'epoch_3.pth'), checkpoint=dict(max_keep_ckpts=1))
    runner = resumed(tmp_path / 'other', 5, kind=kind, **options)
    assert contents(run) == before
    assert sorted(contents(tmp_path / 'other')) == ['best_score_epoch_4.pth', 'epoch_5.pth']
    assert runner.message_hub.get_info('best_score') == 0.95


@pytest.mark.parametrize('kind', RUNNERS)
@pytest.mark.parametrize('place', ['folder', 'file', 'relative', 'link', 'own folder'])
def test_a_path_that_a_checkpoint_names_is_not_removed(run, tmp_path, kind, place):
    victim = tmp_path / 'best_score_epoch_7.pth'
    path = victim
    if place in ('folder', 'own folder'):
        path = run / 'best_score_epoch_7.pth' if place == 'own folder' else victim
        path.mkdir()
        touched(path, 'precious')
    else:
        touched(tmp_path, victim.name)
    if place == 'link':
        path = run / 'best_score_epoch_7.pth'
        path.symlink_to(victim)
    named = os.path.relpath(path, run) if place == 'relative' else str(path)
    changed(run / 'epoch_3.pth', message_hub__runtime_info__best_ckpt=named)
    resumed(run, 5, kind=kind)
    assert path.exists()
    assert not path.is_dir() or (path / 'precious').exists()
    assert (run / 'best_score_epoch_4.pth').is_file()


@pytest.mark.parametrize('kind', RUNNERS)
def test_nothing_in_a_checkpoint_runs(run, tmp_path, kind):
    mark = tmp_path / 'mark'
    config = f'import os\nos.system("touch {mark}")\ngpu_ids = [0, 1]\n'
    facts = dict(cfg=config, experiment_name='../../other', seed=config)
    changed(run / 'epoch_3.pth', meta__config=config, meta__cfg=config, meta__experiment_name='../x', cfg=config)
    for name, value in facts.items():
        changed(run / 'epoch_3.pth', **{f'message_hub__runtime_info__{name}': value})
    runner = resumed(run, 4, kind=kind)
    assert not mark.exists()
    assert runner.epoch == 4
    assert runner.message_hub.get_info('cfg') != config
    assert runner.message_hub.get_info('experiment_name') == runner.experiment_name


@pytest.mark.parametrize('kind', RUNNERS)
def test_where_there_is_nothing_to_resume_training_starts(tmp_path, kind):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'removed.pth'))
    runner = tiny_run(tmp_path / 'run', 1, kind=kind, resume=True)
    runner.train()
    assert runner.epoch == 1


@pytest.mark.parametrize('kind', RUNNERS)
def test_a_last_checkpoint_elsewhere_is_neither_used_nor_passed_over(tmp_path, kind):
    touched(tmp_path, 'elsewhere.pth')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'elsewhere.pth'))
    with pytest.raises(
        UsageError, match=r'is .*/elsewhere\.pth, but this config saves checkpoints in .*/run as epoch_'
    ):
        tiny_run(tmp_path / 'run', 1, kind=kind, resume=True).train()


def test_averaged_weights_resume_bit_for_bit(tmp_path):
    """EMAHook keeps two sets of weights and changes their places in the file."""

    def train(name: str, epochs: int, **options) -> dict:
        hooks = [dict(type=EMAHook, momentum=0.2)]
        scores = {1: 0.1, 2: 0.5, 3: 0.3, 4: 0.8}
        tiny_run(tmp_path / name, epochs, scores, custom_hooks=hooks, **options).train()
        return torch.load(tmp_path / name / f'epoch_{epochs}.pth', weights_only=True)

    whole = train('whole', 4)
    for epochs in (1, 2, 3, 4):
        parts = train('parts', epochs, resume=epochs > 1)
    assert whole['ema_state_dict'].keys() == {'steps', *(f'module.{name}' for name in whole['state_dict'])}
    assert not torch.equal(whole['state_dict']['layer.weight'], whole['ema_state_dict']['module.layer.weight'])
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(parts[part][name], value) for name, value in whole[part].items())
    for index, state in whole['optimizer']['state'].items():
        assert all(torch.equal(parts['optimizer']['state'][index][name], value) for name, value in state.items())
    assert parts['optimizer']['param_groups'] == whole['optimizer']['param_groups']
    assert parts['param_schedulers'] == whole['param_schedulers']

    wrapped = {f'module.{name}': value for name, value in parts['state_dict'].items()}
    averaged = {f'module.{name}' if name != 'steps' else name: value for name, value in parts['ema_state_dict'].items()}
    for path in (tmp_path / 'parts').glob('epoch_[34].pth'):
        path.unlink()
    second = torch.load(tmp_path / 'parts' / 'epoch_2.pth', weights_only=True)
    for part, prefixed in (('state_dict', wrapped), ('ema_state_dict', averaged)):
        second[part] = {new: second[part][old] for old, new in zip(parts[part], prefixed, strict=True)}
    torch.save(second, tmp_path / 'parts' / 'epoch_2.pth')
    again = train('parts', 4, resume=True)
    assert all(torch.equal(again['state_dict'][name], value) for name, value in whole['state_dict'].items())


def test_averaged_weights_are_not_resumed_without_their_hook(tmp_path):
    tiny_run(tmp_path / 'run', 1, custom_hooks=[dict(type=EMAHook)]).train()
    with pytest.raises(CheckpointError, match='are averages by EMAHook, which this config lacks'):
        tiny_run(tmp_path / 'run', 2, resume=True).train()


def test_full_disk_in_the_middle(run, monkeypatch):
    """A write that fails leaves what there was, and no temporary file."""
    before = contents(run)
    calls = itertools.count()

    def sync(descriptor: int) -> None:
        if next(calls) == 0:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', sync)
    with pytest.raises(StorageError, match=r'epoch_4\.pth cannot be written \(No space left on device\): make room'):
        resumed(run, 4)
    assert contents(run) == before
    assert not list(run.glob('.unfinished-*'))
