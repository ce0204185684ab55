"""Latency of ERFNet and of other networks for real-time use, exported to OpenVINO in the same way, in one run.

The others are MMSegmentation's, with the configs that it installs. Weights are random: speed does not depend on them.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import mmseg
import nncf
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_erfnet.benchmarks.inference import count_macs, cpu_precisions
from mmseg_erfnet.benchmarks.timing import interleaved
from mmseg_erfnet.deploy.backends import OpenVINO
from mmseg_erfnet.environment import cores, machine, versions
from mmseg_erfnet.export.folding import fold
from mmseg_erfnet.export.formats import save_openvino, to_onnx, to_openvino
from mmseg_erfnet.export.graph import FrameToLabels
from mmseg_erfnet.export.quantize import OPTIONS
from mmseg_erfnet.models.building import load_segmentor

# Name -> config within MMSegmentation.
OTHERS = {
    'BiSeNetV2': 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py',
    'DDRNet-23-slim': 'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py',
    'PIDNet-S': 'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py',
}
CALIBRATION_FRAMES = 8


class WholeNetwork(nn.Module):
    """Any ``EncoderDecoder`` from frames, uint8 (N, H, W, 3) BGR, to labels, uint8 (N, H, W)."""

    outputs = ('labels',)

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = segmentor.eval()
        preprocessor = segmentor.data_preprocessor
        self.register_buffer('mean', preprocessor.mean.clone())
        self.register_buffer('std', preprocessor.std.clone())

    def forward(self, frames: Tensor) -> Tensor:
        x = (frames.permute(0, 3, 1, 2).flip(1).to(self.mean.dtype) - self.mean) / self.std
        segmentor = self.segmentor
        logits = segmentor.decode_head(segmentor.extract_feat(x))
        logits = F.interpolate(logits, frames.shape[1:3], mode='bilinear', align_corners=segmentor.align_corners)
        return logits.argmax(1).to(torch.uint8)


def benchmark_networks(
    cfg: Config,
    size: tuple[int, int] = (360, 480),
    threads: int | None = None,
    rounds: int = 10,
    report: Callable[[str], None] = print,
) -> dict:
    """Measure a config's model and :data:`OTHERS` from frame to labels, in each precision that the CPU has.

    All networks have the config's number of classes. The rows are interleaved in short bursts.

    Args:
        cfg: The config of an ERFNet.
        size: Height and width of the frames.
        threads: CPU threads; by default all cores.
        rounds: Number of bursts per row, after one that is not counted.
        report: Called with one line for each network that is prepared.

    Returns:
        ``machine``, ``versions``, ``threads``, ``size``, ``load_before``, and for each network ``name``,
        ``parameters``, ``macs`` per frame, and ``latency``: milliseconds (median) by precision.
    """
    threads = threads or cores()
    torch.set_num_threads(threads)
    load = os.getloadavg()[0]
    nncf.set_log_level(40)
    frames = np.random.default_rng(0).integers(0, 256, (CALIBRATION_FRAMES, *size, 3), dtype=np.uint8)
    networks, runs = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, segmentor, graph in _networks(cfg):
            parts = (segmentor.backbone, segmentor.decode_head)
            parameters = sum(weight.numel() for part in parts for weight in part.parameters())
            networks.append(dict(name=name, parameters=parameters, macs=count_macs(segmentor, size), latency={}))
            report(f'{name} is exported.')
            # The depthwise convolutions of other networks are layers like any other.
            options = OPTIONS if isinstance(graph, FrameToLabels) else dict(preset=OPTIONS['preset'])
            for precision, backend in _backends(graph, frames, threads, Path(folder) / name, options):
                runs[name, precision] = backend
        functions = {key: partial(backend.run, frames[:1]) for key, backend in runs.items()}
        seconds = interleaved(functions, rounds)
    for network in networks:
        for (name, precision), found in seconds.items():
            if name == network['name']:
                network['latency'][precision] = float(np.median(found) * 1e3)
    return dict(
        machine=machine(),
        versions=versions(),
        threads=threads,
        load_before=load,
        size=list(size),
        networks=networks,
    )


def _networks(cfg: Config) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    segmentor = load_segmentor(cfg, None).eval()
    yield 'ERFNet, ours', segmentor, FrameToLabels(fold(deepcopy(segmentor)))
    for name, path in OTHERS.items():
        segmentor = other_segmentor(path, segmentor.num_classes)
        yield name, segmentor, WholeNetwork(segmentor)


def other_segmentor(path: str, classes: int) -> nn.Module:
    """Build a segmentor of MMSegmentation, with random weights and without the heads that only training uses.

    Args:
        path: One of MMSegmentation's configs, relative to its folder of configs.
        classes: Number of classes.
    """
    folder = Path(mmseg.__file__).parent / '.mim' / 'configs'
    model = Config.fromfile(folder / path).model
    model.pop('auxiliary_head', None)
    model.backbone.pop('init_cfg', None)
    model.decode_head.num_classes = classes
    model.decode_head.loss_decode = dict(type='CrossEntropyLoss')
    with DefaultScope.overwrite_default_scope('mmseg'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about a loss that is not used
        segmentor = MODELS.build(model)
    # SyncBN needs a GPU.
    return revert_sync_batchnorm(segmentor).eval()


def _backends(
    graph: nn.Module, frames: np.ndarray, threads: int, path: Path, options: dict
) -> Iterator[tuple[str, OpenVINO]]:
    model = to_openvino(to_onnx(graph, frames.shape[1:3], 1))
    save_openvino(model, path.with_suffix('.xml'), {})
    for precision in cpu_precisions():
        yield precision, OpenVINO(path.with_suffix('.xml'), threads=threads, precision=precision)
    int8 = path.with_name(f'{path.name}_int8.xml')
    data = nncf.Dataset([frame[None] for frame in frames])
    save_openvino(nncf.quantize(model, data, subset_size=len(frames), **options), int8, {})
    yield 'int8', OpenVINO(int8, threads=threads)


def networks_table(result: dict) -> str:
    """Return the result of :func:`benchmark_networks` as Markdown."""
    height, width = result['size']
    precisions = list(result['networks'][0]['latency'])
    lines = [
        f'{result["machine"]["cpu"]}, {", ".join(result["machine"]["flags"])}; {result["threads"]} threads, batch 1, '
        f'{height}x{width}, load before {result["load_before"]:.1f}',
        '',
        '| network | parameters, 10^6 | multiply-accumulates, 10^9 | '
        + ' | '.join(f'{precision}, ms' for precision in precisions)
        + ' |',
        '| --- |' + ' ---: |' * (2 + len(precisions)),
    ]
    for network in result['networks']:
        cells: Sequence[str] = [f'{network["latency"][precision]:.1f}' for precision in precisions]
        lines.append(
            f'| {network["name"]} | {network["parameters"] / 1e6:.2f} | {network["macs"] / 1e9:.2f} | '
            + ' | '.join(cells)
            + ' |'
        )
    return '\n'.join(lines)
