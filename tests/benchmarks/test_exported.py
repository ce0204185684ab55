"""The speed of exported models: what is counted, and the tool's throughput beside the model's."""

import shutil

import cv2
import numpy as np
import pytest
from helpers.small_models import exported
from helpers.tools import run_tool

from mmseg_erfnet.benchmarks import exported as benchmark
from mmseg_erfnet.deploy.video import write_clip
from mmseg_erfnet.errors import UsageError

pytest.importorskip('openvino')
pytest.importorskip('onnxruntime')


def models() -> list[str]:
    return [str(exported() / f'erfnet_camvid11{suffix}') for suffix in ('.xml', '.onnx')]


@pytest.mark.slow  # measures two models
def test_models_are_measured_without_a_config():
    result = benchmark.benchmark_models(models(), [(40, 56), (72, 96)], batch=2, threads=1, rounds=1)
    assert [part['size'] for part in result['sizes']] == [[40, 56], [72, 96]]
    for part in result['sizes']:
        assert [row['name'] for row in part['rows']] == ['erfnet_camvid11.xml', 'erfnet_camvid11.onnx']
        for row in part['rows']:
            assert row['min'] <= row['median'] <= row['p90']
            assert row['fps'] == pytest.approx(2000 / row['median'])
    assert benchmark.models_table(result).count('| erfnet_camvid11.onnx | ') == 2


def test_models_of_one_name_are_told_apart(tmp_path):
    (tmp_path / 'other').mkdir()
    model, onnx = models()
    other = shutil.copy(onnx, tmp_path / 'other')
    (part,) = benchmark.benchmark_models([model, onnx, other], [(40, 56)], threads=1, rounds=1)['sizes']
    assert [row['name'] for row in part['rows']] == ['erfnet_camvid11.xml', onnx, other]


def test_the_tool_is_compared_with_the_model_alone(tmp_path, monkeypatch):
    clip = tmp_path / 'clip.webm'
    write_clip(clip, [np.full((72, 96, 3), 10 * shade, np.uint8) for shade in range(6)])
    model, _ = models()  # exported here at the latest, which predicts, too
    seen = []
    predict = benchmark.Predictor.predict
    monkeypatch.setattr(benchmark.Predictor, 'predict', lambda self, frame: seen.append(1) or predict(self, frame))
    result = benchmark.benchmark_video(model, str(clip), threads=1, rounds=2, frames=5, codec='mp4v')
    assert (result['frames'], result['size'], len(result['alone']), len(result['tool'])) == (5, [72, 96], 2, 2)
    # One round warms up; each has the frames twice for the model and once for the tool.
    assert len(seen) == 3 * 3 * 5
    assert len(result['side_by_side']) == 2
    assert result['parallel'] == 1, 'with one thread'
    assert result['ratio'] == pytest.approx(np.median(np.divide(result['tool'], result['alone'])))
    assert benchmark.video_line(result).startswith('erfnet_camvid11.xml on clip.webm, 72x96, written as mp4v: predict ')


def test_the_verb_takes_models_and_videos(tmp_path, capsys):
    clip = tmp_path / 'clip.webm'
    write_clip(clip, [cv2.resize(np.eye(8, dtype=np.uint8)[..., None].repeat(3, 2) * 200, (96, 72))] * 4)
    small = ('--threads', '1', '--rounds', '1')
    done = run_tool('benchmark', 'inference', models()[0], '--size', '40x56', *small)
    assert done.status == 0
    assert 'frame to labels, ms' in capsys.readouterr().out
    done = run_tool('benchmark', 'inference', models()[0], '--video', clip, '--codec', 'mp4v', *small)
    assert done.status == 0
    assert '; ratio ' in capsys.readouterr().out
    for arguments, message in (
        ([models()[0], '--rows', 'ours'], '--rows has no effect'),
        (['--codec', 'vp8'], '--codec has no effect'),
        ([models()[0], 'config.py'], 'Give a config'),
        (['config.py', '--video'], '--video measures exported models'),
        ([models()[0], '--rounds', '0'], '--rounds must be 1 or more'),
    ):
        done = run_tool('benchmark', 'inference', *arguments)
        assert (done.status, message in done.sentence) == (1, True), done


def test_a_codec_that_cannot_be_written_is_refused_first():
    with pytest.raises(UsageError, match='A codec is one of'):
        benchmark.benchmark_video('absent.xml', codec='theora')
