"""A run can be killed, stopped or run out of disk space: its files stay intact, and it resumes exactly."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.hooks import Hook
from mmseg.apis import init_model

from mmseg_erfnet import files
from mmseg_erfnet.engine.checkpointing import AtomicBackend, latest_checkpoint
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import CheckpointError, DivergenceError, StorageError, UsageError
from mmseg_erfnet.registry import HOOKS

# One thread per process, because the tests share their cores with one another.
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1')


# Epochs of one iteration, without validation.
BRIEF = {
    'train_dataloader.dataset.indices': 4,
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
    'custom_hooks': [dict(type='mmseg_erfnet.EpochSeedHook'), dict(type='mmseg_erfnet.FiniteLossHook')],
    'default_hooks.checkpoint.save_best': None,
}


@pytest.fixture
def config_file(small_config, tmp_path) -> Path:
    """The CamVid config as a file, shrunk, with two workers that live as long as the run."""
    workers = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
    cfg = small_config('erfnet_camvid', **workers, **{'val_dataloader.num_workers': 2})
    cfg.dump(tmp_path / 'config.py')
    return tmp_path / 'config.py'


def kill_and_resume(config: Path, work_dir: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        '-W',
        'ignore',
        str(ROOT / 'tests' / 'helpers' / 'kill_and_resume.py'),
        str(config),
        '--work-dir',
        str(work_dir),
        *arguments,
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1800, check=False)
    logs = '\n'.join(path.read_text()[-2000:] for path in work_dir.glob('*.log'))
    assert done.returncode == 0, f'{done.stdout}\n{done.stderr}\n{logs}'
    return done.stdout


def test_killed_three_times_it_ends_with_the_same_bits(config_file, tmp_path):
    """In the middle of an epoch, while it writes a checkpoint, and while it validates the last epoch."""
    text = kill_and_resume(
        config_file,
        tmp_path / 'runs',
        '--epochs',
        '2',
        '--at',
        'iteration:5',
        'fsync:1',
        'validation:2',
        '--cfg-options',
        'default_hooks.checkpoint.max_keep_ckpts=1',
    )
    assert re.findall(r'killed (\w+):', text) == ['iteration', 'fsync', 'validation']
    assert 'no difference' in text


@pytest.mark.slow
@pytest.mark.parametrize('options', [[], ['--amp']])
def test_killed_twenty_times_at_random_it_ends_with_the_same_bits(config_file, tmp_path, options):
    text = kill_and_resume(config_file, tmp_path / 'runs', '--epochs', '24', '--kills', '20', *options)
    assert 'no difference' in text


def test_same_seed_same_weights(small_config, tmp_path):
    def weights(name: str, seed: int) -> dict:
        options = {**BRIEF, 'randomness.seed': seed, 'train_cfg.max_epochs': 1}
        train(small_config('erfnet_camvid', tmp_path / name, **options))
        return torch.load(tmp_path / name / 'epoch_1.pth', weights_only=True)['state_dict']

    first, again, other = weights('first', 0), weights('again', 0), weights('other', 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


# --- Files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A function that makes one of the next writes into a folder fail in the kernel as on a full disk."""
    numbers = itertools.count(1)
    monkeypatch.setattr(files.secrets, 'token_hex', lambda length: str(next(numbers)))

    def fill(folder: Path, number: int, suffix: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / f'{files.TEMPORARY}{number}{suffix}').symlink_to('/dev/full')

    return fill


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, full):
    path = tmp_path / 'epoch_1.pth'
    backend = AtomicBackend()
    backend.put(b'old', path)
    full(tmp_path, 2, '.pth')
    with pytest.raises(OSError, match=r'epoch_1\.pth cannot be written \(No space left on device\): make room'):
        backend.put(b'new', path)
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]
    backend.put(b'new', path)
    backend.put_text('epoch_1.pth', tmp_path / 'folder' / 'last_checkpoint')
    assert path.read_bytes() == b'new'
    assert (tmp_path / 'folder' / 'last_checkpoint').read_text() == 'epoch_1.pth'


def test_full_disk(small_config, tmp_path, full):
    """The kernel refuses a write for lack of space, at the second epoch's checkpoint."""
    work_dir = tmp_path / 'run'
    full(work_dir, 3, '.pth')  # after the first epoch's checkpoint and last_checkpoint
    with pytest.raises(
        StorageError,
        match=r'epoch_2\.pth cannot be written \(No space left on device\): make room\. '
        r'The last checkpoint is \S+epoch_1\.pth\.',
    ):
        train(small_config('erfnet_camvid', work_dir, **BRIEF, **{'train_cfg.max_epochs': 2}))
    assert not list(work_dir.glob(f'{files.TEMPORARY}*'))
    assert torch.load(work_dir / 'epoch_1.pth', weights_only=True)['meta']['epoch'] == 1
    runner = train(small_config('erfnet_camvid', work_dir, **BRIEF, **{'train_cfg.max_epochs': 2}), resume=True)
    assert runner.epoch == 2


