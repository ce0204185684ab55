"""Checkpoints that stay intact if the run is killed at any moment, and resume as if nothing had happened.

MMEngine's own ``CheckpointHook`` removes the outdated file first and then writes the new one in place, so that a kill
during saving can leave neither; and a run killed during validation never repeats that validation.
:class:`SafeCheckpointHook` fixes both.
"""

import inspect
import re
from collections.abc import Collection
from pathlib import Path

from mmengine.dist import all_reduce_params, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, Runner

from mmseg_erfnet.engine.checkpointing import (
    AtomicBackend,
    WorkDirLock,
    check_loaded,
    check_schedules,
    prepare_loading,
)
from mmseg_erfnet.engine.resuming import is_own_file, step_pattern
from mmseg_erfnet.engine.runner import SafeRunner
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.models.checkpoints import make_plain
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.text import listed


class _LateRemoval:
    """A file backend that postpones removals, and removes only checkpoints of its own run.

    MMEngine removes whatever path a checkpoint names as the best so far, even if it is a folder.

    Args:
        backend: MMEngine's backend for the run's folder.
        folder: The run's folder.
        names: The names of its checkpoints.
    """

    def __init__(self, backend, folder: str, names: re.Pattern) -> None:
        self.backend, self.folder, self.names = backend, folder, names
        self.waiting = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def isfile(self, path: str) -> bool:
        if '://' not in self.folder:
            return bool(self.names.fullmatch(Path(path).name)) and is_own_file(self.folder, path)
        name = path.removeprefix(self.folder).lstrip('/')
        return path.startswith(self.folder) and bool(self.names.fullmatch(name)) and self.backend.isfile(path)

    def isdir(self, path: str) -> bool:
        return False

    def remove(self, path: str) -> None:
        self.waiting.append(path)

    def remove_waiting(self, but: Collection[str] = ()) -> None:
        for path in self.waiting:
            if path not in but and self.isfile(path):
                self.backend.remove(path)
        self.waiting.clear()


