"""Latency of a model in all installed backends, measured in one run, compared with the machine's own limit."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmseg_erfnet.benchmarks import ROWS
from mmseg_erfnet.benchmarks.stock import stock_backbone
from mmseg_erfnet.benchmarks.timing import interleaved, latency
from mmseg_erfnet.deploy.backends import OnnxRuntime, OpenVINO
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.deploy.signal_stack import signal_stack_kept
from mmseg_erfnet.environment import cores, machine, versions
from mmseg_erfnet.export.exporter import sample_frames
from mmseg_erfnet.export.folding import fold
from mmseg_erfnet.export.formats import save, save_openvino, to_onnx, to_openvino, trace
from mmseg_erfnet.export.graph import FrameToLabels
from mmseg_erfnet.models.building import load_segmentor

GPU = 'cuda'
CALIBRATION_FRAMES = 16


def benchmark(
    cfg: Config,
    checkpoint: str | None = None,
    sizes: Sequence[tuple[int, int]] = ((360, 480),),
    batch: int = 1,
    threads: int | None = None,
    rounds: int = 10,
    rows: Sequence[str] = ROWS,
    trust_checkpoint: bool = False,
    report: Callable[[str], None] = print,
    models: Sequence[str | Path] = (),
) -> dict:
    """Measure a config's model, both from frame to labels and the network alone, in every installed backend.

    Frames have the size of the network's input; the config's own resize is skipped. The rows are interleaved in short
    bursts, so that anything that slows the machine affects all of them; the first run of a burst is not counted. The
    baseline is MMSegmentation's own ERFNet in float32, run through its ``test_step``, without its data pipeline.

    Args:
        cfg: The config.
        checkpoint: The checkpoint file. Speed does not depend on it; label agreement is measured only if it is given.
        sizes: Heights and widths of the frames.
        batch: Frames per batch.
        threads: CPU threads; by default all cores.
        rounds: Number of bursts per row.
        rows: What to measure besides the baseline, from :data:`~mmseg_erfnet.benchmarks.ROWS`.
        trust_checkpoint: Load the checkpoint even if it contains more than data.
        report: Called with one line for each step of the preparation.
        models: Exported files of the same model to measure as well.

    Returns:
        ``machine``, ``versions``, ``threads``, ``batch`` and ``sizes``. For each size: ``parameters``, ``macs`` per
        frame, ``limits`` (the machine's highest 10^9 multiply-accumulates per second, by precision), and ``rows``. A
        row has ``name``, ``device`` and ``precision``; ``frame_to_labels`` and ``network``, each with ``median``,
        ``p90`` and ``min`` in milliseconds and ``fps`` from the median; ``ratio`` to the baseline on the same device;
        ``of_limit``; and ``agreement`` with the baseline's labels.
    """
    threads = threads or cores()
    torch.set_num_threads(threads)
    load = os.getloadavg()[0]
    result = dict(
        config=Path(cfg.filename).name,
        checkpoint=checkpoint,
        machine=machine(),
        versions=versions(),
        threads=threads,
        batch=batch,
        load_before=load,
        sizes=[],
    )
    convolutions = matrix_convolutions(threads)
    segmentor = load_segmentor(cfg, checkpoint, trust_checkpoint)
    for size in sizes:
        pictures = sample_frames(cfg, max(batch, CALIBRATION_FRAMES))
        frames = np.stack([cv2.resize(picture, size[::-1]) for picture in pictures])
        runs = list(_prepare(cfg, segmentor, frames, batch, threads, rows, report))
        runs += [_file_run(path, frames[:batch], threads) for path in models]
        limits, macs = _measure(runs, convolutions, rounds), count_macs(segmentor, size)
        result['sizes'].append(
            dict(
                size=list(size),
                parameters=sum(weight.numel() for weight in segmentor.parameters()),
                macs=macs,
                limits=limits,
                rows=_rows(runs, batch, limits, macs, checkpoint),
            )
        )
    return result


class _Run:
    """A row: what to run, and the measured times in seconds."""

    def __init__(
        self,
        name: str,
        frame_to_labels: Callable[[], np.ndarray],
        network: Callable[[], object] | None,
        device: str = 'CPU',
        precision: str | None = None,
    ) -> None:
        self.name, self.device, self.precision = name, device, precision
        # In an exported file, the network cannot be run separately.
        self.functions = dict(frame_to_labels=frame_to_labels) | (dict(network=network) if network else {})
        self.seconds: dict[str, list[float]] = {}


# --- Rows -------------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    """Only the network of a :class:`FrameToLabels`: maps normalised images (N, H, W, 3) to the head's logits."""

    def __init__(self, graph: FrameToLabels) -> None:
        super().__init__()
        self.backbone, self.head = graph.backbone, graph.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class _InBFloat16(nn.Module):
    def __init__(self, network: nn.Module, last: bool) -> None:
        super().__init__()
        self.network, self.last = network.to(torch.bfloat16), last

    def forward(self, x):
        x = self.network(x if isinstance(x, list) else x.to(torch.bfloat16))
        return x.float() if self.last else x


def stock_segmentor(cfg: Config, segmentor: nn.Module) -> nn.Module:
    """Return the same model with MMSegmentation's own ERFNet and the same weights."""
    cfg = deepcopy(cfg)
    cfg.model.backbone = stock_backbone(cfg.model.backbone)
    stock = load_segmentor(cfg, None)
    stock.load_state_dict(segmentor.state_dict())
    return stock


def _prepare(
    cfg: Config,
    segmentor: nn.Module,
    frames: np.ndarray,
    batch: int,
    threads: int,
    rows: Sequence[str],
    report: Callable[[str], None],
) -> Iterator[_Run]:
    inputs = np.ascontiguousarray(frames[:batch])
    stock = stock_segmentor(cfg, segmentor)
    folded = FrameToLabels(fold(deepcopy(segmentor)))
    image = folded.prepared(torch.from_numpy(inputs))
    yield _segmentor_run('PyTorch, MMSegmentation', stock, inputs, image)
    if 'ours' in rows:
        yield _segmentor_run('PyTorch, ours', segmentor, inputs, image)
    if 'folded' in rows:
        yield _graph_run('PyTorch, ours, folded', folded, inputs, image)
    if 'bf16' in rows:
        half = deepcopy(folded)
        half.backbone, half.head = _InBFloat16(half.backbone, last=False), _InBFloat16(half.head, last=True)
        yield _graph_run('PyTorch, ours, folded, bf16', half, inputs, image, precision='bf16')
    if 'compiled' in rows:
        yield from _compiled_run('PyTorch, ours, compiled', folded, inputs, image, report)
    if any(row.startswith(('onnxruntime', 'openvino')) for row in rows):
        yield from _exported_runs(folded, inputs, image, frames, threads, rows)
    if 'cuda' in rows and torch.cuda.is_available():
        yield _segmentor_run('PyTorch, MMSegmentation, CUDA', deepcopy(stock), inputs, image, GPU)
        yield _graph_run('PyTorch, ours, folded, CUDA', folded, inputs, image, GPU)
        yield _graph_run('PyTorch, ours, folded, CUDA, AMP', folded, inputs, image, GPU, amp=True)
        yield from _compiled_run('PyTorch, ours, compiled, CUDA graphs', folded, inputs, image, report, GPU)


def _file_run(path: str | Path, inputs: np.ndarray, threads: int) -> _Run:
    """Return a row that runs an exported file with a :class:`Predictor`, including its checks."""
    predictor = Predictor(path, threads=threads)
    precision = 'int8' if 'int8' in predictor.metadata else 'f32'
    return _Run(Path(path).name, lambda: predictor.predict_batch(inputs), None, precision=precision)


def _segmentor_run(name: str, segmentor: nn.Module, inputs: np.ndarray, image: Tensor, device: str = 'cpu') -> _Run:
    """Return a row that runs a segmentor as MMSegmentation does, without its pipeline."""
    segmentor = segmentor.to(device)
    image = image.permute(0, 3, 1, 2).contiguous().to(device)
    pictures = [torch.from_numpy(frame).permute(2, 0, 1) for frame in inputs]
    size = inputs.shape[1:3]

    def frame_to_labels() -> np.ndarray:
        samples = [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size)) for _ in pictures]
        with torch.inference_mode():
            samples = segmentor.test_step(dict(inputs=pictures, data_samples=samples))
        return np.stack([sample.pred_sem_seg.data[0].to(torch.uint8).cpu().numpy() for sample in samples])

    def network() -> None:
        with torch.inference_mode():
            segmentor(image, mode='tensor')
        _wait(device)

    return _Run(name, frame_to_labels, network, device.upper(), 'f32')