def test_nothing_to_resume_starts(small_config, tmp_path):
    """The same command starts a job and restarts it after a stop."""
    work_dir = tmp_path / 'run'
    (work_dir / '20260101_000000' / 'vis_data').mkdir(parents=True)  # a run that was killed before its first checkpoint
    runner = train(small_config('erfnet_camvid', work_dir, **BRIEF, **{'train_cfg.max_epochs': 1}), resume=True)
    assert runner.epoch == 1
    [log] = work_dir.glob('*/*.log')
    assert f'There is no checkpoint to resume from in {work_dir}: training starts.' in log.read_text()
    (tmp_path / 'nowhere').mkdir()
    with pytest.raises(UsageError, match=r'no checkpoint to resume from in .*nowhere'):
        train(small_config('erfnet_camvid', work_dir, **BRIEF), resume=str(tmp_path / 'nowhere'))


def test_weights_alone_cannot_be_resumed(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', tmp_path, **BRIEF)
    torch.save(dict(state_dict=init_model(cfg, device='cpu').state_dict(), meta={}), tmp_path / 'best.pth')
    with pytest.raises(CheckpointError, match='weights, but not the state of a run'):
        train(cfg, resume=str(tmp_path / 'best.pth'))


# --- Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('number', 'to_all'), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_signal_ends_it_at_once_with_a_sentence(small_config, tmp_path, number, to_all):
    """Ctrl-C also reaches a program's workers; SIGTERM is usually sent only to the program."""
    work_dir, config = tmp_path / 'run', tmp_path / 'config.py'
    small_config('erfnet_camvid', **BRIEF, **{'train_dataloader.num_workers': 2}).dump(config)
    command = [str(ROOT / 'tools' / 'train.py'), str(config), '--work-dir', str(work_dir), '--epochs', '10000']
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', *command],
        env=ENVIRONMENT,
        start_new_session=True,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (work_dir / 'last_checkpoint').exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    for worker in set(session(process.pid)) - {process.pid}:
        os.kill(worker, signal.SIGSTOP)  # or it would end by itself after some seconds
    # Each stop sends a SIGCHLD to the program. While that is pending, Linux may deliver another signal to one of its
    # other threads, and the main thread, which waits for the stopped worker, would not notice it until its time limit.
    time.sleep(0.5)
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    sentences = rf'Stopped by {number.name}\. The last checkpoint is \S+epoch_\d+\.pth\. Resume with: python '
    assert len(text.splitlines()) == 1
    assert re.match(sentences + re.escape(' '.join([*command, '--resume'])) + '$', text)
    assert gone(lambda: session(process.pid))


STOPPED = """
import os, signal, subprocess, sys, time
from mmseg_erfnet import signals

def complain(*_):
    raise RuntimeError('a worker died')  # as torch's data loader does

signal.signal(signal.SIGCHLD, complain)
signals.end_on_signals(lambda: 'Nothing is saved.')
workers = [os.fork() for _ in range(3) if os.getpid() == os.getsid(0)]
if 0 in workers:
    os.close(1)
    time.sleep(600)
print(*workers, subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL).pid, flush=True)
if 'no terminal' in sys.argv:
    os.close(2)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
"""


@pytest.mark.parametrize('arguments', [[], ['no terminal']])
def test_a_worker_that_was_just_being_started_ends_too(arguments):
    """Only the kernel knows this worker yet. A child that is a program, not a worker, is left alone."""
    command = [sys.executable, '-c', STOPPED, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True, timeout=60, check=False
    )
    *workers, program = map(int, done.stdout.split())
    assert done.returncode == 128 + signal.SIGTERM
    assert len(workers) == 3
    assert gone(lambda: [worker for worker in workers if running(worker)])
    assert running(program)
    os.kill(program, signal.SIGKILL)


def session(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    numbers = [int(path.name) for path in Path('/proc').glob('[0-9]*')]
    return [number for number in numbers if running(number) and stat(number)[3] == str(leader)]


def running(process: int) -> bool:
    return stat(process)[0] not in 'XZ'


def stat(process: int) -> list[str]:
    """State, parent, process group, session."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[:4]
    except OSError:
        return ['X', '', '', '']


def gone(processes: Callable[[], list[int]], seconds: float = 60) -> bool:
    """Wait until there are none left. The kernel closes a process's files a moment before the process is gone."""
    end = time.monotonic() + seconds
    while processes():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


# --- Loss -------------------------------------------------------------------------------------------------------------


@HOOKS.register_module()
class Poison(Hook):
    """Set a weight to NaN or infinity before an iteration."""

    def __init__(self, value: str, iteration: int) -> None:
        self.value, self.iteration = float(value), iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration - 1:
            runner.model.decode_head.conv_seg.bias.data[0] = self.value


@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_a_loss_that_is_no_number_ends_it(small_config, tmp_path, value):
    poison = dict(type='mmseg_erfnet.Poison', value=value, iteration=2)
    options = {**BRIEF, 'train_cfg.max_epochs': 3, 'custom_hooks': [*BRIEF['custom_hooks'], poison]}
    with pytest.raises(DivergenceError) as info:
        train(small_config('erfnet_camvid', tmp_path, **options))
    assert info.match(r'The loss is (nan|inf) at iteration 2 \(epoch 2\) on .*\.png, .*\.png\. Nothing has been saved')
    frames = str(info.value).split(' on ', 1)[1].split('. Nothing')[0].split(', ')
    assert len(frames) == 4
    assert all(Path(frame).is_file() for frame in frames)
    checkpoint = torch.load(latest_checkpoint(tmp_path), weights_only=True)
    assert checkpoint['meta']['epoch'] == 1
    assert all(weight.isfinite().all() for weight in checkpoint['state_dict'].values())
