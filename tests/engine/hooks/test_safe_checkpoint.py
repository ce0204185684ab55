"""Checkpoints of a run: what is kept and removed, and that a kill at any moment costs nothing."""

import os
import re
import signal
from pathlib import Path

import pytest
import torch
from helpers.tiny_run import tiny_run
from mmengine.runner import Runner

from mmseg_erfnet.engine.checkpointing import AtomicBackend, check_new_run, latest_checkpoint
from mmseg_erfnet.engine.hooks.safe_checkpoint import _LateRemoval
from mmseg_erfnet.engine.runner import SafeRunner
from mmseg_erfnet.errors import CheckpointError, UsageError

SCORES = {1: 0.1, 2: 0.5, 3: 0.3, 4: 0.8, 5: 0.7}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth')}


@pytest.mark.parametrize('kind', [SafeRunner, Runner])
def test_the_last_ones_and_the_best_are_kept(tmp_path, kind):
    tiny_run(tmp_path, 5, SCORES, kind, checkpoint=dict(max_keep_ckpts=2)).train()
    assert names(tmp_path) == {'best_score_epoch_4.pth', 'epoch_4.pth', 'epoch_5.pth'}
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_5.pth')


def test_an_own_name_for_checkpoints(tmp_path):
    options = dict(max_keep_ckpts=1, filename_tmpl='step-{}.ckpt.pth')
    tiny_run(tmp_path, 5, SCORES, checkpoint=options).train()
    assert names(tmp_path) == {'best_score_step-4.ckpt.pth', 'step-5.ckpt.pth'}
    runner = tiny_run(tmp_path, 7, {**SCORES, 6: 0.1, 7: 0.1}, checkpoint=options, resume=True)
    assert latest_checkpoint(runner) == str(tmp_path / 'step-5.ckpt.pth')
    with pytest.raises(UsageError, match=r'holds step-5\.ckpt\.pth of an earlier run'):
        check_new_run(runner, resume=False)
    runner.train()
    assert names(tmp_path) == {'best_score_step-4.ckpt.pth', 'step-7.ckpt.pth'}


def test_checkpoints_under_another_name_are_not_passed_over(tmp_path):
    tiny_run(tmp_path, 1, checkpoint=dict(filename_tmpl='step-{}.pth')).train()
    with pytest.raises(
        UsageError, match=r'is .*step-1\.pth, but this config saves .* as epoch_\{\}\.pth: use the config'
    ):
        tiny_run(tmp_path, 2, resume=True).train()
    assert names(tmp_path) == {'step-1.pth'}


def test_a_folder_of_its_own_for_checkpoints(tmp_path):
    options = dict(max_keep_ckpts=1, out_dir=str(tmp_path / 'elsewhere'))
    tiny_run(tmp_path / 'run', 2, SCORES, checkpoint=options).train()
    folder = tmp_path / 'elsewhere' / 'run'
    assert names(folder) == {'best_score_epoch_2.pth', 'epoch_2.pth'}
    tiny_run(tmp_path / 'run', 4, SCORES, checkpoint=options, resume=True).train()
    assert names(folder) == {'best_score_epoch_4.pth', 'epoch_4.pth'}


def test_only_files_of_the_run_are_removed(tmp_path):
    run, other = tmp_path / 'run', tmp_path / 'other'
    for folder in (run, other, run / 'epoch_4.pth'):
        folder.mkdir()
    for path in (other / 'epoch_1.pth', run / 'epoch_2.pth', run / 'notes.pth', run / 'epoch_4.pth' / 'precious'):
        path.touch()
    (run / 'epoch_3.pth').symlink_to(other / 'epoch_1.pth')
    backend = _LateRemoval(AtomicBackend(), str(run), re.compile(r'epoch_\d+\.pth'))
    paths = [other / 'epoch_1.pth', *run.iterdir(), run / '..' / 'other' / 'epoch_1.pth', run / 'gone_5.pth']
    for path in map(str, paths):
        assert not backend.isdir(path)
        backend.remove(path)
    assert (run / 'epoch_2.pth').exists(), 'not before it is told to'
    backend.remove_waiting()
    assert {path.name for path in run.iterdir()} == {'notes.pth', 'epoch_3.pth', 'epoch_4.pth'}
    assert (run / 'epoch_4.pth' / 'precious').exists()
    assert (other / 'epoch_1.pth').exists()