def _graph_run(
    name: str,
    graph: nn.Module,
    inputs: np.ndarray,
    image: Tensor,
    device: str = 'cpu',
    amp: bool = False,
    precision: str = 'f32',
    compile_options: dict | None = None,
) -> _Run:
    graph = deepcopy(graph).eval().to(device, memory_format=torch.channels_last)
    network = Network(graph).eval()
    image = image.to(device)
    if compile_options is not None:
        graph, network = (torch.compile(module, **compile_options) for module in (graph, network))
    frames = torch.from_numpy(inputs)

    def autocast():
        return torch.autocast(device, torch.float16 if device == GPU else torch.bfloat16, enabled=amp)

    def frame_to_labels() -> np.ndarray:
        with torch.inference_mode(), autocast():
            return graph(frames.to(device)).cpu().numpy()

    def network_alone() -> None:
        with torch.inference_mode(), autocast():
            network(image)
        _wait(device)

    return _Run(name, frame_to_labels, network_alone, device.upper(), precision)


def _compiled_run(
    name: str, graph: nn.Module, inputs: np.ndarray, image: Tensor, report: Callable[[str], None], device: str = 'cpu'
) -> Iterator[_Run]:
    options = dict(mode='reduce-overhead') if device == GPU else {}
    run = _graph_run(name, graph, inputs, image, device, compile_options=options)
    try:
        for function in run.functions.values():
            function()
    # Compilation can raise anything, for example if no compiler is installed.
    except Exception as error:
        report(f'{name} is left out: {str(error).strip().splitlines()[0]}')
    else:
        yield run


