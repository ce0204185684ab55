"""Training runs that take a tenth of a second: a linear layer, four samples, and scores chosen by the test."""

import itertools
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmseg_erfnet.engine.hooks import SafeCheckpointHook
from mmseg_erfnet.engine.runner import SafeRunner

NUMBERS = itertools.count()


class Model(BaseModel):
    """Learns to output 0. It has a BN, so that there are buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.norm = torch.nn.BatchNorm1d(2)

    def forward(self, inputs, mode='tensor'):
        found = self.norm(self.layer(inputs)) if self.training else self.layer(inputs)
        return dict(loss=(found - inputs.sin()).square().mean()) if mode == 'loss' else [dict() for _ in inputs]


class Scores(BaseMetric):
    """Returns, for each epoch, the score chosen by the test."""

    def __init__(self, scores: dict[int, float]) -> None:
        super().__init__()
        self.scores, self.runner = scores, None

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return dict(score=self.scores[self.runner.epoch])


def tiny_run(
    work_dir: Path,
    epochs: int,
    scores: dict[int, float] | None = None,
    kind: type[Runner] = SafeRunner,
    checkpoint: dict | None = None,
    **options,
) -> Runner:
    """Return a run that has not started. The same arguments give the same weights.

    Args:
        work_dir: Folder of the run.
        epochs: Number of epochs.
        scores: One score per epoch; without scores, the run does not validate.
        kind: The Runner class, ours or MMEngine's.
        checkpoint: Arguments of the checkpoint hook.
        options: Arguments of the runner.
    """
    torch.manual_seed(0)
    data = dict(dataset=[dict(inputs=torch.tensor([index, 1.0])) for index in range(8)], batch_size=4)
    loader = dict(data, collate_fn=dict(type='default_collate'), sampler=dict(type='DefaultSampler', shuffle=False))
    hook = dict(type=SafeCheckpointHook, interval=1, **(checkpoint or {}))
    if scores:
        metric = Scores(scores)
        hook = dict(hook, save_best='score', rule='greater')
        options |= dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=[metric])
    settings = dict(
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=8, end=8, by_epoch=True),
        default_hooks=dict(checkpoint=hook),
        experiment_name=f'{work_dir.name}_{next(NUMBERS)}',  # MMEngine distinguishes runs by name and second
        default_scope='mmengine',
    )
    runner = kind(Model(), str(work_dir), **settings | options)
    if scores:
        metric.runner = runner
    return runner
