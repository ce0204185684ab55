#!/usr/bin/env python
"""Kill a training run repeatedly with SIGKILL, resume it each time, and compare it with an uninterrupted run.

    python tests/helpers/kill_and_resume.py configs/erfnet_camvid.py --synthetic --epochs 16 --kills 20
    python tests/helpers/kill_and_resume.py CONFIG --epochs 3 --at validation:2 fsync:4      at chosen moments

Moments are random, or EVENT:N, just before the Nth such event of a run: `iteration` of training, `validation` of an
image, `fsync` (a file is written, but does not have its final name yet), `rename` (of that file), `removal` of an
outdated checkpoint. The comparison covers the weights, the state of the optimiser and the schedules, the best score,
the weights of the best checkpoint, and the list of checkpoints. Exits with status 1 if anything differs.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.runner import EpochBasedTrainLoop, ValLoop

from mmseg_erfnet.datasets.synthetic import synthesize_camvid
from mmseg_erfnet.engine.checkpointing import AtomicBackend, latest_checkpoint
from mmseg_erfnet.engine.launch import load_config, train

EVENTS = dict(
    iteration=(EpochBasedTrainLoop, 'run_iter'),
    validation=(ValLoop, 'run_iter'),
    fsync=(os, 'fsync'),
    rename=(os, 'replace'),
    removal=(AtomicBackend, 'remove'),
)


def start(args: argparse.Namespace, work_dir: Path, moment: str | None = None) -> int:
    """Start or resume training in a separate process, which shares this one's imports. Return its id."""
    process = os.fork()
    if process:
        return process
    log = os.open(work_dir.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if moment:
        kill_before(*moment.split(':'))
    try:
        cfg = load_config(args.config, str(work_dir), args.cfg_options)
        train(cfg, amp=args.amp, resume=latest_checkpoint(work_dir) is not None, epochs=args.epochs)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def kill_before(event: str, count: str) -> None:
    owner, name = EVENTS[event]
    original = getattr(owner, name)
    left = int(count)

    def replacement(*args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, replacement)


def killed(process: int) -> bool:
    """Wait for a run; return whether it was killed before it finished."""
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        sys.exit('a run failed; its log says why')
    return False


def run_whole(args: argparse.Namespace, work_dir: Path) -> tuple[float, float]:
    """Run to the end. Return the seconds until the first checkpoint, and the seconds per epoch after it."""
    begin = time.monotonic()
    process = start(args, work_dir)
    while latest_checkpoint(work_dir) is None and Path(f'/proc/{process}/exe').exists():
        time.sleep(0.01)
    first = time.monotonic() - begin
    killed(process)
    return first, (time.monotonic() - begin - first) / max(args.epochs - 1, 1)


def run_killed(args: argparse.Namespace, work_dir: Path, first: float, epoch: float) -> int:
    """Kill and resume, then run to the end. Return the number of kills."""
    kills = 0
    for moment in args.at or [None] * args.kills:
        process = start(args, work_dir, moment)
        if moment is None:
            # From the beginning of the first epoch, more or less, to the end of the second; but before so many epochs
            # are done that too few are left for the other kills.
            end = time.monotonic() + random.uniform(first - epoch, first + epoch)
            enough = work_dir / f'epoch_{args.epochs * (kills + 1) // (args.kills + 1)}.pth'
            while time.monotonic() < end and not enough.exists():
                time.sleep(0.01)
            os.kill(process, signal.SIGKILL)
        if not killed(process):
            break
        kills += 1
        print(f'killed {moment or "at a random moment"}; on disk: {latest_checkpoint(work_dir)}', flush=True)
    killed(start(args, work_dir))
    return kills


def outcome(work_dir: Path) -> dict:
    last = torch.load(latest_checkpoint(work_dir), weights_only=True)
    hub = last['message_hub']['runtime_info']
    best = Path(hub['best_ckpt'])
    return dict(
        weights=last['state_dict'],
        optimizer=last['optimizer'],
        schedules=last['param_schedulers'],
        progress=(last['meta']['epoch'], last['meta']['iter'], hub['last_validated']),
        best=(best.name, hub['best_score']),
        best_weights=torch.load(best, weights_only=True)['state_dict'],
        files=sorted(path.name for path in work_dir.iterdir() if path.suffix == '.pth'),
    )


def differences(one, other, name: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in differences(one[key], other[key], f'{name}.{key}')]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for index, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f'{name}.{index}')
        ]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [f'{name} differs']
    return [] if one == other else [f'{name}: {one} and {other}']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--epochs', type=int, default=16)
    parser.add_argument('--kills', type=int, default=20, help='at random moments')
    parser.add_argument('--at', nargs='+', metavar='EVENT:N', help='at these moments instead')
    parser.add_argument('--seed', type=int, help='of the random moments')
    parser.add_argument('--amp', action='store_true')
    parser.add_argument('--synthetic', action='store_true', help='on a few synthetic frames, in batches of 4')
    parser.add_argument('--work-dir', type=Path, default=None)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args()
    random.seed(args.seed)
    folder = args.work_dir or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if args.synthetic:
        root = str(synthesize_camvid(folder / 'camvid', images=16, size=(96, 128)))
        args.cfg_options = {
            'train_dataloader.batch_size': 4,
            **{f'{part}_dataloader.dataset.data_root': root for part in ('train', 'val', 'test')},
            **args.cfg_options,
        }

    first, epoch = run_whole(args, folder / 'whole')
    kills = run_killed(args, folder / 'killed', first, epoch)
    found = differences(outcome(folder / 'whole'), outcome(folder / 'killed'), 'state')
    print('\n'.join(found[:20] or ['no difference']))
    if kills < len(args.at or range(args.kills)):
        found.append('too few kills')
        print(f'The run was done after {kills} kills: give it more epochs.')
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
