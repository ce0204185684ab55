"""Checkpoints that a kill at any moment leaves whole, and from which a run continues as if nothing had happened.

MMEngine's own ``CheckpointHook`` writes each file in place and removes the outdated one before, so that a kill while
it saves can leave neither; and a run killed while it validates never makes that validation up.
:class:`SafeCheckpointHook` mends both.
"""

from pathlib import Path

from mmengine.dist import all_reduce_params, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, Runner

from mmseg_erfnet.engine.checkpointing import AtomicBackend, check_loaded
from mmseg_erfnet.models.checkpoints import make_plain
from mmseg_erfnet.registry import HOOKS


class _LateRemoval:
    """A file backend that removes when it is told to, not when it is asked to."""

    def __init__(self, backend) -> None:
        self.backend = backend
        self.waiting = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.waiting.append(path)

    def remove_waiting(self) -> None:
        for path in filter(self.backend.isfile, self.waiting):
            self.backend.remove(path)
        self.waiting.clear()


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with the same arguments, for runs that may be killed at any moment.

    - Each file is written to ``NAME.partial``, synced and renamed, ``last_checkpoint`` too; what a file replaces is
      removed after it is there, not before. A kill loses at most the epoch in progress.
    - A checkpoint says whether it has been validated. Where a resumed one should have been and was not, that is made up
      before training goes on, so that the best checkpoint is the one of an uninterrupted run.
    - Checkpoints hold tensors and plain Python values alone, so that loading one takes no trust in it.
    - What is loaded is checked: weights must fit the model, and nothing in a checkpoint is executed. This holds under
      MMEngine's plain ``Runner``, too.
    - With several processes the buffers (BN's running statistics) are averaged before each saving.

    ``backend_args`` are for storage other than local files, which must see to its own atomicity.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and '://' not in str(self.out_dir or ''):
            self.backend_args = dict(backend='atomic')

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.file_backend = _LateRemoval(self.file_backend)
        if self._lacks_validation(runner):
            self.last_ckpt = self._path(self._step(runner))
            runner.logger.info(f'{Path(self.last_ckpt).name} was not validated before the run ended: doing so now.')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        if not isinstance(runner._train_loop, BaseLoop):
            return  # runner.val() without training: nothing to save
        # Without a `last_ckpt`, MMEngine saves a new best, but not the epoch's checkpoint a second time.
        last, self.last_ckpt = self.last_ckpt, None
        super().after_val_epoch(runner, metrics)
        self.last_ckpt = last
        if is_main_process():
            self.file_backend.remove_waiting()
        step = self._step(runner)
        runner.message_hub.update_info('last_validated', step)
        if last == self._path(step):
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check_loaded(runner, checkpoint)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        make_plain(checkpoint)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        all_reduce_params(runner.model.buffers(), op='mean')
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            # Saved with those that go once this one is there: MMEngine removes them on resume, if a kill was quicker.
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
