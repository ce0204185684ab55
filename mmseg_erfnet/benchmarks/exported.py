"""Speed of exported models: their latency, and the throughput of `predict` on a video. Needs only what they need."""

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet.benchmarks.timing import interleaved, latency
from mmseg_erfnet.deploy.overlap import side_by_side
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.deploy.sources import find_sources
from mmseg_erfnet.deploy.video import Clip, check_codec, default_codec, predict_video, write_clip
from mmseg_erfnet.environment import cores, machine
from mmseg_erfnet.errors import DataError

VIDEO_SIZE, VIDEO_FRAMES = (360, 480), 150


def benchmark_models(
    models: Sequence[str | Path],
    sizes: Sequence[tuple[int, int]] = (VIDEO_SIZE,),
    batch: int = 1,
    threads: int | None = None,
    rounds: int = 10,
) -> dict:
    """Measure the latency of exported models from frame to labels, interleaved.

    Args:
        models: Exported files, of any format.
        sizes: Heights and widths of the frames.
        batch: Frames per batch.
        threads: CPU threads; by default all cores.
        rounds: Bursts per model, after one that warms up.

    Returns:
        ``machine``, ``threads``, ``load``, ``batch`` and ``sizes``, each with ``size`` and ``rows``: ``name``,
        ``median``, ``p90`` and ``min`` in milliseconds, and ``fps`` from the median.

    Raises:
        UserError: A model cannot be used, or not with these frames.
    """
    threads = threads or cores()
    result = dict(machine=machine(), threads=threads, load=os.getloadavg()[0], batch=batch, sizes=[])
    predictors = {str(path): Predictor(path, threads=threads) for path in models}
    for size in sizes:
        noise = np.random.default_rng(0).integers(0, 256, (batch, 12, 16, 3), dtype=np.uint8)
        frames = np.stack([cv2.resize(frame, size[::-1]) for frame in noise])
        functions = {name: partial(predictor.predict_batch, frames) for name, predictor in predictors.items()}
        seconds = interleaved(functions, rounds)
        files = [Path(name).name for name in seconds]
        # Files of one name are told apart by their folders.
        rows = [
            dict(name=file if files.count(file) == 1 else name, **latency(values, batch))
            for file, (name, values) in zip(files, seconds.items(), strict=True)
        ]
        result['sizes'].append(dict(size=list(size), rows=rows))
    return result


def models_table(result: dict) -> str:
    """Return the result of :func:`benchmark_models` as Markdown."""
    lines = [
        f'{result["machine"]["cpu"]}; {result["threads"]} threads, batch {result["batch"]}, load before '
        f'{result["load"]:.1f}'
    ]
    for part in result['sizes']:
        first = part['rows'][0]['median']
        lines += [
            '',
            f'| {part["size"][0]}x{part["size"][1]} | frame to labels, ms | p90 | frames/s | times the first |',
            '| --- | ---: | ---: | ---: | ---: |',
        ]
        for row in part['rows']:
            times = first / row['median']
            lines.append(f'| {row["name"]} | {row["median"]:.1f} | {row["p90"]:.1f} | {row["fps"]:.1f} | {times:.2f} |')
    return '\n'.join(lines)


def benchmark_video(
    model: str | Path,
    clip: str | None = None,
    threads: int | None = None,
    rounds: int = 5,
    frames: int = VIDEO_FRAMES,
    codec: str | None = None,
    street: Iterable[np.ndarray] = (),
) -> dict:
    """Compare the throughput of `predict` on a video with that of the model alone on the same frames.

    In each round, the model predicts the decoded frames one after the other, on all threads, and then `predict` reads
    the clip, predicts, paints and writes it. `predict` runs frames side by side where the backend can, so the model's
    own throughput is measured in that way, too.

    Args:
        model: An exported file whose output is labels.
        clip: The clip; its first frames are used. If None, one is made of ``street``.
        threads: CPU threads; by default all cores.
        rounds: Number of rounds, after one that warms up.
        frames: Maximum number of frames.
        codec: Codec of the painted video; by default that of `predict`.
        street: Frames, BGR, uint8 (H, W, 3), of the clip to make.

    Returns:
        ``model``, ``clip``, ``codec``, ``size``, ``frames``, ``machine``, ``threads``, ``parallel`` (number of frames
        side by side) and ``load``; ``alone``, ``side_by_side`` and ``tool`` of each round, in frames per second; and
        ``ratio``, the median of tool / alone.

    Raises:
        UserError: The model, the clip or the codec cannot be used.
    """
    threads = threads or cores()
    codec = codec or default_codec()
    check_codec(codec)
    load = os.getloadavg()[0]
    predictor = Predictor(model, threads=threads)
    of_the_tool = Predictor(model, threads=threads, side_by_side=True)
    speeds: dict[str, list[float]] = dict(alone=[], side_by_side=[], tool=[])
    with tempfile.TemporaryDirectory() as folder:
        if clip is None:
            clip = str(Path(folder) / f'street{".mp4" if codec == "h264" else ".webm"}')
            write_clip(clip, street, codec='h264' if codec == 'h264' else 'vp8')
        (source,) = find_sources([clip])
        with Clip(source) as reader:
            pictures = [frame.copy() for _, frame in islice(reader.frames(), frames)]
        if not pictures:
            raise DataError(f'{source} holds no frame that can be decoded; give another clip.')
        target = Path(folder) / 'painted' / ('x.mp4' if codec != 'vp8' else 'x.webm')
        for round_ in range(rounds + 1):
            number = len(pictures) if round_ else min(10, len(pictures))
            seconds = _seconds(predictor, pictures[:number]), _seconds(of_the_tool, pictures[:number])
            painted = predict_video(of_the_tool, source, target, codec=codec, max_frames=number)
            if round_:
                for name, value in zip(speeds, (*seconds, painted.seconds), strict=True):
                    speeds[name].append(number / value)
    return dict(
        model=Path(model).name,
        clip=Path(clip).name,
        codec=codec,
        size=list(pictures[0].shape[:2]),
        frames=len(pictures),
        machine=machine(),
        threads=threads,
        parallel=of_the_tool.parallel,
        load=load,
        **speeds,
        ratio=float(np.median(np.divide(speeds['tool'], speeds['alone']))),
    )


def _seconds(predictor: Predictor, frames: Sequence[np.ndarray]) -> float:
    started = time.perf_counter()
    for _ in side_by_side(predictor.predict, frames, predictor.parallel):
        pass
    return time.perf_counter() - started


def video_line(result: dict) -> str:
    """Return the result of :func:`benchmark_video` in one line."""
    height, width = result['size']
    ratios = np.divide(result['tool'], result['alone'])
    return (
        f'{result["model"]} on {result["clip"]}, {height}x{width}, written as {result["codec"]}: predict '
        f'{np.median(result["tool"]):.1f} frames/s, the model alone {np.median(result["alone"]):.1f} frame by frame '
        f'and {np.median(result["side_by_side"]):.1f} with {result["parallel"]} side by side; ratio to frame by frame '
        f'{result["ratio"]:.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds of {result["frames"]} '
        f'frames), {result["threads"]} threads, load before {result["load"]:.1f}'
    )
