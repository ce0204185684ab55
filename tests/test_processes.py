"""Two processes on one CPU, as started by torchrun: they train, save and score like a single one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers.two_processes import digest, work
from mmcv.transforms import BaseTransform
from mmseg.apis import init_model
from torch.utils.data import get_worker_info

from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.registry import TRANSFORMS

# Two processes with one thread each: no more cores than the tests may assume.
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')
# No augmentation, dropout, BN or class weights: nothing that makes two halves of a batch differ from the whole. And no
# ReLU: rounding decides on which side of zero an activation of 1e-8 lies, and the gradient is then all or nothing.
ALIKE = {
    'train_dataloader.dataset.pipeline': [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64)),
        dict(type='mmseg_erfnet.LoadSegLabels', size=(64, 64)),
        dict(type='PackSegInputs'),
    ],
    **{
        f'model.{part}.{name}': value
        for part in ('backbone', 'decode_head')
        for name, value in (
            ('norm_cfg', dict(type='GN', num_groups=4)),
            ('act_cfg', dict(type='SiLU')),
            ('dropout_ratio', 0.0),
        )
    },
    'model.decode_head.loss_decode.class_weight': None,
    # Not Adam: the size of its first steps is the learning rate, regardless of the gradient. It would hide a sum in
    # place of a mean, and amplify a difference in the last bit.
    **{f'optim_wrapper.optimizer.{name}': value for name, value in dict(type='SGD', lr=0.02).items()},
}
UNSCORED = {
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
    'default_hooks.checkpoint.save_best': None,
    'custom_hooks': [dict(type='mmseg_erfnet.EpochSeedHook')],
}


def torchrun(folder: Path, *tasks: str, timeout: int = 300) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node',
        '2',
        str(ROOT / 'tests' / 'helpers' / 'two_processes.py'),
        str(folder),
        *tasks,
    ]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('processes')


@pytest.fixture
def seen(folder, small_config):
    """The results of each process for each task, and the configs, so that a single process can run the same."""
    if not (folder / 'seen').exists():
        recording = {'default_hooks.checkpoint.type': 'mmseg_erfnet.RecordingHook'}
        half = {'train_dataloader.batch_size': 2}
        configs = dict(
            alike=small_config('erfnet_camvid', **recording, **ALIKE, **UNSCORED, **{'train_cfg.max_epochs': 2}),
            epochs=small_config(
                'erfnet_camvid',
                **recording,
                **half,
                **{'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 8},
            ),
            iterations=small_config(
                'erfnet_cityscapes',
                **recording,
                **UNSCORED,
                **{'train_cfg.max_iters': 3, 'default_hooks.checkpoint.interval': 2, 'train_dataloader.batch_size': 1},
            ),
            score=small_config('erfnet_camvid', **{'test_dataloader.dataset.indices': 3}),
        )
        torch.manual_seed(0)
        torch.save(dict(state_dict=init_model(configs['score'], device='cpu').state_dict()), folder / 'weights.pth')
        configs['alike'].dump(folder / 'alone.py')
        configs['alike'].train_dataloader.batch_size = 2
        for name, cfg in configs.items():
            cfg.dump(folder / f'{name}.py')
        done = torchrun(folder, *configs)
        assert done.returncode == 0, done.stderr[-4000:]
        (folder / 'seen').touch()
    return {path.name.removesuffix('.json'): json.loads(path.read_text()) for path in folder.glob('*.json')}


def test_the_loss_follows_a_single_process(seen, folder):
    alone = work(folder, 'alone', 'none')['losses']
    together = np.mean([seen['alike.0']['losses'], seen['alike.1']['losses']], axis=0)
    assert len(alone) == 6
    assert seen['alike.0']['losses'] != seen['alike.1']['losses'], 'each process has its own half of the batch'
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    assert abs(alone[0] - alone[-1]) > 0.1, 'something is learnt meanwhile'


@pytest.mark.parametrize('task', ['epochs', 'iterations'])
def test_state_dicts_are_equal_at_every_checkpoint(seen, folder, task):
    digests = seen[f'{task}.0']['digests']
    assert digests == seen[f'{task}.1']['digests']
    assert digests.keys() == ({'1'} if task == 'epochs' else {'2', '3'})
    assert seen[f'{task}.0']['losses'] != seen[f'{task}.1']['losses']
    for step, expected in digests.items():
        (path,) = (folder / f'{task}_pytorch').glob(f'[ei]*_{step}.pth')
        assert digest(torch.load(path, weights_only=True)['state_dict']) == expected


def test_scores_are_those_of_a_single_process(seen, folder):
    alone = work(folder, 'score', 'none')
    assert alone['tta=False']['images'] == 3, 'a number that two do not share evenly'
    assert alone['tta=False']['confusion_matrix'] != alone['tta=True']['confusion_matrix']
    assert seen['score.0'] == alone


def test_a_process_that_dies_ends_them_all(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', **UNSCORED, **{'train_cfg.max_epochs': 1000})
    cfg.custom_hooks = [dict(type='mmseg_erfnet.DyingHook')]
    cfg.dump(tmp_path / 'dying.py')
    done = torchrun(tmp_path, 'dying', timeout=120)
    assert done.returncode != 0
    assert 'Signal 9 (SIGKILL)' in done.stderr


@TRANSFORMS.register_module()
class Suicide(BaseTransform):
    """Kill the data-loading process."""

    def transform(self, results):
        if get_worker_info() is not None:  # not when the main process reads a sample
            os.kill(os.getpid(), signal.SIGKILL)
        return results


def test_a_loading_worker_that_dies_ends_the_run(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', tmp_path, **UNSCORED, **{'train_dataloader.num_workers': 1})
    cfg.train_dataloader.dataset.pipeline.insert(0, dict(type='mmseg_erfnet.Suicide'))
    with pytest.raises(RuntimeError, match=r'DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)'):
        train(cfg)


TORCHRUN = (
    'python -m torch.distributed.run --nnodes 1 --node_rank 0 --nproc_per_node 2 --master_addr 127.0.0.1 '
    '--master_port 29501'
)


@pytest.mark.parametrize(
    ('script', 'arguments', 'expected'),
    [
        ('dist_train.sh', 'CONFIG 2 --resume', f'{TORCHRUN} TOOLS/train.py CONFIG --launcher pytorch --resume'),
        ('dist_test.sh', 'CONFIG BEST 2 --tta', f'{TORCHRUN} TOOLS/test.py CONFIG BEST --launcher pytorch --tta'),
        (
            'slurm_train.sh',
            'gpu job CONFIG --amp',
            'srun --partition gpu --job-name job --gres gpu:8 --ntasks 16 '
            '--ntasks-per-node 8 --cpus-per-task 4 --kill-on-bad-exit=1 --quiet --exclusive '
            'python -u TOOLS/train.py CONFIG --launcher slurm --amp',
        ),
    ],
)
def test_scripts_take_what_users_of_mmsegmentation_give_them(tmp_path, script, arguments, expected):
    for program in ('python', 'srun'):
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@"\n')
        (tmp_path / program).chmod(0o755)
    environment = dict(
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        PORT='29501',
        GPUS='16',
        GPUS_PER_NODE='8',
        SRUN_ARGS='--quiet --exclusive',
    )
    path = ROOT / 'tools' / script
    done = subprocess.run([path, *arguments.split()], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected.replace('TOOLS', str(path.parent))
    assert subprocess.run([path], env=environment, capture_output=True, check=False).returncode == 2
