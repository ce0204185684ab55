"""A picture that cannot be drawn never ends a run."""

import json

import pytest
from helpers.oracle import Oracle  # noqa: F401  (registers it)

from mmseg_erfnet.engine.launch import train


@pytest.mark.parametrize(
    ('place', 'said'),
    [
        ('curves.draw_curves', 'curves.png cannot be drawn'),
        ('report.write_run_report', 'report.html cannot be drawn'),
        ('report.describe_environment', 'The environment in the report cannot be drawn'),
        ('timelapse.animate', 'timelapse/val.gif cannot be drawn'),
        ('timelapse.colour_map', 'The timelapse cannot be drawn'),
    ],
)
def test_its_failure_is_one_warning_line(small_config, tmp_path, monkeypatch, place, said):
    def fail(*args, **kwargs):
        raise OSError('no room\nfor more')

    monkeypatch.setattr(f'mmseg_erfnet.engine.hooks.{place}', fail)
    cfg = small_config('erfnet_camvid', tmp_path / 'run', drawing=True, **{'train_dataloader.dataset.indices': 4})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    runner = train(cfg, epochs=1)
    assert runner.epoch == 1
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
    [log] = tmp_path.glob('run/*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'WARNING' in line and said in line]
    assert len(lines) == 1
    assert lines[0].endswith('; the run continues without it: no room')


def test_a_report_of_a_damaged_work_dir_does_not_end_a_run(small_config, tmp_path):
    (tmp_path / 'run' / 'examples').mkdir(parents=True)
    (tmp_path / 'run' / 'metrics.json').write_text('{"mIoU": ')
    cfg = small_config('erfnet_camvid', tmp_path / 'run', drawing=True, **{'train_dataloader.dataset.indices': 4})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    assert train(cfg, epochs=1).epoch == 1
    [number] = tmp_path.glob('run/*/number.json')
    assert json.loads(number.read_text()) > 0
