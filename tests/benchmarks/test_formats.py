"""The table of formats: counted right, and the one in the docs is the one that was measured."""

import json

import pytest
from conftest import ROOT
from helpers.small_models import SCALE, checkpoint, config, exported
from helpers.tools import run_tool

from mmseg_erfnet import files

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
formats = pytest.importorskip('mmseg_erfnet.benchmarks.formats')
FORMATS = 'benchmark', 'formats', ROOT / 'configs/erfnet_camvid11.py', 'a.pth', 'a.onnx'


def refused(*options: object) -> str:
    """Return the sentence with which `benchmark formats` ends."""
    done = run_tool(*FORMATS, *options)
    assert done.status == 1
    return done.sentence


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
    for content, message in (
        (b'no table', 'has no lines <!-- formats'),
        (formats.END.encode(), 'has no lines <!-- formats'),
        (b'\xff' + f'{formats.BEGIN}{formats.END}'.encode(), 'cannot be read (it is not UTF-8)'),
    ):
        page.write_bytes(content)
        assert message in refused('--page', page)
        assert page.read_bytes() == content
    assert 'There is no page' in refused('--page', tmp_path / 'absent.md')


def test_no_measurement_is_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(formats, 'measure_formats', lambda *arguments: pytest.fail('it was measured'))
    page = tmp_path / 'page.md'
    page.write_text(f'{formats.BEGIN}{formats.END}\r\n')
    assert 'page.md cannot be written (File exists)' in refused('--json', page / 'x.json')
    with monkeypatch.context() as full:
        full.setattr(files.secrets, 'token_hex', lambda length: 'x')
        (tmp_path / f'{files.TEMPORARY}x.md').symlink_to('/dev/full')
        assert 'page.md cannot be written (No space left on device)' in refused('--page', page)
    monkeypatch.setattr(formats, 'measure_formats', lambda *arguments: {})
    monkeypatch.setattr(formats, 'formats_table', lambda result: 'a table')
    results = tmp_path / 'new' / 'x.json'
    assert run_tool(*FORMATS, '--page', page, '--json', results).status == 0
    assert 'a table' in capsys.readouterr().out
    assert page.read_bytes().decode() == f'{formats.BEGIN}\n\na table\n\n{formats.END}\r\n'
    assert json.loads(results.read_text()) == {}
