"""docs/robustness.md names an existing test in each row."""

import re

from conftest import ROOT

PAGE = (ROOT / 'docs' / 'robustness.md').read_text()


def test_each_row_names_a_test_and_each_test_is_there():
    rows = [line for line in PAGE.splitlines() if line.startswith('| ') and not line.startswith(('| ---', '| What'))]
    assert len(rows) > 30
    path = None
    for row in rows:
        last = row.rstrip(' |').rpartition('|')[2]
        named = re.findall(r'`(\S*?)::(\w+)`', last)
        assert named or last.strip() == 'same', row
        for file, name in named:
            path = ROOT / 'tests' / file if file else path
            assert f'\ndef {name}(' in path.read_text(), f'{path.name} has no {name}'
