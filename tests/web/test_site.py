"""What the page is built of, and what it cannot be built of."""

import hashlib
import json

import pytest
from helpers.small_models import checkpoint, config, exported
from helpers.tools import run_tool

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.web import runtime, site

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture
def unpacked(tmp_path):
    """What stands for an unpacked onnxruntime-web."""
    dist = tmp_path / 'package' / 'dist'
    dist.mkdir(parents=True)
    for name in runtime.FILES:
        (dist / name).write_text(name)
    (dist.parent / 'package.json').write_text(json.dumps(dict(version=runtime.VERSION)))
    return dist.parent


def test_a_page_is_built_again_in_its_own_folder_alone(unpacked, tmp_path):
    out, model = tmp_path / 'site', exported() / 'erfnet_camvid11.onnx'
    for _ in range(2):
        assert run_tool('web', model, '--out', out, '--runtime', unpacked).status == 0
    names = {str(path.relative_to(out)) for path in out.rglob('*') if path.is_file()}
    assert names == {
        *('app.js', 'index.html', 'model.json', 'model.onnx', 'style.css', 'worker.js', 'runtime/LICENSE'),
        *(f'runtime/{name}' for name in runtime.FILES),
    }
    assert 'Microsoft' in (out / 'runtime/LICENSE').read_text()
    for text in (path.read_text() for path in site.PAGE.iterdir()):
        assert '://' not in text
    # Files of an earlier build are replaced, edited ones are not.
    (out / 'app.js').write_text('of an earlier version')
    description = json.loads((out / 'model.json').read_text())
    description['written'].append(hashlib.sha256(b'of an earlier version').hexdigest())
    (out / 'model.json').write_text(json.dumps(description))
    (out / 'index.html').write_text('edited')
    ended = run_tool('web', model, '--out', out, '--runtime', unpacked)
    assert (ended.status, 'index.html exists, and is not a result of an earlier run' in ended.sentence) == (1, True)
    assert (out / 'app.js').read_text() == 'of an earlier version'
    (out / 'index.html').unlink()
    assert run_tool('web', model, '--out', out, '--runtime', unpacked).status == 0
    assert (out / 'app.js').read_bytes() == (site.PAGE / 'app.js').read_bytes()
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'index.html').write_text('mine')
    ended = run_tool('web', model, '--out', tmp_path / 'mine', '--runtime', unpacked)
    assert (ended.status, 'contains files that this command did not write' in ended.sentence) == (1, True)
    assert (tmp_path / 'mine' / 'index.html').read_text() == 'mine'


def test_what_cannot_be_used_is_named(unpacked, tmp_path):
    model = exported() / 'erfnet_camvid11.onnx'
    for arguments, message in (
        ((exported() / 'erfnet_camvid11.xml', tmp_path / 'a'), 'in the ONNX format'),
        ((tmp_path / 'absent.onnx', tmp_path / 'a'), 'There is no model'),
        ((model, tmp_path / 'a', tmp_path / 'nothing'), 'has no ort.wasm.min.mjs'),
        ((model, unpacked / 'package.json', unpacked), 'is a file'),
    ):
        with pytest.raises(UsageError, match=message):
            site.build_site(*arguments)
    (unpacked / 'package.json').write_text(json.dumps(dict(version='1.2.3')))
    with pytest.raises(UsageError, match=r'is onnxruntime-web 1\.2\.3'):
        site.build_site(model, tmp_path / 'a', unpacked)
    (unpacked / 'package.json').write_text('{')
    with pytest.raises(UsageError, match='is damaged'):
        site.build_site(model, tmp_path / 'a', unpacked)
    assert not (tmp_path / 'a').exists()


def test_only_the_pinned_archive_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(runtime, '_fetch', lambda: b'another')
    with pytest.raises(UsageError, match='does not have the published hash'):
        runtime.runtime_files()
    assert not runtime.cache_path().exists()
    monkeypatch.undo()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(runtime.shutil, 'which', lambda name: None)
    with pytest.raises(UsageError, match='npm is not installed'):
        runtime.runtime_files()


def test_a_model_that_returns_no_labels_is_refused(unpacked, tmp_path):
    from mmseg_erfnet.export.exporter import export

    (path,) = export(
        config('erfnet_camvid11'), checkpoint('erfnet_camvid11'), tmp_path, ('onnx',), 'logits', (40, 56), report=str
    )
    with pytest.raises(UsageError, match='--output labels'):
        site.build_site(path, tmp_path / 'a', unpacked)
