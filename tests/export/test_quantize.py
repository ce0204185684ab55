"""The score beside quantisation, and that a model which loses too much is not kept."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.exports import exif_png
from helpers.small_models import SCALE, checkpoint, config, workshop
from mmengine.config import Config

from mmseg_erfnet.datasets import FolderDataset
from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.metadata import files_of
from mmseg_erfnet.engine.launch import evaluate
from mmseg_erfnet.errors import DataError, QuantizationError, UsageError
from mmseg_erfnet.models.building import load_segmentor

openvino = pytest.importorskip('openvino')
pytest.importorskip('nncf')
quantize = pytest.importorskip('mmseg_erfnet.export.quantize')
int8 = pytest.importorskip('mmseg_erfnet.export.int8')
export = pytest.importorskip('mmseg_erfnet.export.exporter')
torch_backend = pytest.importorskip('mmseg_erfnet.export.torch_backend')

from nncf.quantization.algorithms.accuracy_control.evaluator import Evaluator  # noqa: E402
from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVPreparedModel  # noqa: E402


def small(name: str) -> Config:
    cfg = config(name, work_dir=str(workshop() / 'run'))
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].update(num_workers=0, persistent_workers=False)
    return cfg


@pytest.mark.parametrize('name', ['erfnet_camvid', 'erfnet_camvid11'])
def test_scores_are_those_of_testing(name):
    """At the sizes to which the configs resize the labels."""
    cfg = small(name)
    found = int8.score(torch_backend.torch_predictor(cfg, str(checkpoint(name))), int8.ScoredImages(cfg))
    expected = evaluate(small(name), str(checkpoint(name)))
    # The resize of the predictions is that of PyTorch in both; of frames, OpenCV's and PyTorch's.
    for figure in ('mIoU', 'aAcc'):
        assert found[figure] == pytest.approx(expected[figure], abs=0.1)


def test_labels_that_the_evaluator_ignores_are_not_scored():
    cfg = small('erfnet_camvid11')
    labels = int8.ScoredImages(cfg)[0][1]
    ignored = int(np.bincount(labels[labels != 255]).argmax())
    cfg.val_evaluator.ignore_index = ignored
    np.testing.assert_array_equal(int8.ScoredImages(cfg)[0][1], np.where(labels == ignored, 255, labels))


def test_a_scored_frame_has_the_size_of_its_labels():
    as_stored = small('erfnet_camvid11')
    as_stored.val_dataloader.dataset.pipeline[2].pop('size')
    for cfg, size in (
        (small('erfnet_camvid'), (256, 256)),
        (small('erfnet_camvid11'), (360, 480)),
        (as_stored, (96, 128)),
    ):
        frame, labels = int8.scored_sample(build_dataset(cfg, 'val'), 0)
        assert frame.shape == (*size, 3)
        assert labels.shape == size
    cfg = small('erfnet_camvid')
    cfg.val_dataloader.dataset.pipeline[2].size = (40, 40)
    with pytest.raises(DataError, match=r'\(40, 40\)'):
        int8.scored_sample(build_dataset(cfg, 'val'), 0)


@pytest.mark.parametrize('steps', [[], [dict(type='mmseg.Resize', scale=(32, 48))]])
def test_a_frame_with_an_exif_orientation_is_upright(steps, tmp_path):
    """As in the pipeline and in `predict`."""
    upright = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'classes.csv').write_text('name,r,g,b\na,0,0,0\nb,255,0,0\n')
    (tmp_path / 'images/x.png').write_bytes(exif_png(np.rot90(upright), 6))
    cv2.imwrite(str(tmp_path / 'labels/x.png'), upright[..., 0] // 128)
    ends = dict(type='mmseg_erfnet.LoadSegLabels', palette=None), dict(type='mmseg_erfnet.PackSegInputs')
    pipeline = [dict(type='LoadImageFromFile'), *steps, *ends]
    frame, labels = int8.scored_sample(FolderDataset(data_root=str(tmp_path), pipeline=pipeline), 0)
    assert np.array_equal(frame, upright)
    assert np.array_equal(labels, upright[..., 0] // 128)


def test_calibration_is_on_training_images_at_the_networks_size():
    cfg = small('erfnet_camvid')
    assert [frame.shape for frame in int8.calibration_frames(cfg, 3)] == [(256, 256, 3)] * 3
    cfg.train_dataloader.dataset.ann_file = 'splits/absent.txt'
    with pytest.raises(DataError, match=r'absent\.txt'):
        int8.calibration_frames(cfg, 3)


class Fake:
    """A quantiser of nothing."""

    frames, model = 3, 'float'

    def __init__(self, restored: object = None) -> None:
        self.restored, self.limits, self.restores = restored, [], restored is not None

    def quantize(self, frames):
        return 'int8'

    def restore(self, frames, validation, max_drop):
        self.limits.append(max_drop)
        return self.restored

    def save(self, model, path, metadata):
        path.write_text(model)


@pytest.fixture
def scored(monkeypatch):
    """A function that sets the scores of the models that are scored one after the other."""
    monkeypatch.setattr(int8, 'Predictor', lambda path: path.read_text())

    def set_scores(*values: float) -> None:
        scores = iter(values)
        monkeypatch.setattr(int8, 'score', lambda *arguments: dict.fromkeys(('mIoU', 'aAcc'), next(scores)))

    return set_scores


def test_a_model_that_loses_too_much_is_not_kept(tmp_path, scored):
    scored(60.0, 50.0, 59.0)
    fake, lines = Fake('partly int8'), []
    with pytest.raises(QuantizationError, match=r'fp32 60.00, int8 59.00: more than 0.3 points are lost'):
        int8.export_int8(fake, tmp_path / 'model.xml', {}, small('erfnet_camvid11'), report=lines.append)
    assert fake.limits == [0.3]
    assert lines == ['int8 loses 10.00 points of mIoU; leaving layers in float, which takes minutes']
    assert not list(tmp_path.iterdir())
    # Where a format cannot leave layers in float, the first result counts.
    scored(60.0, 59.0)
    with pytest.raises(QuantizationError, match=r'int8 59.00'):
        int8.export_int8(Fake(), tmp_path / 'model.xml', {}, small('erfnet_camvid11'), report=lines.append)
    scored(60.0, 50.0, 59.9)
    int8.export_int8(Fake('partly int8'), tmp_path / 'model.xml', {}, small('erfnet_camvid11'), report=lines.append)
    assert (tmp_path / 'model.xml').read_text() == 'partly int8'


@pytest.mark.parametrize('values', [(float('nan'), 50.0), (60.0, float('nan'))])
def test_a_score_that_is_nan_is_no_score(values, tmp_path, scored):
    scored(*values)
    with pytest.raises(QuantizationError, match='nan'):
        int8.export_int8(Fake(), tmp_path / 'model.xml', {}, small('erfnet_camvid11'), report=lambda line: None)
    assert not list(tmp_path.iterdir())


def test_int8_needs_both_sets():
    for loader in ('train_dataloader', 'val_dataloader'):
        cfg = small('erfnet_camvid11')
        cfg[loader] = None
        with pytest.raises(UsageError, match=f'has no {loader}'):
            int8.check_data(cfg)


def test_nncf_is_told_what_may_be_lost(monkeypatch):
    options = {}
    monkeypatch.setattr(quantize, 'to_openvino', lambda model: model)
    monkeypatch.setattr(quantize.nncf, 'quantize_with_accuracy_control', lambda *rest, **given: options.update(given))
    quantize.OpenVINOQuantizer(None).restore([np.zeros((8, 8, 3), np.uint8)], [], 0.3)
    assert options['max_drop'] == pytest.approx(0.003)


@pytest.mark.slow
def test_nncf_ranks_layers_by_what_the_validation_returns():
    cfg = config('erfnet_camvid11', **{SCALE: (128, 96)})  # the frames' own size
    model = export._Model(cfg, load_segmentor(cfg, str(checkpoint('erfnet_camvid11'))), None, None, None)
    quantizer, dataset = model.quantizer(Path('x.xml')), int8.ScoredImages(cfg, indices=2)
    validate = quantize._validation(dataset)
    prepared = OVPreparedModel(quantizer.model)
    # Otherwise, it would compare outputs, and run the model on the numbers of the images.
    assert Evaluator.determine_mode(prepared, quantize.nncf.Dataset(range(2)), validate)
    score, accuracies = validate(prepared.model_for_inference, [0, 1])
    expected = int8.score(torch_backend.torch_predictor(cfg, str(checkpoint('erfnet_camvid11'))), dataset)
    assert 100 * score == pytest.approx(expected['mIoU'], abs=0.1)
    assert 100 * np.mean(accuracies) == pytest.approx(expected['aAcc'], abs=2)  # images have unequal void


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['openvino', 'onnx'])
def test_int8_is_scored_and_says_so(kind, tmp_path):
    lines = []
    cfg = small('erfnet_camvid11')
    cfg.val_dataloader.dataset.pipeline[2].pop('size')  # scored at the size of the frames
    files = export.export(
        cfg,
        str(checkpoint('erfnet_camvid11')),
        tmp_path,
        (kind,),
        size=(96, 128),
        int8=True,
        max_drop=50,
        report=lines.append,
    )
    floating, quantised = map(Predictor, files)
    metrics = quantised.metadata['int8']
    dataset = int8.ScoredImages(cfg)
    assert metrics['validation_images'] == len(dataset)
    assert metrics['int8']['mIoU'] == pytest.approx(int8.score(quantised, dataset)['mIoU'], abs=0.1)
    assert metrics['fp32']['mIoU'] == pytest.approx(int8.score(floating, dataset)['mIoU'], abs=0.1)
    assert f'fp32 {metrics["fp32"]["mIoU"]:.2f}, int8 {metrics["int8"]["mIoU"]:.2f}' in lines[-1]
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    assert (quantised.predict(frame) == floating.predict(frame)).mean() > 0.5
    assert json.dumps(quantised.metadata)
    small_file, large_file = (files_of(path)[-1].stat().st_size for path in reversed(files))
    assert small_file < large_file / 2


def test_nothing_reports_to_a_server():
    program = """
import multiprocessing
def forbidden(*arguments, **options):
    raise SystemExit('a process was started')
multiprocessing.Process.start = forbidden
import mmseg_erfnet.deploy, openvino, nncf
from openvino.tools.ovc import telemetry_utils
print(type(telemetry_utils.init_ovc_telemetry()).__module__, type(nncf.telemetry.telemetry).__name__)
"""
    found = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ['openvino.tools.ovc.telemetry_stub', 'MagicMock']
