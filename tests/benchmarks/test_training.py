"""The benchmark of training: what it runs, on synthetic frames where there are no data, and what it reports."""

import os
import signal
import sys
from contextlib import contextmanager
from multiprocessing import Pipe, get_context

import pytest
import torch
from conftest import ROOT

from mmseg_erfnet.benchmarks import training as benchmark
from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.engine.launch import load_config
from mmseg_erfnet.engine.memory import keep_freed_memory
from mmseg_erfnet.errors import DataError, UsageError


def config(name: str, **options):
    options = {
        'train_dataloader.dataset.data_root': '/nowhere',
        'train_dataloader.num_workers': 0,
        'train_dataloader.batch_size': 2,
        **options,
    }
    return benchmark.with_size(load_config(str(ROOT / 'configs' / f'{name}.py'), options=options), (64, 64))


@pytest.fixture(autouse=True)
def few_small_frames(monkeypatch):
    monkeypatch.setattr(benchmark, 'FRAMES', 8)
    monkeypatch.setattr(benchmark, 'SYNTHETIC_SIZE', (96, 128))


@pytest.mark.slow  # starts three processes
def test_rows():
    result = benchmark.benchmark_training(config('erfnet_camvid'), threads=2, rounds=1, iterations=2, samples=8)
    assert result['frames'] == 'synthetic'
    assert result['size'] == [64, 64]
    assert [row['name'] for row in result['rows']][1:] == [
        'ours, float32',
        'ours, --amp',
        'ours, --amp, 2 processes',
    ]
    for row in result['rows']:
        assert row['ratio'] == pytest.approx(row['fps'] / result['rows'][0]['fps'])
        # Medians of parts need not add up to the median of sums, but nearly.
        assert sum(row[part] for part in benchmark.PARTS) == pytest.approx(1e3 / row['fps'], rel=0.2)
    assert all(row['fps'] > 0 for row in result['pipelines'])
    assert benchmark.training_table(result).count('\n| ours') == 5


@pytest.mark.slow  # starts three processes
def test_points(monkeypatch):
    monkeypatch.setattr(benchmark, 'SCALING', dict(batch=(2,), size=((64, 64),), processes=(1, 2)))
    lines = []
    points = benchmark.benchmark_scaling(config('erfnet_camvid'), threads=2, iterations=1, report=lines.append)
    assert [point['processes'] for point in points] == [1, 2]
    assert all(point['fps'] > 0 for point in points)
    assert benchmark.scaling_table(points).endswith('\n'.join(lines))


@pytest.mark.parametrize('name', ['erfnet_camvid', 'erfnet_camvid11'])
def test_both_see_the_same_frames_and_labels(name, tmp_path):
    cfg, stock, source = benchmark._prepare(config(name), tmp_path)
    assert source == 'synthetic'
    ours, stocks = (
        build_dataset(c, 'train', pipeline=steps)
        for c, steps in ((cfg, cfg.train_pipeline[:2]), (stock, stock.train_dataloader.dataset.pipeline[:2]))
    )
    assert len(ours) == len(stocks) > 0
    found = {stocks[i]['img'].tobytes(): stocks[i]['gt_seg_map'].tobytes() for i in range(len(stocks))}
    assert found == {ours[i]['img'].tobytes(): ours[i]['gt_seg_map'].tobytes() for i in range(len(ours))}
    model = benchmark.MODELS.build(stock.model)
    assert type(model.backbone).__module__.startswith('mmseg.')
    assert type(model.decode_head).__module__.startswith('mmseg.')


def test_a_config_without_data_and_without_a_stand_in(tmp_path):
    with pytest.raises(UsageError, match='CityscapesDataset has no data here'):
        benchmark._prepare(config('erfnet_cityscapes'), tmp_path)


@pytest.mark.parametrize(
    ('batch', 'threads', 'row'),
    [(16, 6, '4 processes'), (4, 8, '4 processes'), (15, 2, 'ours, --amp'), (16, 16, '16 processes')],
)
def test_processes_share_the_whole_batch(batch, threads, row, monkeypatch):
    """An image takes 10 ms here, in however many processes."""
    trained = []

    @contextmanager
    def started(cfg, ours, threads, group=None):
        images = cfg.train_dataloader.batch_size
        trained.append((images, threads, group and group[2]))
        near, far = Pipe()
        trainer = benchmark._Trainer(near, get_context().Process())
        trainer.start = lambda iterations: far.send([[0, images / 100, 0, 0]] * iterations)
        yield trainer

    monkeypatch.setattr(benchmark, '_started', started)
    monkeypatch.setattr(benchmark, '_pipeline_rate', lambda *arguments: 1.0)
    monkeypatch.setattr(benchmark, '_prepare', lambda cfg, folder: (cfg, cfg, 'synthetic'))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = config('erfnet_camvid', **{'train_dataloader.batch_size': batch})
    last = benchmark.benchmark_training(cfg, threads=threads, rounds=1)['rows'][-1]
    images, each, processes = trained[-1]
    processes = processes or 1
    assert last['name'].endswith(row)
    assert images * processes == batch
    assert each * processes <= threads
    assert last['fps'] == pytest.approx(100 * processes)


@pytest.mark.parametrize(
    ('end', 'sentence'),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r'was killed \(signal 9\), most likely for lack of memory'),
        (lambda: os._exit(3), r'ended early \(status 3\)'),
    ],
    ids=['killed', 'failed'],
)
def test_a_process_that_dies_is_one_sentence(end, sentence):
    """Another one that waits for it does not hold up the error."""
    waiting, other = Pipe()
    near, far = Pipe()
    process = get_context('fork').Process(target=end)
    process.start()
    far.close()
    group = benchmark._Group([benchmark._Trainer(waiting, process), benchmark._Trainer(near, process)])
    for _ in range(2):  # it may have ended before it is asked, too
        with pytest.raises(UsageError, match=sentence):
            group(1)
    other.close()


def test_an_error_of_the_users_reaches_the_parent(monkeypatch):
    def damaged(*arguments):
        raise DataError('x.png is damaged; restore it.')

    near, far = Pipe()
    monkeypatch.setattr(benchmark, '_iteration', lambda *arguments: damaged)
    near.send(1)
    benchmark._serve(far, config('erfnet_camvid'), True, 1, None)
    with pytest.raises(DataError, match=r'x\.png is damaged'):
        benchmark._Trainer(near, None).finish()
    near.close()
    benchmark._serve(far, config('erfnet_camvid'), True, 1, None)  # ends with its parent


def test_size_reaches_the_pipeline(tmp_path):
    cfg = benchmark.with_size(load_config(str(ROOT / 'configs' / 'erfnet_camvid11.py')), (128, 192))
    steps = cfg.train_dataloader.dataset.pipeline
    assert steps[2].scale == (192, 128)
    assert steps[3].crop_size == (128, 192)
    assert tuple(cfg.model.data_preprocessor.size) == (128, 192)


def test_the_c_library_agrees():
    assert keep_freed_memory() == sys.platform.startswith('linux')
