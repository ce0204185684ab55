"""Find and copy the configs and weights shipped with this package. Needs only Python."""

import ast
from pathlib import Path

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes

PACKAGE = Path(__file__).resolve().parent


def configs_folder() -> Path:
    """Return the folder of the shipped configs: under ``.mim`` in the wheel, next to the package in a clone."""
    for folder in (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs'):
        if (folder / '_base_').is_dir():
            return folder
    raise UsageError(f'No configs came with the package in {PACKAGE}: install it again.')


def shipped_configs() -> dict[str, Path]:
    """Return the paths of the shipped configs by name, without ``.py``."""
    return {path.stem: path for path in sorted(configs_folder().glob('*.py'))}


def with_bases(path: Path) -> list[Path]:
    """Return a config file and all its base files, each once."""
    found = [path]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(name, 'id', '') == '_base_' for name in node.targets):
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                found += [file for file in with_bases((path.parent / base).resolve()) if file not in found]
    return found


def shipped_file(name: str) -> Path | None:
    """Return a shipped weights file, or None: in ``weights`` inside the package (wheel) or next to it (clone)."""
    for folder in (PACKAGE / 'weights', PACKAGE.parent / 'weights'):
        if (folder / name).is_file():
            return folder / name
    return None


def copy_missing_bases(name: str, folder: str | Path) -> list[Path]:
    """Copy a shipped base config and its own bases, except for existing files, which the user may have changed.

    Args:
        name: Path of the base config in the configs folder, such as ``_base_/erfnet_own.py``.
        folder: Configs folder to write to.

    Returns:
        The files that were written.

    Raises:
        StorageError: A file cannot be written.
    """
    root, folder = configs_folder().resolve(), Path(folder)
    written = []
    for path in with_bases(root / name):
        target = folder / path.relative_to(root)
        if not target.exists():
            write_bytes(target, path.read_bytes())
            written.append(target)
    return written


def copy_config(name: str, folder: str | Path) -> list[Path]:
    """Copy a shipped config and its bases, so that the copy loads and can be changed.

    Args:
        name: Name of the config, without ``.py``.
        folder: Folder to write to; the bases go below it, as in the shipped folder.

    Returns:
        The files of the copy.

    Raises:
        UsageError: A file of that name exists with different content.
        StorageError: A file cannot be written.
    """
    root, folder = configs_folder().resolve(), Path(folder)
    copies = {folder / path.relative_to(root): path.read_bytes() for path in with_bases(root / f'{name}.py')}
    for target, data in copies.items():
        if target.exists() and target.read_bytes() != data:
            raise UsageError(f'{target} exists and differs from the shipped file: remove it, or name another folder.')
    for target, data in copies.items():
        if not target.exists():
            write_bytes(target, data)
    return list(copies)
