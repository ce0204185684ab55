"""Stop a run when its loss is NaN or infinite."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_erfnet.engine.checkpointing import state_of_run
from mmseg_erfnet.errors import DivergenceError
from mmseg_erfnet.registry import HOOKS
from mmseg_erfnet.text import listed


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a run whose loss is NaN or infinite, before it saves a corrupted checkpoint.

    Losses stay on the device and are checked together: every ``interval`` iterations, at the end of an epoch, and
    before anything is saved. Only a check waits for the GPU; the iterations in between do not.

    Args:
        interval: Iterations between two checks.

    Raises:
        DivergenceError: A loss is NaN or infinite. The message names the iteration and the files of the batch; with
            several processes, those of the process in which it occurred.
    """

    priority = 'HIGH'  # before any hook that saves

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self.seen: list[tuple[int, int, list[str], torch.Tensor]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        loss = (outputs or {}).get('loss')
        if isinstance(loss, torch.Tensor):
            files = [getattr(sample, 'img_path', '?') for sample in (data_batch or {}).get('data_samples', ())]
            self.seen.append((runner.iter, runner.epoch, files, loss.detach()))
        if len(self.seen) >= self.interval or self.is_last_train_iter(runner):
            self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._look(runner)

    def before_val(self, runner: Runner) -> None:
        self._look(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._look(runner)

    def _look(self, runner: Runner) -> None:
        seen, self.seen = self.seen, []
        if not seen:
            return
        losses = torch.stack([loss.float().mean() for *_, loss in seen]).tolist()
        for (iteration, epoch, files, _), loss in zip(seen, losses, strict=True):
            if not -float('inf') < loss < float('inf'):
                raise DivergenceError(
                    f'The loss is {loss} at iteration {iteration + 1} (epoch {epoch + 1}) on {listed(files, 16)}. '
                    f'Nothing has been saved since. {state_of_run(runner)} If these files and their labels '
                    'are correct, lower the learning rate (optim_wrapper.optimizer.lr) or clip the gradient '
                    '(optim_wrapper.clip_grad).'
                )
