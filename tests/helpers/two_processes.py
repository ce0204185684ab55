"""What test_processes.py has each process do.

    torchrun --nproc_per_node 2 tests/two_processes.py FOLDER TASK ...

FOLDER holds a config TASK.py for each task: `score` scores FOLDER/weights.pth with it, any other name trains. A process
writes what it saw to FOLDER/TASK.RANK.json.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from mmengine.dist import barrier, get_rank
from mmengine.hooks import Hook

from mmseg_erfnet.engine.hooks import SafeCheckpointHook
from mmseg_erfnet.engine.launch import evaluate, load_config, train
from mmseg_erfnet.registry import HOOKS


@HOOKS.register_module()
class RecordingHook(SafeCheckpointHook):
    """Keep each iteration's loss and, of each checkpoint, a digest of what this process's state dict was."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.losses, self.digests = [], {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self.losses.append(outputs['loss'].item())

    def _save_checkpoint_with_step(self, runner, step, meta):
        super()._save_checkpoint_with_step(runner, step, meta)
        self.digests[step] = digest(getattr(runner.model, 'module', runner.model).state_dict())


@HOOKS.register_module()
class DyingHook(Hook):
    """Kill the second process in its second iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == 1 and runner.iter == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def digest(weights: dict) -> str:
    content = b''.join(weights[name].numpy().tobytes() for name in sorted(weights))
    return hashlib.sha256(content).hexdigest()


def work(folder: Path, task: str, launcher: str) -> dict:
    """Do a task, as one of several processes or (launcher 'none') alone."""

    def config(name: str):
        return load_config(str(folder / f'{task}.py'), str(folder / name), launcher=launcher)

    if task != 'score':
        runner = train(config(f'{task}_{launcher}'))
        (recorder,) = (hook for hook in runner.hooks if isinstance(hook, RecordingHook))
        return dict(losses=recorder.losses, digests=recorder.digests)
    metrics = {}
    for tta in (False, True):
        cfg = config(f'score_{launcher}_{tta}')
        evaluate(cfg, str(folder / 'weights.pth'), tta=tta)
        barrier()  # the first process writes the file
        metrics[f'tta={tta}'] = json.loads((Path(cfg.work_dir) / 'metrics.json').read_text())
    return metrics


if __name__ == '__main__':
    for task in sys.argv[2:]:
        found = work(Path(sys.argv[1]), task, 'pytorch')
        Path(sys.argv[1], f'{task}.{get_rank()}.json').write_text(json.dumps(found))
