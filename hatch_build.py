"""Building the wheel: a second `.mim` for onedl-mim.

onedl-mim 0.5.1 takes the first folder in pip's sorted list of a package's files for the package itself. As this package
has a command, that list begins with `../../../bin/mmseg-erfnet`. So what `mim` needs is also put into a folder whose
name comes before that: `+` sorts before `.`.
"""

import shutil
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = '+mmseg_erfnet'


class SecondMim(BuildHookInterface):
    """Adds a copy of configs, tools and model index to the wheel, where onedl-mim finds it."""

    def initialize(self, version: str, build_data: dict) -> None:
        self.copy = Path(tempfile.mkdtemp())
        if version == 'editable':
            return
        for name in ('configs', 'tools'):
            shutil.copytree(Path(self.root, name), self.copy / name, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(Path(self.root, 'model-index.yml'), self.copy)
        build_data['force_include'][str(self.copy)] = f'{FOLDER}/.mim'

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        shutil.rmtree(self.copy)
