"""How a run ends that does not come to its end: out of disk space, or with a loss that is no number."""

import math

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.engine.checkpointing import state_of_run
from mmseg_erfnet.errors import DivergenceError
from mmseg_erfnet.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a run whose loss is NaN or infinite, before a checkpoint is spoiled.

    It looks at every iteration. That costs a GPU nothing more: MMEngine's ``RuntimeInfoHook`` has fetched the number by
    then, for the log.

    Raises:
        DivergenceError: It names the iteration and the files of the batch. With several processes, those of the process
            that met it.
    """

    priority = 'HIGH'  # after RuntimeInfoHook, before whatever saves

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        loss = runner.message_hub.get_scalar('train/loss').current()
        if not math.isfinite(loss):
            files = ', '.join(sample.img_path for sample in data_batch['data_samples'])
            raise DivergenceError(
                f'The loss is {loss} at iteration {runner.iter + 1} (epoch {runner.epoch + 1}) on {files}. Nothing has '
                f'been saved since. {state_of_run(runner.work_dir)} If these files and their labels are in order, '
                'lower the learning rate (optim_wrapper.optimizer.lr) or clip the gradient (optim_wrapper.clip_grad).'
            )
