"""MMSegmentation's own scripts, as installed, with our configs: each succeeds, and its pictures are correct."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import matplotlib as mpl
import mmseg
import numpy as np
import pytest
from mmseg.apis import MMSegInferencer, inference_model, init_model

from mmseg_erfnet.datasets import CamVid11Dataset
from mmseg_erfnet.models import ERFNet

TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    mpl.use('Agg')
    monkeypatch.setenv('LOCAL_RANK', '0')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('mmseg')


def run(script: str, *arguments: object) -> int:
    """Run a script as `python SCRIPT ARGUMENTS` does; return its status."""
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        runpy.run_path(str(TOOLS / script), run_name='__main__')
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = argv
    return 0


@pytest.fixture
def trained(folder, small_config) -> tuple[Path, Path]:
    """A config with 11 classes, and the result of one epoch of MMSegmentation's tools/train.py with it."""
    config, work_dir = folder / 'config.py', folder / 'run'
    if not config.is_file():
        cfg = small_config('erfnet_camvid11', work_dir, drawing=True)
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
        cfg.dump(config)
        assert run('train.py', config, '--work-dir', work_dir) == 0
    return config, work_dir / 'epoch_1.pth'


@pytest.mark.slow
def test_train(trained):
    work_dir = trained[1].parent
    assert (work_dir / 'report.html').is_file()
    assert (work_dir / 'curves.png').is_file()
    assert len(list(work_dir.glob('best_mIoU_epoch_1.pth'))) == 1


@pytest.mark.slow
@pytest.mark.parametrize('tta', [(), ('--tta',)])
def test_test(trained, tmp_path, capfd, tta):
    assert run('test.py', *trained, '--work-dir', tmp_path, *tta) == 0
    [metrics] = tmp_path.glob('*/2*.json')
    assert 0 <= json.loads(metrics.read_text())['test/mIoU'] <= 100
    printed = capfd.readouterr()
    assert 'cannot be drawn' not in printed.out + printed.err, 'nothing is missing that could be there'


@pytest.mark.slow
def test_out_and_the_confusion_matrix_of_it(trained, tmp_path):
    assert run('test.py', *trained, '--work-dir', tmp_path / 'run', '--out', tmp_path / 'maps') == 0
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / 'maps').glob('*.png')]
    assert {labels.shape for labels in maps} == {(96, 128)}
    assert max(labels.max() for labels in maps) < 11
    script = 'analysis_tools/confusion_matrix.py'
    assert run(script, trained[0], tmp_path / 'maps', tmp_path / 'matrix') == 0
    assert cv2.imread(str(tmp_path / 'matrix' / 'confusion_matrix.png')).std() > 10


@pytest.mark.slow
def test_show_dir(trained, tmp_path):
    assert run('test.py', *trained, '--work-dir', tmp_path / 'run', '--show-dir', tmp_path / 'shown') == 0
    pictures = sorted((tmp_path / 'shown').rglob('*.png'))
    assert len(pictures) == 3, 'one per frame of the split'
    # Ground truth and prediction side by side, each blended half and half from the photo and the classes' colours.
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape == (96, 256, 3)
    palette = np.array(CamVid11Dataset.METAINFO['palette'])
    model = init_model(*map(str, trained), device='cpu')
    frame = _frame(pictures[0].name, Path(model.cfg.test_dataloader.dataset.data_root))
    labels = inference_model(model, str(frame)).pred_sem_seg.data[0].numpy()
    expected = 0.2 * cv2.imread(str(frame))[..., ::-1] + 0.8 * palette[labels]
    assert np.abs(picture[:, 128:, ::-1] - expected).mean() < 12


def _frame(picture: str, root: Path) -> Path:
    [frame] = [path for path in root.glob('701_StillsRaw_full/*.png') if path.stem in picture]
    return frame


@pytest.mark.slow
def test_browse_dataset(trained, tmp_path):
    script = 'analysis_tools/browse_dataset.py'
    assert run(script, trained[0], '--not-show', '--output-dir', tmp_path / 'browsed') == 0
    pictures = [cv2.imread(str(path)) for path in (tmp_path / 'browsed').iterdir()]
    assert len(pictures) == 10
    assert all(picture.shape[0] <= 72 and picture.shape[1] <= 96 and picture.std() > 5 for picture in pictures)


@pytest.mark.slow
@pytest.mark.parametrize('keys', [('mIoU', 'mAcc', 'aAcc'), ('loss', 'decode.loss_ce'), ('lr',)])
def test_analyze_logs(trained, tmp_path, keys):
    pytest.importorskip('seaborn')
    import matplotlib.pyplot as plt

    [log] = trained[1].parent.glob('*/vis_data/scalars.json')
    plt.figure()
    assert run('analysis_tools/analyze_logs.py', log, '--keys', *keys, '--out', tmp_path / 'curves.png') == 0
    assert (tmp_path / 'curves.png').is_file()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(any(key in line for line in lines) for key in keys)


@pytest.mark.slow
def test_get_flops(trained, capfd):
    assert run('analysis_tools/get_flops.py', trained[0], '--shape', 72, 96) == 0
    assert 'Flops: 0.38' in capfd.readouterr().out


@pytest.mark.slow
def test_what_the_image_demos_call(trained, tmp_path):
    config, checkpoint = map(str, trained)
    model = init_model(config, checkpoint, device='cpu')
    frame = next(Path(model.cfg.test_dataloader.dataset.data_root).glob('701_StillsRaw_full/*.png'))
    labels = inference_model(model, str(frame)).pred_sem_seg.data[0].numpy()
    inferencer = MMSegInferencer(config, checkpoint, device='cpu')
    assert type(inferencer.model.backbone) is ERFNet
    found = inferencer(str(frame), out_dir=str(tmp_path))
    np.testing.assert_array_equal(found['predictions'], labels)
    assert cv2.imread(str(tmp_path / 'vis' / frame.name)).shape == (96, 128, 3)
