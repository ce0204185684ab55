"""Compare exported models: size, agreement with PyTorch, mIoU, latency. Also writes the table of docs/deploy.md."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.deploy.metadata import files_of
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.environment import cores, machine, version
from mmseg_erfnet.evaluation.scores import confusion_matrix, scores
from mmseg_erfnet.export.int8 import ScoredImages
from mmseg_erfnet.export.torch_backend import torch_predictor
from mmseg_erfnet.progress import progress

# For each suffix: the argument of export, the runtime, where it runs, and the distribution that it needs.
FORMATS = {
    '.xml': ('openvino', 'OpenVINO', 'x86 and ARM CPUs, Intel GPU and NPU', 'openvino'),
    '.onnx': ('onnx', 'ONNX Runtime', 'CPUs, CUDA, browsers; OpenCV dnn, MNN', 'onnxruntime'),
    '.param': ('ncnn', 'ncnn', 'phones and boards, ARM first', 'ncnn'),
    '.tflite': ('litert', 'LiteRT', 'Android, iOS, Raspberry Pi', 'ai-edge-litert'),
}
BEGIN, END = '<!-- formats: benchmark formats writes what follows -->', '<!-- end of formats -->'


def measure_formats(
    cfg: Config,
    checkpoint: str,
    models: Sequence[str | Path],
    images: int | None = None,
    threads: int | None = None,
    trust_checkpoint: bool = False,
) -> dict:
    """Run exported models and PyTorch on the same validation images.

    Args:
        cfg: The config, for the validation set.
        checkpoint: The checkpoint from which the models were exported.
        models: The models' files.
        images: Number of validation images, evenly spread; by default all.
        threads: CPU threads; by default all cores.
        trust_checkpoint: Load the checkpoint even if it contains more than data.

    Returns:
        ``machine``, ``threads``, ``images``, ``size``, ``load`` (the load average before the run), ``pytorch`` with
        ``mIoU`` and ``median`` in ms, and ``rows``, one per model: ``file``, ``bytes``, ``format``, ``runtime``,
        ``where``, ``needs``, ``version``, ``equal`` (labels equal to PyTorch's, in percent), ``mIoU`` and ``median``.

    Raises:
        UserError: A model or the data cannot be used.
    """
    threads = threads or cores()
    result = dict(machine=machine(), threads=threads, load=os.getloadavg()[0])
    reference = torch_predictor(cfg, checkpoint, 'cpu', threads, trust_checkpoint)
    validation = ScoredImages(cfg)
    indices = evenly_spaced(len(validation), images or len(validation))
    predictors = {str(path): Predictor(path, threads=threads) for path in models}
    runs = {name: _Run(predictor) for name, predictor in {'': reference, **predictors}.items()}
    with progress('Formats', len(indices), 'images') as bar:
        for index in indices:
            frame, labels = validation[index]
            expected = runs[''].add(frame, labels, None)
            for name in predictors:
                runs[name].add(frame, labels, expected)
            bar.update()
    size = list(frame.shape[:2])
    rows = [_row(Path(name), predictors[name], runs[name]) for name in predictors]
    return result | dict(images=len(indices), size=size, pytorch=runs[''].summary(), rows=rows)


class _Run:
    """Measurements of one model."""

    def __init__(self, predictor: Predictor) -> None:
        self.predict: Callable = predictor.predict
        self.classes, self.seconds, self.confusion = len(predictor.classes), [], 0
        self.equal = self.pixels = 0

    def add(self, frame: np.ndarray, labels: np.ndarray, expected: np.ndarray | None) -> np.ndarray:
        """Predict a frame twice, timing the second run; return its labels."""
        self.predict(frame)
        started = time.perf_counter()
        found = self.predict(frame)
        self.seconds.append(time.perf_counter() - started)
        self.confusion = self.confusion + confusion_matrix(labels, found, self.classes)
        if expected is not None:
            self.equal, self.pixels = self.equal + int((found == expected).sum()), self.pixels + found.size
        return found

    def summary(self) -> dict:
        """Return ``mIoU`` in percent and ``median``, the latency in ms."""
        return dict(mIoU=scores(self.confusion)['mIoU'], median=float(np.median(self.seconds)) * 1e3)


def _row(path: Path, predictor: Predictor, run: _Run) -> dict:
    argument, runtime, where, needs = FORMATS[path.suffix]
    int8 = 'int8' in predictor.metadata
    return dict(
        file=path.name,
        bytes=sum(file.stat().st_size for file in files_of(path)),
        format=f'{argument} --int8' if int8 else argument,
        runtime=runtime,
        where=where,
        needs=needs,
        version=version(needs),
        equal=100 * run.equal / run.pixels,
        **run.summary(),
    )


def formats_table(result: dict) -> str:
    """Return the result of :func:`measure_formats` as Markdown."""
    facts, pytorch = result['machine'], result['pytorch']
    height, width = result['size']
    lines = [
        '| `--format` | files | MB | runs in | where | labels equal to PyTorch, % | mIoU | latency, ms |',
        '| --- | --- | ---: | --- | --- | ---: | ---: | ---: |',
    ]
    for row in result['rows']:
        files = ', '.join(file.name for file in files_of(Path(row['file'])))
        lines.append(
            f'| `{row["format"]}` | {files} | {row["bytes"] / 1e6:.1f} | {row["runtime"]} {row["version"]} | '
            f'{row["where"]} | {row["equal"]:.3f} | {row["mIoU"]:.2f} | {row["median"]:.0f} |'
        )
    lines.append(f'| (PyTorch) | | | | | 100 | {pytorch["mIoU"]:.2f} | {pytorch["median"]:.0f} |')
    return '\n'.join(
        [
            *lines,
            '',
            f'{result["images"]} frames of CamVid val, {height}x{width}; {facts["cpu"]}, {result["threads"]} threads, '
            f'load average {result["load"]:.1f} before the run. Latencies depend on the load, labels and mIoU do not.',
        ]
    )


def with_table(page: str, result: dict) -> str:
    """Return a page with the table inserted between its two markers."""
    before, _, rest = page.partition(BEGIN)
    return f'{before}{BEGIN}\n\n{formats_table(result)}\n\n{END}{rest.partition(END)[2]}'
