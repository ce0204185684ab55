"""The installed command: a verb for each tool, and the verb ``config``."""

import ast
import re

import pytest
from conftest import CONFIGS, ROOT
from helpers.tools import run_tool

from mmseg_erfnet.cli import main as command
from mmseg_erfnet.engine.launch import load_config

TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('[a-z]*.py'))
ALONE = {'config', 'web'}  # verbs without a file in tools/


def test_a_verb_for_each_tool_and_a_tool_for_each_verb():
    assert {verb.replace('-', '_') for verb in command.VERBS} - ALONE == set(TOOLS)


@pytest.mark.parametrize('name', TOOLS)
def test_tool_and_verb_are_the_same_code(name):
    tree = ast.parse((ROOT / 'tools' / f'{name}.py').read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls] == [f"run('{name}')"]
    assert ast.get_docstring(tree).splitlines()[0] == command.load(name).__doc__.strip().splitlines()[0]


@pytest.mark.parametrize('verb', command.VERBS)
def test_verb_has_a_manual(verb, capsys):
    with pytest.raises(SystemExit) as end:
        command.main([verb, '--help'])
    assert end.value.code == 0
    assert 'usage:' in capsys.readouterr().out


def test_usage_names_all_verbs(capsys):
    command.main([])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f'  {verb} ') for line in lines) for verb in command.VERBS)


def test_unknown_verb(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(['trian'])
    assert end.value.code == 2
    assert "error: there is no verb 'trian'; did you mean train?" in capsys.readouterr().err


@pytest.mark.parametrize('name', CONFIGS)
def test_copied_config_loads(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_tool('config', name, '--copy', '.').status == 0
    copied = capsys.readouterr().out.split()
    assert f'{name}.py' in copied
    assert all((tmp_path / path).is_file() for path in copied)
    ours, shipped = load_config(f'{name}.py'), load_config(str(ROOT / 'configs' / f'{name}.py'))
    assert ours._cfg_dict == shipped._cfg_dict
    assert run_tool('config', name, '--copy', '.').status == 0, 'what is the same already stays'
    (tmp_path / f'{name}.py').write_text('')
    ended = run_tool('config', name, '--copy', '.')
    assert ended.status == 1
    assert re.search(r'exists and differs from the shipped file: remove it', ended.sentence)


def test_config_that_is_not_shipped():
    ended = run_tool('config', 'unet')
    assert ended.status == 1
    assert re.search(r'There is no shipped config unet: choose one of .*erfnet_camvid11', ended.sentence)
    assert 'needs the name of a config' in run_tool('config', '--copy', '.').sentence