def _wait(device: str) -> None:
    if device == GPU:
        torch.cuda.synchronize()


def _exported_runs(  # noqa: C901 (a row each)
    folded: FrameToLabels,
    inputs: np.ndarray,
    image: Tensor,
    calibration: np.ndarray,
    threads: int,
    rows: Sequence[str],
) -> Iterator[_Run]:
    models = to_onnx(folded, inputs.shape[1:3], len(inputs)), trace(Network(folded), image, ['logits'], {})
    image = image.numpy()

    def run(name: str, kind: str, backend: type, suffix: str, **options) -> _Run:
        whole, network = (backend(path, threads=threads, **options) for path in paths(suffix))
        return _Run(name, lambda: whole.run(inputs), lambda: network.run(image), 'CPU', kind)

    with tempfile.TemporaryDirectory() as folder:

        def paths(suffix: str) -> list[Path]:
            return [Path(folder) / f'{name}{suffix}' for name in ('whole', 'network')]

        if 'onnxruntime' in rows:
            for model, path in zip(models, paths('.onnx'), strict=True):
                save(model, path, {})
            yield run('ONNX Runtime', 'f32', OnnxRuntime, '.onnx')
        if not any(row.startswith('openvino') for row in rows):
            return
        floats = [to_openvino(model) for model in models]
        for model, path in zip(floats, paths('.xml'), strict=True):
            save_openvino(model, path, {})
        for precision in cpu_precisions():
            if f'openvino-{precision}' in rows:
                yield run(f'OpenVINO, {precision}', precision, OpenVINO, '.xml', precision=precision)
        if 'openvino-int8' in rows:
            images = folded.prepared(torch.from_numpy(calibration)).numpy()
            for model, path, data in zip(floats, paths('_int8.xml'), (calibration, images), strict=True):
                save_openvino(_quantized(model, data, len(inputs)), path, {})
            yield run('OpenVINO, int8', 'int8', OpenVINO, '_int8.xml')


def _quantized(model, data: np.ndarray, batch: int):
    """Return an OpenVINO model in int8, calibrated on data in batches."""
    from mmseg_erfnet.export.quantize import quantize

    return quantize(model, [data[start : start + batch] for start in range(0, len(data) - batch + 1, batch)])


@signal_stack_kept()
def cpu_precisions() -> list[str]:
    """Return the floating-point formats in which OpenVINO computes on this CPU."""
    import openvino

    known = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return ['f32', *(['bf16'] if 'BF16' in known else [])]


# --- Measuring --------------------------------------------------------------------------------------------------------


