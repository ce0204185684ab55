"""The script that each process of test_processes.py runs.

    torchrun --nproc_per_node 2 tests/two_processes.py FOLDER TASK ...

FOLDER contains one config TASK.py per task: the task `score` scores FOLDER/weights.pth, any other task trains. Each
process writes its results to FOLDER/TASK.RANK.json.
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
    """Record the loss of each iteration and, at each checkpoint, a digest of this process's state dict."""

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
    """Run a task, as one of several processes or (launcher 'none') as a single one."""

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
