"""The table: what is counted, and that all rows compute the same."""

import json

import numpy as np
import pytest
import torch
from helpers.small_models import checkpoint, config, exported

from mmseg_erfnet.models.building import load_segmentor

pytest.importorskip('openvino')
benchmark = pytest.importorskip('mmseg_erfnet.benchmarks.inference')


def test_multiply_accumulates_of_the_published_network():
    cfg = config('erfnet_camvid11')
    cfg.model.backbone.update(
        enc_stage_non_bottlenecks=(5, 8), enc_non_bottleneck_dilations=(2, 4, 8, 16), dec_stages_non_bottleneck=(2, 2)
    )
    half, quarter, eighth = 180 * 240, 90 * 120, 45 * 60
    residual = 4 * 3 * (7 * 64 * 64 * quarter + 8 * 128 * 128 * eighth + 2 * 16 * 16 * half)
    sampling = 9 * (3 * 13 * half + 16 * 48 * quarter + 64 * 64 * eighth + 128 * 64 * eighth + 64 * 16 * quarter)
    head = half * (9 * 16 * 128 + 128 * 11)
    assert benchmark.count_macs(load_segmentor(cfg, None), (360, 480)) == residual + sampling + head


@pytest.fixture
def no_rates(monkeypatch):
    monkeypatch.setattr(benchmark, 'matrix_convolutions', lambda threads: dict(f32=lambda: 100.0))


def test_rows_are_compared_with_the_first_on_their_device():
    names = ('CPU', 'CPU', 'CUDA', 'CUDA')
    runs = [benchmark._Run('x', lambda: np.zeros(1), lambda: None, device, 'f32') for device in names]
    rates = iter(range(100))
    assert benchmark._measure(runs, dict(f32=lambda: float(next(rates))), rounds=2) == dict(f32=17.0)
    for run, median in zip(runs, (8, 4, 2, 1), strict=True):
        assert {what: len(seconds) for what, seconds in run.seconds.items()} == dict(frame_to_labels=10, network=10)
        run.seconds['frame_to_labels'] = [median / 1e3]
    rows = benchmark._rows(runs, 2, dict(f32=1.0), 10**6, None)
    assert [row['ratio'] for row in rows] == [1, 2, 1, 2]
    assert rows[0]['frame_to_labels'] == dict(median=8, p90=8, min=8, fps=250)
    assert [row['of_limit'] for row in rows] == [0.25, 0.5, None, None]


@pytest.mark.slow  # exports in every format
def test_rows_agree_and_are_compared_with_the_first(no_rates):
    threads = torch.get_num_threads()
    try:
        result = benchmark.benchmark(
            config('erfnet_camvid11'),
            str(checkpoint('erfnet_camvid11')),
            [(64, 96)],
            batch=2,
            threads=1,
            rounds=1,
            report=lambda line: None,
            rows=('ours', 'folded', 'bf16', 'onnxruntime', 'openvino-f32', 'openvino-bf16'),
            models=[exported() / 'erfnet_camvid11.onnx'],
        )
    finally:
        torch.set_num_threads(threads)
    rows = {row['name']: row for row in result['sizes'][0]['rows']}
    assert list(rows)[:5] == [
        'PyTorch, MMSegmentation',
        'PyTorch, ours',
        'PyTorch, ours, folded',
        'PyTorch, ours, folded, bf16',
        'ONNX Runtime',
    ]
    assert 'OpenVINO, f32' in rows
    assert rows['PyTorch, MMSegmentation']['ratio'] == 1
    exported_row = rows.pop('erfnet_camvid11.onnx')
    assert exported_row['frame_to_labels']['median'] > 0
    assert 'network' not in exported_row
    for row in rows.values():
        assert row['agreement'] > (0.999 if row['precision'] == 'f32' else 0.8)
        whole = row['frame_to_labels']
        assert whole['fps'] == pytest.approx(2000 / whole['median'])
        assert whole['min'] <= whole['median'] <= whole['p90']
    first = rows['PyTorch, MMSegmentation']
    macs = result['sizes'][0]['macs']
    assert first['of_limit'] == pytest.approx(2 * macs / 100e9 * 1000 / first['frame_to_labels']['median'])
    assert json.dumps(result)
    table = benchmark.table(result).splitlines()
    assert sum(line.startswith('| ') for line in table) == len(rows) + 3
    assert '1 threads, batch 2' in table[0]


def test_stock_computes_what_ours_does():
    cfg = config('erfnet_camvid11')
    ours = load_segmentor(cfg, str(checkpoint('erfnet_camvid11')))
    stock = benchmark.stock_segmentor(cfg, ours)
    assert type(stock.backbone).__module__.startswith('mmseg.')
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(stock(x, mode='tensor'), ours(x, mode='tensor'))


def test_rates_are_of_the_right_order():
    rates = {name: rate() for name, rate in benchmark.matrix_convolutions(threads=1).items()}
    assert {'f32', 'int8'} <= set(rates)
    # From a tenth of a slow core to more than any core has.
    assert all(0.5 < rate < 10_000 for rate in rates.values())


@pytest.mark.slow
def test_rows_of_a_gpu(no_rates, monkeypatch):
    """All that those rows run but the GPU itself, for which the CPU stands in."""
    waited = []
    monkeypatch.setattr(benchmark, 'GPU', 'cpu')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')  # mmengine's logger counts devices
    for name, function in (
        ('is_available', lambda: True),
        ('get_device_name', lambda: 'a GPU'),
        ('synchronize', lambda: waited.append(1)),
    ):
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(torch, 'compile', lambda module, mode: module)
    threads = torch.get_num_threads()
    try:
        result = benchmark.benchmark(
            config('erfnet_camvid11'),
            str(checkpoint('erfnet_camvid11')),
            [(64, 96)],
            threads=1,
            rounds=1,
            rows=('cuda',),
            report=lambda line: None,
        )
    finally:
        torch.set_num_threads(threads)
    rows = result['sizes'][0]['rows'][1:]
    assert [row['name'].removeprefix('PyTorch, ') for row in rows] == [
        'MMSegmentation, CUDA',
        'ours, folded, CUDA',
        'ours, folded, CUDA, AMP',
        'ours, compiled, CUDA graphs',
    ]
    assert all(row['agreement'] > 0.95 for row in rows)
    assert waited
