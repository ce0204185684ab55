"""README and docs: the options of every command exist, examples run, and every linked file exists."""

import argparse
import ast
import importlib
import re
import shlex
import shutil
import tomllib

import cv2
import numpy as np
import pytest
from helpers.tools import ROOT, run_tool
from mmengine.config import Config

from mmseg_erfnet.cli.main import VERBS, load
from mmseg_erfnet.datasets.synthetic import render

README = ROOT / 'README.md'
PAGES = [README, ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
TARGETS = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
EXTRAS = set(tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies'])


def blocks(page, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page) -> list[str]:
    """The lines of a page's shell blocks, with continuation lines joined and comments removed."""
    text = '\n'.join(blocks(page, 'bash')).replace('\\\n', ' ')
    return [line.split(' #')[0].strip() for line in text.splitlines() if line.strip() and not line.startswith('#')]


def inline_commands(page) -> list[str]:
    """The commands with arguments in a page's sentences."""
    spans = re.findall(r'`((?:mmseg-erfnet|python tools/\w+\.py) [^`]+ [^`]+)`', page.read_text())
    return [' '.join(span.split()) for span in spans]


COMMANDS = [(page, command) for page in PAGES for command in (*commands(page), *inline_commands(page))]


class Parsed(Exception):
    """The tool has accepted the arguments."""


def check_tool(verb: str, arguments: list[str], monkeypatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser, args=None, namespace=None):
        parse(parser, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_only)
    with pytest.raises(Parsed):
        load(verb).main(arguments)


@pytest.mark.parametrize(('page', 'command'), COMMANDS, ids=[command[:60] for _, command in COMMANDS])
def test_commands_have_the_options_that_they_name(page, command, monkeypatch):
    words = shlex.split(re.sub(r'\$\w+', '1', command))
    tool = next((place for place, word in enumerate(words) if re.fullmatch(r'tools/\w+\.(py|sh)', word)), None)
    if tool is not None and words[tool].endswith('.py'):
        check_tool(words[tool].removeprefix('tools/').removesuffix('.py'), words[tool + 1 :], monkeypatch)
    elif tool is not None:
        assert (ROOT / words[tool]).is_file()
    elif words[0] == 'mmseg-erfnet':
        assert words[1] in VERBS
        check_tool(words[1], words[2:], monkeypatch)
    elif words[0] == 'make':
        assert {word for word in words[1:] if '=' not in word} <= TARGETS
    for extra in re.findall(r'pip install "\.\[(\w+)\]"', command):
        assert extra in EXTRAS
    for path in re.findall(r'(?<![\w/])(?:configs|weights)/[\w./-]+\.\w+', command):
        if (ROOT / path).parent != ROOT / 'configs' or 'erfnet' in path:
            assert (ROOT / path).is_file(), path


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text()):
        if '://' not in link:
            assert (page.parent / link).exists(), link


def test_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    code = [line for language in ('bash', 'python') for block in blocks(README, language) for line in block.split('\n')]
    assert max(map(len, code)) <= 100


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_python_examples_are_python_and_import_what_exists(page):
    for block in blocks(page, 'python'):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith('mmseg_erfnet'):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), block


@pytest.fixture
def photo(tmp_path, monkeypatch) -> None:
    """An empty current folder with a photo.jpg."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('photo.jpg', render((300, 450), 0, 0)[0])


def test_first_picture_of_the_readme(photo, tmp_path, capsys):
    command = next(line for line in commands(README) if line.startswith('mmseg-erfnet predict photo'))
    assert run_tool(*command.split()[1:]).status == 0
    (path,) = [line for line in capsys.readouterr().out.splitlines() if 'photo' in line]
    assert cv2.imread(str(tmp_path / path.split()[-1])).shape[1] == 450


def test_predictor_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'deployed').mkdir()
    for suffix in ('.xml', '.bin'):
        shutil.copy(
            ROOT / 'weights' / f'erfnet_camvid11_trainval_int8{suffix}',
            tmp_path / 'deployed' / f'erfnet_camvid11{suffix}',
        )
    block = next(block for block in blocks(README, 'python') if 'Predictor' in block)
    found = dict(frame=np.zeros((360, 480, 3), np.uint8))
    exec(block, found)
    assert found['labels'].shape == (360, 480)
    assert found['picture'].shape[1] == 480


def test_config_of_the_readme(tmp_path):
    import mmseg

    block = next(block for block in blocks(README, 'python') if '_base_' in block)
    configs = ROOT / 'configs'
    assert configs.is_dir()
    shipped = next(path for path in (tmp_path.__class__(mmseg.__file__).parent / '.mim').glob('configs'))
    shutil.copytree(shipped / '_base_', tmp_path / '_base_')
    shutil.copytree(shipped / 'erfnet', tmp_path / 'erfnet')
    (tmp_path / 'erfnet' / 'mine.py').write_text(block)
    cfg = Config.fromfile(tmp_path / 'erfnet' / 'mine.py')
    assert cfg.model.backbone.type == 'mmseg_erfnet.ERFNet'
    assert cfg.model.decode_head.type == 'FCNHead'
