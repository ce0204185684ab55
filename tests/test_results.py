"""The published metrics: the README matches the index, and the files are those scored and reach their scores."""

import hashlib

import pytest
from conftest import ROOT
from helpers.tools import run_tool

from mmseg_erfnet.datasets.camvid import standard_split
from mmseg_erfnet.engine.launch import evaluate, load_config
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.models.checkpoints import load_checkpoint_file
from mmseg_erfnet.release import BEGIN, END, read_models, results_table, with_results

MODELS = {model['Name']: model for model in read_models(ROOT / 'model-index.yml')}
SHIPPED = [name for name, model in MODELS.items() if 'Weights' in model]


def test_readme_has_the_results_of_the_index():
    readme = (ROOT / 'README.md').read_text()
    assert with_results(readme, list(MODELS.values())) == readme, 'run `python tools/results_table.py`'


def test_a_readme_without_marks_is_refused():
    with pytest.raises(DataError, match='results'):
        with_results('# No table', [])
    assert with_results(f'a\n{BEGIN}\nold\n{END}\nb', []).startswith(f'a\n{BEGIN}\n\n|')


@pytest.mark.parametrize(
    'content', [b'', b'Models: [{', b'[]', b'Models: [{}]', b'Models: 3', b'\xff\xfe', b'a: !!python/name:os.system']
)
def test_what_is_no_index_is_a_sentence(content, tmp_path):
    (tmp_path / 'index.yml').write_bytes(content)
    (tmp_path / 'README.md').write_bytes(b'\xff')
    given = ['--index', tmp_path / 'index.yml', '--readme', tmp_path / 'README.md']
    assert 'index.yml is not a model index' in run_tool('results_table', *given).sentence
    (tmp_path / 'index.yml').write_text('Models: []')
    assert 'README.md is not text in UTF-8' in run_tool('results_table', *given).sentence


def test_a_model_that_was_not_scored_has_a_row_without_results():
    model = dict(Name='a', Metadata={'Training Data': 'b', 'Training Split': 'd', 'Training': 'c'}, Results=[])
    assert results_table([model]).endswith('\n| a | b d | c | not scored | - | - |')


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_weights_are_those_of_the_index(name):
    model = MODELS[name]
    path = ROOT / model['Weights']
    assert path.stat().st_size < 5e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() == model['Metadata']['SHA-256']
    assert (ROOT / model['Config']).is_file()
    assert (ROOT / model['Metadata']['Training Log']).is_file()
    assert load_checkpoint_file(path).keys() == {'meta', 'state_dict'}


def result_on_val(model: dict) -> dict | None:
    return next((result for result in model['Results'] if result['Dataset'].startswith('CamVid val')), None)


@pytest.mark.slow  # a minute
@pytest.mark.parametrize('name', [name for name in SHIPPED if result_on_val(MODELS[name])])
def test_shipped_weights_score_what_the_index_says(name, camvid_root, tmp_path):
    model = MODELS[name]
    cfg = load_config(str(ROOT / model['Config']), str(tmp_path))
    split = tmp_path / 'val.txt'
    split.write_text('\n'.join(standard_split('val')))
    cfg.test_dataloader.dataset.update(data_root=str(camvid_root), ann_file=str(split))
    metrics = evaluate(cfg, str(ROOT / model['Weights']))
    assert metrics['mIoU'] == pytest.approx(result_on_val(model)['Metrics']['mIoU'], abs=0.01)