def test_a_resumed_run_removes_what_is_too_much(tmp_path):
    tiny_run(tmp_path, 3, SCORES).train()
    tiny_run(tmp_path, 4, SCORES, checkpoint=dict(max_keep_ckpts=1), resume=True).train()
    # The first run kept all of its own, and did not count them.
    assert names(tmp_path) == {'best_score_epoch_4.pth', *(f'epoch_{epoch}.pth' for epoch in (1, 2, 3, 4))}
    tiny_run(tmp_path, 5, SCORES, checkpoint=dict(max_keep_ckpts=1), resume=True).train()
    assert names(tmp_path) == {'best_score_epoch_4.pth', *(f'epoch_{epoch}.pth' for epoch in (1, 2, 3, 5))}


def killed_before(event: int, folder: Path) -> bool:
    """Train in a process of its own, killed before the nth write, rename or removal; resume until it is done."""
    process = os.fork()
    if process == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            left = [event]
            for owner, name in ((os, 'fsync'), (os, 'replace'), (AtomicBackend, 'remove')):
                original = getattr(owner, name)

                def replacement(*args, original=original, **kwargs):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*args, **kwargs)

                setattr(owner, name, replacement)
            options = dict(checkpoint=dict(max_keep_ckpts=1))
            tiny_run(folder, 3, SCORES, resume=folder.exists(), **options).train()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_before_every_write_rename_and_removal(tmp_path):
    """Whatever was on disk then, the resumed run ends as the one that nobody killed."""
    assert not killed_before(0, tmp_path / 'whole')
    whole = torch.load(tmp_path / 'whole' / 'epoch_3.pth', weights_only=True)
    event = 0
    while True:
        event += 1
        folder = tmp_path / f'killed_{event}'
        if not killed_before(event, folder):
            break
        assert not killed_before(0, folder)
        assert names(folder) == names(tmp_path / 'whole') == {'best_score_epoch_2.pth', 'epoch_3.pth'}, event
        found = torch.load(folder / 'epoch_3.pth', weights_only=True)
        assert all(torch.equal(found['state_dict'][name], value) for name, value in whole['state_dict'].items())
        assert found['param_schedulers'] == whole['param_schedulers']
        for name in ('best_score', 'last_validated'):
            assert found['message_hub']['runtime_info'][name] == whole['message_hub']['runtime_info'][name]
    assert event > 20


@pytest.mark.parametrize('kind', [SafeRunner, Runner])
def test_weights_that_do_not_fit_are_refused_under_both_runners(tmp_path, kind):
    torch.save(dict(state_dict={'other.weight': torch.ones(2)}), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'no weight that the model knows \(other\.weight\)'):
        tiny_run(tmp_path / 'run', 1, kind=kind, load_from=str(tmp_path / 'a.pth')).train()


@pytest.mark.parametrize('kind', [SafeRunner, Runner])
def test_prefixes_are_of_no_matter_under_both_runners(tmp_path, kind):
    runner = tiny_run(tmp_path / 'run', 1, kind=kind)
    weights = {name: torch.full_like(value, 3) for name, value in runner.model.state_dict().items()}
    torch.save({f'module.module.{name}': value for name, value in weights.items()}, tmp_path / 'a.pth')
    runner.load_checkpoint(str(tmp_path / 'a.pth'))
    assert all(torch.equal(value, weights[name]) for name, value in runner.model.state_dict().items())
