"""Training throughput in images per second: MMSegmentation's ERFNet with its own pipeline, and ours, interleaved.

Each row runs in its own process, so that process-wide settings such as threads and memory affect only that row. While
one row runs, the others wait. A turn is a few iterations of the loop without hooks: fetch, forward, backward, update.
"""

import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.registry import MODELS
from torch.multiprocessing import get_context
from torch.nn.parallel import DistributedDataParallel

from mmseg_erfnet.benchmarks.stock import stock_backbone
from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.datasets.pipelines import evenly_spaced, loading_steps
from mmseg_erfnet.datasets.synthetic import synthesize_camvid
from mmseg_erfnet.engine.amp import use_amp
from mmseg_erfnet.engine.memory import keep_freed_memory
from mmseg_erfnet.engine.translation import translate
from mmseg_erfnet.environment import cores
from mmseg_erfnet.errors import DataError, UsageError, UserError
from mmseg_erfnet.mmseg_import import call_quietly

PARTS = ('data', 'forward', 'backward', 'optimiser')
FRAMES = 64
SYNTHETIC_SIZE = (360, 480)
# The small table varies one of these at a time, starting from the config's batch and size, two workers, one process.
SCALING = dict(
    batch=(1, 2, 4, 8, 16, 32, 64),
    workers=(0, 1, 2, 4),
    size=((128, 128), (256, 256), (384, 384), (512, 512)),
    processes=(1, 2),
)