def _check_template(template: object) -> None:
    """Refuse a template by which two checkpoints would have one name."""
    try:
        names = template is None or {template.format(step) for step in (1, 2)}
    except (AttributeError, IndexError, KeyError, ValueError):
        names = ()
    if template is not None and len(names) < 2:
        raise ValueError(f"filename_tmpl must contain one {{}} for the step, as in 'epoch_{{}}.pth': got {template!r}")


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with the same arguments, for runs that may be killed at any moment.

    - Each file, including ``last_checkpoint``, is written under a temporary name, synced and renamed. An outdated file
      is removed only once its replacement exists. A kill loses at most the epoch in progress.
    - Only regular files directly in the run's own folder, named like its checkpoints, are removed, whatever paths a
      checkpoint contains; and a run resumes from its own file, whatever path ``last_checkpoint`` contains.
    - Only one run at a time can use a work dir.
    - A checkpoint records whether it has been validated. If a resumed one lacks a validation that was due, the hook
      validates it before training continues, so that the best checkpoint is that of an uninterrupted run.
    - Checkpoints contain only tensors and plain Python values, so that they can be loaded without trusting them.
    - Loaded checkpoints are checked: weights must fit the model, and nothing in a checkpoint is executed. This also
      holds under MMEngine's plain ``Runner``.
    - With several processes, the buffers (BN's running statistics) are averaged before each save.

    ``backend_args`` are for storage other than local files; such storage must ensure its own atomicity.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        unknown = self.args.keys() - inspect.signature(Runner.save_checkpoint).parameters.keys()
        if unknown:
            raise TypeError(f'{type(self).__name__} got an unexpected keyword argument {min(unknown)!r}')
        _check_template(kwargs.get('filename_tmpl'))
        if self.backend_args is None and '://' not in str(self.out_dir or ''):
            self.backend_args = dict(backend='atomic')
        self._lock = None

    def before_run(self, runner: Runner) -> None:
        if not isinstance(runner, SafeRunner):  # SafeRunner does this itself
            prepare_loading(runner)

    def before_train(self, runner: Runner) -> None:
        if is_main_process():
            self._lock = WorkDirLock(runner.work_dir)
            self._lock.acquire()
        surplus = self._surplus(runner)
        super().before_train(runner)
        step = step_pattern(self.filename_tmpl)
        names = re.compile(rf'{step}|best_[^/\\]+_{step}')
        self.file_backend = _LateRemoval(self.file_backend, str(self.out_dir), names)
        if is_main_process():
            self.file_backend.waiting += map(self._path, surplus)
            self.file_backend.remove_waiting()
        if self._lacks_validation(runner):
            self.last_ckpt = self._path(self._step(runner))
            runner.logger.info(f'{Path(self.last_ckpt).name} was not validated before the run ended: doing so now.')
            runner.val_loop.run()

    def after_run(self, runner: Runner) -> None:
        if self._lock is not None:
            self._lock.release()

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        if not isinstance(runner._train_loop, BaseLoop):
            return  # runner.val() without training: nothing to save
        absent = [name for name in (self.key_indicators if self.save_best else ()) if name not in {'auto', *metrics}]
        if absent:
            raise UsageError(
                f'save_best of the checkpoint hook is {absent[0]!r}, but validation gives '
                f'{listed([name for name in metrics if "/" not in name], 20)}; set default_hooks.checkpoint.save_best.'
            )
        # Without a `last_ckpt`, MMEngine saves a new best, but not the epoch's checkpoint a second time.
        last, self.last_ckpt = self.last_ckpt, None
        super().after_val_epoch(runner, metrics)
        self.last_ckpt = last
        if is_main_process():
            self.file_backend.remove_waiting(but=self._best())
        step = self._step(runner)
        runner.message_hub.update_info('last_validated', step)
        if last == self._path(step):
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not isinstance(runner, SafeRunner):
            check_loaded(runner, checkpoint)
            check_schedules(runner, checkpoint)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        make_plain(checkpoint)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        all_reduce_params(runner.model.buffers(), op='mean')
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            # Include the checkpoints about to be removed: after a kill in between, MMEngine removes them on resume.
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids.append(step)
            outdated = kept[: -self.max_keep_ckpts]
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            self.save_optimizer,
            self.save_param_scheduler,
            meta,
            self.by_epoch,
            self.backend_args,
            **self.args,
        )
        if is_main_process():
            AtomicBackend().put_text(self.last_ckpt, Path(runner.work_dir, 'last_checkpoint'))
            self.file_backend.waiting += map(self._path, outdated)
            self.file_backend.remove_waiting()

    def _surplus(self, runner: Runner) -> list[int]:
        """Take the surplus checkpoints out of those that a resumed run keeps, before MMEngine removes them."""
        info = runner.message_hub.runtime_info
        if self.max_keep_ckpts <= 0 or 'keep_ckpt_ids' not in info:
            return []
        kept = info['keep_ckpt_ids']
        runner.message_hub.update_info('keep_ckpt_ids', kept[-self.max_keep_ckpts :])
        return kept[: -self.max_keep_ckpts]

    def _best(self) -> list[str]:
        """Return the paths of the best checkpoints so far, one for each metric."""
        if not self.save_best:
            return []
        return [self.best_ckpt_path] if len(self.key_indicators) == 1 else list(self.best_ckpt_path_dict.values())

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _step(self, runner: Runner) -> int:
        return runner.epoch if self.by_epoch else runner.iter

    def _lacks_validation(self, runner: Runner) -> bool:
        loop, done = runner.train_loop, self._step(runner)
        if runner.val_loop is None or done == 0 or runner.message_hub.get_info('last_validated') == done:
            return False
        end = loop.max_epochs if self.by_epoch else loop.max_iters
        return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