def _measure(runs: Sequence[_Run], convolutions: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Interleave all rows and the convolutions of :func:`matrix_convolutions`; return the latter's best throughput."""
    best = dict.fromkeys(convolutions, 0.0)

    def convolve(name: str) -> None:
        best[name] = max(best[name], convolutions[name]())

    functions = {(run, what): function for run in runs for what, function in run.functions.items()}
    seconds = interleaved(functions | {name: partial(convolve, name) for name in convolutions}, rounds)
    for run, what in functions:
        run.seconds[what] = seconds[run, what]
    return best


def _rows(runs: Sequence[_Run], batch: int, limits: dict[str, float], macs: int, checkpoint: str | None) -> list[dict]:
    rows, baselines = [], {}
    for run in runs:
        row = dict(name=run.name, device=run.device, precision=run.precision)
        row |= {what: latency(seconds, batch) for what, seconds in run.seconds.items()}
        labels = run.functions['frame_to_labels']()
        baseline, right = baselines.setdefault(run.device, (row, labels))
        row['ratio'] = baseline['frame_to_labels']['median'] / row['frame_to_labels']['median']
        rate = limits.get(run.precision) if run.device == 'CPU' else None
        least = rate and macs * batch / rate / 1e6
        row['of_limit'] = least and least / row['frame_to_labels']['median']
        row['agreement'] = float((labels == right).mean()) if checkpoint else None
        rows.append(row)
    return rows


def count_macs(segmentor: nn.Module, size: tuple[int, int]) -> int:
    """Count the multiply-accumulates of the convolutions for one frame, including taps on padding."""
    device = next(segmentor.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        segmentor(torch.zeros(1, 3, *size, device=device), mode='tensor')
    return counter.get_total_flops() // 2


def matrix_convolutions(threads: int) -> dict[str, Callable[[], float]]:
    """Return, for each precision, a function that runs a compute-bound convolution and returns its throughput.

    It is a 3x3 convolution in OpenVINO with 256 channels on 32x32, the fastest of three consecutive layers: the first
    and the last also change the layout. Throughput is in 10^9 multiply-accumulates per second.
    """
    try:
        import openvino
        from openvino import opset13 as ops
    except ImportError:
        return {}
    channels, side, layers = 256, 32, 3
    random = np.random.default_rng(0)
    image = random.random((1, channels, side, side)).astype(np.float32)

    @signal_stack_kept()
    def rate_of(name: str) -> Callable[[], float]:
        x = first = ops.parameter(image.shape, np.float32)
        for _ in range(layers):
            weight = ops.constant(random.standard_normal((channels, channels, 3, 3)).astype(np.float32))
            if name == 'int8':
                x = ops.fake_quantize(x, *map(np.float32, (0, 4, 0, 4)), 256)
                weight = ops.fake_quantize(weight, *map(np.float32, (-4, 4, -4, 4)), 255)
            x = ops.relu(ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1]))
        request = (
            openvino.Core()
            .compile_model(
                openvino.Model([x], [first]),
                'CPU',
                {
                    'INFERENCE_PRECISION_HINT': 'f32' if name == 'int8' else name,
                    'INFERENCE_NUM_THREADS': threads,
                    'PERF_COUNT': True,
                },
            )
            .create_infer_request()
        )

        def rate() -> float:
            request.infer([image])
            seconds = min(
                node.real_time.total_seconds() for node in request.profiling_info if node.node_type == 'Convolution'
            )
            return image.size * channels * 9 / seconds / 1e9

        return rate

    return {name: rate_of(name) for name in (*cpu_precisions(), 'int8')}


# --- Output -----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """Return the result of :func:`benchmark` as Markdown."""
    machine = result['machine']
    lines = [
        f'{machine["cpu"]}, {", ".join(machine["flags"])}; {result["threads"]} threads, batch {result["batch"]}, '
        f'load before {result["load_before"]:.1f}' + (f'; {machine["gpu"]}' if machine['gpu'] else ''),
        ', '.join(f'{name} {number}' for name, number in result['versions'].items()),
    ]
    for part in result['sizes']:
        height, width = part['size']
        agreement = any(row['agreement'] is not None for row in part['rows'])
        lines += [
            '',
            f'**{height}x{width}**: {part["parameters"] / 1e6:.2f} M parameters, '
            f'{part["macs"] / 1e9:.2f} x 10^9 multiply-accumulates per frame; the machine does '
            + ', '.join(f'{rate:.0f} in {name}' for name, rate in part['limits'].items())
            + ' x 10^9 per second',
            '',
            '| | frame to labels, ms | p90 | frames/s | times the first on the device | network alone, ms '
            '| of the limit |' + (' labels equal |' if agreement else ''),
            '| --- |' + ' ---: |' * (6 + agreement),
        ]
        for row in part['rows']:
            whole = row['frame_to_labels']
            network = f'{row["network"]["median"]:.1f}' if 'network' in row else ''
            limit = f'{row["of_limit"]:.0%}' if row['of_limit'] else ''
            lines.append(
                f'| {row["name"]} | {whole["median"]:.1f} | {whole["p90"]:.1f} | {whole["fps"]:.1f} | '
                f'{row["ratio"]:.2f} | {network} | {limit} |' + (f' {row["agreement"]:.2%} |' if agreement else '')
            )
    return '\n'.join(lines)
