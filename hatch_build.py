"""Building the wheel: a second `.mim` for onedl-mim.

onedl-mim 0.5.1 takes the first folder in pip's sorted list of a package's files for the package itself. That is the
folder of the metadata wherever that bears the package's name, so what `mim` needs is put there, too.
"""

import shutil
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SecondMim(BuildHookInterface):
    """Adds a copy of configs, tools and model index to the wheel's metadata."""

    def initialize(self, version: str, build_data: dict) -> None:
        self.copy = Path(tempfile.mkdtemp())
        if version == 'editable':
            return
        for name in ('configs', 'tools'):
            shutil.copytree(Path(self.root, name), self.copy / name, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(Path(self.root, 'model-index.yml'), self.copy)
        build_data['force_include'][str(self.copy)] = f'mmseg_erfnet-{self.metadata.version}.dist-info/.mim'

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        shutil.rmtree(self.copy)