def benchmark_training(
    cfg: Config, threads: int | None = None, rounds: int = 3, iterations: int = 2, samples: int = 100
) -> dict:
    """Measure complete training, its parts, and the data pipelines alone.

    Without a GPU, the last row trains with several processes, which share the batch: as many as divide it evenly, up to
    one per thread.

    Args:
        cfg: The config. If its data are missing, a CamVid config is measured on synthetic frames of 360x480.
        threads: CPU threads per row; by default all cores.
        rounds: Turns per row, after one that is not counted.
        iterations: Iterations per turn.
        samples: Number of samples for measuring the pipelines alone.

    Returns:
        ``config``, ``batch``, ``size``, ``workers``, ``threads``, ``frames`` (their origin), ``rows`` and
        ``pipelines``. A row has ``name``, ``fps``, ``ratio`` to the first row, and the median milliseconds per image of
        each of :data:`PARTS`. A pipeline has ``name`` and ``fps`` on one core, based on CPU time.

    Raises:
        UserError: The data or the config cannot be used, or a process ends early.
    """
    threads = threads or cores()
    with tempfile.TemporaryDirectory() as folder:
        cfg, stock, source = _prepare(cfg, Path(folder))
        amp = use_amp(cfg)
        rows = {
            "MMSegmentation's ERFNet and pipeline, float32": (stock, False),
            'ours, float32': (cfg, True),
            'ours, --amp': (amp, True),
        }
        with ExitStack() as stack:
            trainers = {name: stack.enter_context(_started(row, ours, threads)) for name, (row, ours) in rows.items()}
            processes = 1 if torch.cuda.is_available() else _processes(cfg.train_dataloader.batch_size, threads)
            if processes > 1:
                group = stack.enter_context(_group(amp, processes, threads // processes))
                trainers[f'ours, --amp, {processes} processes'] = group
            times = {name: [] for name in trainers}
            for round_ in range(rounds + 1):
                for name, trainer in trainers.items():
                    found = trainer(iterations)
                    if round_:
                        times[name] += found
        pipelines = [
            dict(name=name, fps=_pipeline_rate(data, cache, samples))
            for name, data, cache in (
                ("MMSegmentation's", stock, None),
                ('ours, every file read', cfg, 0),
                ('ours, cached frames', cfg, 2),
            )
        ]
    batch = cfg.train_dataloader.batch_size
    result = []
    for name, found in times.items():
        parts = np.median(found, axis=0) / batch * 1e3
        fps = float(batch / np.median(np.sum(found, axis=1)))
        first = result[0]['fps'] if result else fps
        result.append(dict(name=name, fps=fps, ratio=fps / first, **dict(zip(PARTS, parts.tolist(), strict=True))))
    return dict(
        config=Path(cfg.filename).name,
        batch=batch,
        size=list(_size(cfg)),
        threads=threads,
        workers=cfg.train_dataloader.num_workers,
        frames=source,
        rows=result,
        pipelines=pipelines,
    )


def _processes(batch: int, threads: int) -> int:
    """Return the largest number of processes that divides the batch, at most one per thread."""
    return max(number for number in range(1, min(batch, threads) + 1) if batch % number == 0)


def benchmark_scaling(
    cfg: Config, threads: int | None = None, iterations: int = 2, report: Callable[[str], None] = print
) -> list[dict]:
    """Measure ``--amp`` at the points of :data:`SCALING`; ``threads`` is the total over all processes.

    Returns:
        For each point, ``batch`` (per process), ``workers``, ``size``, ``processes`` and ``fps``.

    Raises:
        UserError: As :func:`benchmark_training`.
    """
    threads = threads or cores()
    points = []
    with tempfile.TemporaryDirectory() as folder:
        cfg, _, _ = _prepare(cfg, Path(folder))
        cfg = use_amp(cfg)
        middle = dict(batch=cfg.train_dataloader.batch_size, workers=2, size=_size(cfg), processes=1)
        wanted = [middle]
        for name, values in SCALING.items():
            wanted += [dict(middle, **{name: value}) for value in values if value != middle[name]]
        for point in wanted:
            points.append(dict(point, fps=_rate(cfg, point, threads, iterations)))
            report(_point_line(points[-1]))
    return points


def _rate(cfg: Config, point: dict, threads: int, iterations: int) -> float:
    cfg = with_size(cfg, point['size'])
    cfg.train_dataloader.batch_size = point['batch']
    cfg.train_dataloader.num_workers = point['workers']
    cfg.train_dataloader.persistent_workers = point['workers'] > 0
    processes = point['processes']
    cfg.train_dataloader.batch_size *= processes
    with _group(cfg, processes, max(1, threads // processes)) as trainers:
        for turn in (1, iterations):
            found = trainers(turn)
    return processes * point['batch'] / float(np.median(np.sum(found, axis=1)))


# --- Configs ----------------------------------------------------------------------------------------------------------


def _prepare(cfg: Config, folder: Path) -> tuple[Config, Config, str]:
    """Return our config and the equivalent MMSegmentation config, both on some frames, and the frames' origin."""
    init_default_scope('mmseg')
    cfg = deepcopy(cfg)
    data, source = cfg.train_dataloader.dataset, 'the training set'
    loading = loading_steps(data.pipeline)
    try:
        dataset = build_dataset(cfg, 'train', pipeline=loading)
    except (DataError, FileNotFoundError) as error:
        if 'CamVid' not in data.type:
            raise UsageError(
                f'{data.type} has no data here ({error}); set data_root, or measure a config of '
                'CamVid, which works on synthetic frames.'
            ) from error
        data.data_root = str(synthesize_camvid(folder / 'synthetic', FRAMES, SYNTHETIC_SIZE))
        dataset, source = build_dataset(cfg, 'train', pipeline=loading), 'synthetic'
    data.indices = evenly_spaced(len(dataset), FRAMES)
    for kind in ('images', 'labels'):
        (folder / kind).mkdir()
    for index in data.indices:
        sample = dataset[index]
        name = f'{index}{Path(sample["img_path"]).suffix}'
        (folder / 'images' / name).symlink_to(Path(sample['img_path']).resolve())
        cv2.imwrite(str(folder / 'labels' / f'{index}.png'), sample['gt_seg_map'])
    # An infinite sampler, so that no turn includes the start of an epoch.
    cfg.train_dataloader.update(sampler=dict(type='InfiniteSampler', shuffle=True), drop_last=True)
    return cfg, _stock(cfg, folder, Path(name).suffix, dataset.metainfo['classes']), source


def _stock(cfg: Config, folder: Path, suffix: str, classes: Sequence[str]) -> Config:
    cfg, (height, width) = deepcopy(cfg), _size(cfg)
    cfg.model.backbone = stock_backbone(cfg.model.backbone)
    cfg.model.decode_head = dict(
        type='mmseg.FCNHead',
        in_channels=16,
        channels=128,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=len(classes),
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='mmseg.CrossEntropyLoss'),
    )
    cfg.train_dataloader.dataset = dict(
        type='mmseg.BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix=suffix,
        seg_map_suffix='.png',
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomResize', scale=(width, height), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(height, width), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
    )
    return cfg


def _size(cfg: Config) -> tuple[int, int]:
    return tuple(cfg.model.data_preprocessor.size)


def with_size(cfg: Config, size: tuple[int, int]) -> Config:
    """Return a config whose training images have another height and width."""
    old = _size(cfg)
    pairs = [(old, tuple(size)), (old[::-1], tuple(size)[::-1])]

    def replaced(node: object) -> object:
        if isinstance(node, dict):
            return {key: replaced(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return next((new for old, new in pairs if tuple(node) == old), type(node)(map(replaced, node)))
        return node

    cfg = deepcopy(cfg)
    cfg.model.data_preprocessor.size = tuple(size)
    cfg.train_dataloader.dataset.pipeline = replaced(cfg.train_dataloader.dataset.to_dict()['pipeline'])
    return cfg


def _pipeline_rate(cfg: Config, cache: int | None, samples: int) -> float:
    """Return samples per second on one core, after all frames have been read once."""
    options = {} if cache is None else dict(cache_gb=cache)
    dataset = build_dataset(cfg, 'train', **options)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # as in a data loader's worker
    try:
        for index in range(len(dataset)):
            dataset[index]
        started = time.process_time()
        for index in range(samples):
            dataset[index % len(dataset)]
        return samples / (time.process_time() - started)
    finally:
        cv2.setNumThreads(threads)


# --- A row's process --------------------------------------------------------------------------------------------------


class _Trainer:
    """The parent's handle to a process that runs :func:`_serve`."""

    def __init__(self, connection: object, process: object) -> None:
        self.connection, self.process = connection, process

    def start(self, iterations: int) -> None:
        # A process that has ended is noticed by what it does not send.
        with suppress(ConnectionError):
            self.connection.send(iterations)

    def finish(self) -> list[list[float]]:
        """Return the time of each of :data:`PARTS` in seconds, for each iteration.

        Raises:
            UserError: The process has ended.
        """
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join(timeout=10)
            code = self.process.exitcode or 0
            raise UsageError(
                f'A training process of the benchmark was killed (signal {-code}), most likely for lack of memory: '
                'lower the batch size.'
                if code < 0
                else f'A training process of the benchmark ended early (status {code}): see its own error above.'
            ) from error
        if isinstance(found, UserError):
            raise found
        return found

    def __call__(self, iterations: int) -> list[list[float]]:
        self.start(iterations)
        return self.finish()


class _Group(list):
    """Several :class:`_Trainer` that train together."""

    def __call__(self, iterations: int) -> list[list[float]]:
        for trainer in self:
            trainer.start(iterations)
        # In the order in which they are done: if one ends early, the others wait for it, or fail because of it.
        found, left = {}, {trainer.connection: trainer for trainer in self}
        while left:
            for connection in sorted(wait(list(left)), key=lambda done: left[done].process.is_alive()):
                found[connection] = left.pop(connection).finish()
        return found[self[0].connection]


@contextmanager
def _group(cfg: Config, processes: int, threads: int = 1) -> Iterator[_Group]:
    """Start processes that share the config's batch, which their number must divide, and exchange gradients."""
    cfg = deepcopy(cfg)
    cfg.train_dataloader.batch_size //= processes
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'tcp://127.0.0.1:{free.getsockname()[1]}'
    with ExitStack() as stack:
        yield _Group(
            stack.enter_context(_started(cfg, True, threads, (address, rank, processes))) for rank in range(processes)
        )


@contextmanager
def _started(cfg: Config, ours: bool, threads: int, group: tuple[str, int, int] | None = None) -> _Trainer:
    context = get_context('spawn')
    near, far = context.Pipe()
    # Not a daemon, which could not start a data loader's workers.
    process = context.Process(target=call_quietly, args=(__name__, _serve.__name__, far, cfg, ours, threads, group))
    process.start()
    far.close()
    try:
        yield _Trainer(near, process)
    except BaseException:
        process.kill()  # it may wait for one that has ended
        raise
    finally:
        near.close()
        process.join(timeout=10)
        process.kill()


def _serve(connection: object, cfg: Config, ours: bool, threads: int, group: tuple[str, int, int] | None) -> None:
    """Train as many iterations as the parent requests, until it closes the connection.

    An error that the user can cause is sent to the parent, which raises it.
    """

    def requests() -> Iterator[int]:
        with suppress(EOFError, ConnectionError):
            while True:
                yield connection.recv()

    try:
        iterate = _iteration(cfg, ours, threads, group)
        for iterations in requests():
            connection.send([iterate() for _ in range(iterations)])
    except BrokenPipeError:  # the parent has ended
        pass
    except Exception as error:
        found = translate(error, cfg)
        if found is None:
            raise
        connection.send(found)


def _iteration(cfg: Config, ours: bool, threads: int, group: tuple[str, int, int] | None) -> Callable[[], list[float]]:
    """Return a function that trains one iteration; see :func:`_iterate`."""
    MMLogger.get_current_instance().setLevel('WARNING')  # otherwise, one line per parameter without weight decay
    warnings.simplefilter('ignore')  # about MMSegmentation's loss, and about workers with another start method
    set_multi_processing(**cfg.env_cfg.mp_cfg)
    init_default_scope('mmseg')
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = get_device()
    model = MODELS.build(cfg.model).to(device).train()
    if ours:
        keep_freed_memory()
    if cfg.optim_wrapper.type != 'OptimWrapper':
        model.to(memory_format=torch.channels_last)
    network = model
    if group is not None and group[2] > 1:
        torch.distributed.init_process_group('gloo', group[0], rank=group[1], world_size=group[2])
        network = DistributedDataParallel(model)
    optimiser = build_optim_wrapper(model, cfg.optim_wrapper)
    batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    return partial(_iterate, model, network, optimiser, batches, device)


def _iterate(model: object, network: object, optimiser: object, batches: object, device: str) -> list[float]:
    """Run one iteration as in MMEngine's ``train_step``; return the time of each of :data:`PARTS` in seconds."""
    marks = [time.perf_counter()]

    def mark() -> None:
        if device == 'cuda':
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    batch = next(batches)
    mark()
    with optimiser.optim_context(network):
        batch = model.data_preprocessor(batch, True)
        loss, _ = model.parse_losses(network(**batch, mode='loss'))
    mark()
    optimiser.backward(loss)
    mark()
    optimiser.step()
    optimiser.zero_grad()
    mark()
    return np.diff(marks).tolist()


# --- Output -----------------------------------------------------------------------------------------------------------


def training_table(result: dict) -> str:
    """Return the result of :func:`benchmark_training` as Markdown."""
    height, width = result['size']
    lines = [
        f'{result["config"]}: {height}x{width}, batch {result["batch"]}, {result["threads"]} threads, '
        f'{result["workers"]} workers, frames: {result["frames"]}',
        '',
        '| | images/s | times the first | ' + ' | '.join(f'{part}, ms per image' for part in PARTS) + ' |',
        '| --- |' + ' ---: |' * (2 + len(PARTS)),
    ]
    lines += [
        f'| {row["name"]} | {row["fps"]:.2f} | {row["ratio"]:.2f} | '
        + ' | '.join(f'{row[part]:.1f}' for part in PARTS)
        + ' |'
        for row in result['rows']
    ]
    lines += ['', '| data pipeline alone | samples/s per core |', '| --- | ---: |']
    return '\n'.join(lines + [f'| {row["name"]} | {row["fps"]:.0f} |' for row in result['pipelines']])


def scaling_table(points: list[dict]) -> str:
    """Return the result of :func:`benchmark_scaling` as Markdown."""
    return '\n'.join(
        [
            '| batch | workers | size | processes | images/s |',
            '| ---: | ---: | ---: | ---: | ---: |',
            *map(_point_line, points),
        ]
    )


def _point_line(point: dict) -> str:
    height, width = point['size']
    return f'| {point["batch"]} | {point["workers"]} | {height}x{width} | {point["processes"]} | {point["fps"]:.2f} |'
