"""CPU time that a training iteration takes beyond the network's own: the training loop, its hooks, the data loader.

At a tiny size, the network itself costs a fixed number of kernel launches, so everything else shows. On a GPU, the same
CPU work per iteration limits how fast the GPU can be fed.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch.nn.functional import cross_entropy, interpolate

from mmseg_erfnet.benchmarks.training import with_size
from mmseg_erfnet.datasets.synthetic import SPLIT_SHARES, synthesize_camvid
from mmseg_erfnet.engine.launch import train

SIZE = (16, 16)
BATCH = 2
WARM_UP = 10  # iterations that are not counted: memory is allocated, oneDNN creates its kernels


def benchmark_overhead(cfg: Config, iterations: int = 200, workers: int = 2) -> dict:
    """Measure the CPU time of a training iteration of a CamVid config, with two images of 16x16.

    Args:
        cfg: The config; it is not changed. Its hooks, optimiser and pipeline are used, on synthetic frames.
        iterations: Number of iterations to average over.
        workers: Processes that load data; their time does not count.

    Returns:
        Milliseconds of CPU time of this process, all threads, per iteration: ``total``; ``network``, the bare forward
        pass, cross-entropy, backward pass and optimiser step outside any loop; ``step``, MMEngine's ``train_step`` of
        the same; ``hooks`` by name; ``data``, the main process's share of loading; and ``loop``, the total minus the
        network.
    """
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        images = round(BATCH * (iterations + WARM_UP) / SPLIT_SHARES['train'])
        frames = synthesize_camvid(Path(folder) / 'frames', images, (32, 32))
        cfg = _tiny(cfg, str(frames), str(Path(folder) / 'run'), workers)
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type=clock.hook())]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # idle threads spin, which would count
        try:
            runner = train(cfg)
            network = _bare(runner, iterations)
        finally:
            torch.set_num_threads(threads)
    return clock.result(network)


def _tiny(cfg: Config, frames: str, work_dir: str, workers: int) -> Config:
    cfg = with_size(cfg, SIZE)
    cfg.work_dir = work_dir
    cfg.train_dataloader.update(batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    for part in ('train', 'val'):
        cfg[f'{part}_dataloader'].dataset.data_root = frames
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=2)
    cfg.val_dataloader.dataset.indices = 1
    # These act between epochs only.
    between = [f'mmseg_erfnet.{name}Hook' for name in ('TrainScore', 'ClassTable', 'Curves', 'Report', 'Timelapse')]
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if hook.type not in between]
    cfg.param_scheduler = [dict(type='PolyLR', end=2, by_epoch=True)]
    return cfg


class _Clock:
    """CPU time by part, measured by wrapping what a runner calls in each iteration."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.iterations = 0
        self.began = self.ended = 0.0

    def hook(self) -> type[Hook]:
        clock = self

        class ClockHook(Hook):
            priority = 'HIGHEST'

            def before_train(self, runner: Runner) -> None:
                clock.wrap(runner)

        return ClockHook

    def wrap(self, runner: Runner) -> None:
        loop, model = runner.train_loop, runner.model
        model.train_step = self.timed(model.train_step, 'step')
        loop.run_iter = self.counted(loop.run_iter)
        for hook in runner.hooks:
            for name in ('before_train_iter', 'after_train_iter'):
                setattr(hook, name, self.timed(getattr(hook, name), type(hook).__name__))

    def timed(self, function: Callable, name: str) -> Callable:
        @wraps(function)
        def measured(*args, **kwargs):
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                if self.iterations > WARM_UP:
                    self.spent[name] += time.process_time() - started

        return measured

    def counted(self, run_iter: Callable) -> Callable:
        timed = self.timed(run_iter, 'iteration')

        def measured(*args, **kwargs):
            self.iterations += 1
            if self.iterations == WARM_UP + 1:
                self.began = time.process_time()
            timed(*args, **kwargs)
            self.ended = time.process_time()

        return measured

    def result(self, network: float) -> dict:
        number = self.iterations - WARM_UP
        per_iteration = {name: value / number * 1e3 for name, value in self.spent.items()}
        total = (self.ended - self.began) / number * 1e3
        step, inside = per_iteration.pop('step'), per_iteration.pop('iteration')
        hooks = dict(sorted(per_iteration.items(), key=lambda item: -item[1]))
        return dict(
            iterations=number,
            total=total,
            network=network,
            step=step,
            hooks=hooks,
            data=total - inside,
            loop=total - network,
        )


def _bare(runner: Runner, iterations: int) -> float:
    """Return the CPU milliseconds of one step of the network, written without MMEngine or MMSegmentation."""
    model = runner.model
    model.train()
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # otherwise, one line per parameter without weight decay
    optimizer = build_optim_wrapper(model, runner.cfg.optim_wrapper).optimizer
    logger.setLevel(level)
    inputs = torch.rand(BATCH, 3, *SIZE)
    labels = torch.randint(model.decode_head.num_classes, (BATCH, *SIZE))
    for iteration in range(WARM_UP + iterations):
        if iteration == WARM_UP:
            started = time.process_time()
        logits = interpolate(model.decode_head(model.backbone(inputs)), SIZE, mode='bilinear')
        cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - started) / iterations * 1e3


def overhead_table(result: dict) -> str:
    """Return the result of :func:`benchmark_overhead` as Markdown."""
    rows = [('all', result['total']), ('the bare network: forward, loss, backward, optimiser', result['network'])]
    rows += [('the rest', result['loop'])]
    rows += [('of the rest: train_step without the network', result['step'] - result['network'])]
    rows += [('of the rest: fetching the batch from the workers', result['data'])]
    rows += [(f'of the rest: {name}', value) for name, value in result['hooks'].items() if value >= 0.01]
    lines = ['| CPU time per iteration, two images of 16x16 | ms |', '| --- | ---: |']
    return '\n'.join(lines + [f'| {name} | {value:.2f} |' for name, value in rows])
