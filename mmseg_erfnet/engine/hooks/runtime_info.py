"""Losses of each iteration, fetched from the device only when they are logged."""

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner

from mmseg_erfnet.registry import HOOKS


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook`` without the wait for the GPU in each iteration.

    MMEngine fetches every loss in every iteration. This hook keeps them on the device and fetches those of many
    iterations in one copy, whenever :class:`~mmengine.hooks.LoggerHook` logs and at the end of an epoch. The logged
    values are the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, list[torch.Tensor]] = {}
        self.interval = 10

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.waiting = {}
        loggers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = min(loggers, default=self.interval)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        for name, value in (outputs or {}).items():
            if isinstance(value, torch.Tensor) and value.numel() == 1:
                self.waiting.setdefault(name, []).append(value.detach().reshape(()))
            else:
                runner.message_hub.update_scalar(f'train/{name}', value)
        if (
            self.every_n_inner_iters(batch_idx, self.interval)
            or self.every_n_train_iters(runner, self.interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._fetch(runner)

    def _fetch(self, runner: Runner) -> None:
        waiting, self.waiting = self.waiting, {}
        if not waiting:
            return
        # One copy for all.
        values = torch.stack([value.float() for column in waiting.values() for value in column]).tolist()
        numbers = iter(values)
        for name, column in waiting.items():
            for _ in column:
                runner.message_hub.update_scalar(f'train/{name}', next(numbers))
