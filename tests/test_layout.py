"""The layers of the package: which may import which, and which run without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmseg_erfnet'
# From the top layer down. A package imports only from layers below its own, and from itself.
FLOORS = (
    'cli',
    'benchmarks',
    'doctor',
    'release',
    'engine',
    'export',
    'web',
    'reports',
    'deploy',
    'datasets',
    'evaluation',
    'models',
    'visualization',
    'registry',
    'configs',
    'images',
    'files',
    'progress',
    'silence',
    'signals',
    'mmseg_import',
    'environment',
    'text',
    'errors',
)
FILES = sorted(path for path in PACKAGE.rglob('*.py') if path != PACKAGE / '__init__.py')
WITHOUT_TORCH = [
    'cli.main',
    'cli.predict',
    'cli.config',
    'cli.web',
    *(f'deploy.{path.stem}' for path in (PACKAGE / 'deploy').glob('[a-z]*.py')),
]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix('').parts[0]


def imports(path: Path) -> set[str]:
    """Modules of the package that are imported anywhere in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'imports are absolute'
            found |= {node.module, *(f'{node.module}.{name.name}' for name in node.names)}
    return {name for name in found if name.startswith('mmseg_erfnet.')}


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_upward(path):
    own = FLOORS.index(room(path))
    above = {name for name in imports(path) if name.split('.')[1] in FLOORS[:own]}
    assert not above


def test_no_import_runs_in_a_circle():
    names = {
        '.'.join(['mmseg_erfnet', *path.relative_to(PACKAGE).with_suffix('').parts]).removesuffix('.__init__'): path
        for path in FILES
    }
    # An __init__ re-exports the names of its modules, so importing from a package counts as importing those modules.
    graph = {
        name: {other for other in imports(path) if other in names and other != name}
        for name, path in names.items()
        if path.name != '__init__.py'
    }
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, ' -> '.join([*open_[open_.index(name) :], name])
        if name in done or name not in graph:
            return
        open_.append(name)
        for other in sorted(graph[name]):
            visit(other)
        open_.pop()
        done.add(name)

    for name in graph:
        visit(name)


@pytest.mark.parametrize('name', WITHOUT_TORCH)
def test_runs_without_torch(name):
    blocked = ('torch', 'mmengine', 'mmcv', 'mmseg', 'matplotlib', 'PIL')
    code = f'import sys; sys.modules.update(dict.fromkeys({blocked})); import mmseg_erfnet.{name}'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr == ''


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path):
    """60 lines at most, without signature and docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or body[-1].end_lineno - body[0].lineno < 60, node.name
