"""The table of formats: counted right, and the one in the docs is the one that was measured."""

import json

import pytest
from conftest import ROOT
from helpers.small_models import SCALE, checkpoint, config, exported
from helpers.tools import run_tool

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
formats = pytest.importorskip('mmseg_erfnet.benchmarks.formats')


@pytest.mark.slow
def test_a_model_is_measured_beside_pytorch():
    cfg = config('erfnet_camvid11', **{SCALE: (96, 72)})
    path = exported() / 'erfnet_camvid11.onnx'
    result = formats.measure_formats(cfg, str(checkpoint('erfnet_camvid11')), [path], images=2, threads=1)
    (row,) = result['rows']
    assert (row['format'], row['bytes'], result['images']) == ('onnx', path.stat().st_size, 2)
    assert row['equal'] > 99.5
    assert row['mIoU'] == pytest.approx(result['pytorch']['mIoU'], abs=0.5)
    assert row['median'] > 0
    assert json.dumps(result)
    assert '| `onnx` | erfnet_camvid11.onnx | ' in formats.formats_table(result)


def test_the_docs_show_what_was_measured():
    page = (ROOT / 'docs/deploy.md').read_text()
    assert page == formats.with_table(page, json.loads((ROOT / 'docs/deploy/formats.json').read_text()))


def test_the_table_goes_between_its_markers_and_nowhere_else(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('no table')
    for target, message in ((page, 'has no line'), (tmp_path / 'absent.md', 'There is no page')):
        done = run_tool(
            'benchmark', 'formats', ROOT / 'configs/erfnet_camvid11.py', 'a.pth', 'a.onnx', '--page', target
        )
        assert (done.status, message in done.sentence) == (1, True)
    assert page.read_text() == 'no table'
