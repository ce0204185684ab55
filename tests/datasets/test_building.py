"""Datasets of a config outside a run: in a new process, where nothing has set the scope in which names are found."""

import re
import subprocess
import sys

from conftest import ROOT

PROGRAM = """
import sys
from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.engine.launch import load_config

cfg = load_config(sys.argv[1], options=dict(data_root=sys.argv[2]))
before = cfg.pretty_text
for part in ('train', 'val', 'test'):
    print(len(build_dataset(cfg, part)), build_dataset(cfg, part, indices=2)[0]['inputs'].dtype)
assert cfg.pretty_text == before

from mmseg_erfnet.export.int8 import calibration_frames, check_data
from mmseg_erfnet.export.parity import sample_frames

check_data(cfg)
print(len(calibration_frames(cfg, 3)), len(sample_frames(cfg, 2)))
"""


def test_what_an_export_reads(synthetic_camvid):
    ended = subprocess.run(
        [sys.executable, '-c', PROGRAM, str(ROOT / 'configs/erfnet_camvid.py'), str(synthetic_camvid)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    *datasets, frames = ended.stdout.splitlines()[-4:]
    assert all(re.fullmatch(r'[1-9]\d* torch\.uint8', line) for line in datasets)
    assert frames == '3 2'


def test_all_other_code_builds_them_there():
    """A hook runs in the scope of its run; the model's loader only asks for the names of classes."""
    found = {
        str(path.relative_to(ROOT / 'mmseg_erfnet'))
        for path in (ROOT / 'mmseg_erfnet').rglob('*.py')
        if 'DATASETS.build' in path.read_text()
    }
    assert found == {
        'datasets/building.py',
        'engine/hooks/timelapse.py',
        'engine/hooks/train_score.py',
        'models/building.py',
    }
