"""The configs and weights that this package ships: where they are, and copies of them. Needs nothing but Python."""

import ast
from pathlib import Path

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes

PACKAGE = Path(__file__).resolve().parent


def configs_folder() -> Path:
    """Return the folder of the shipped configs: in the wheel under ``.mim``, in a clone beside the package."""
    for folder in (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs'):
        if (folder / '_base_').is_dir():
            return folder
    raise UsageError(f'No configs came with the package in {PACKAGE}: install it again.')


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configs by name, without ``.py``."""
    return {path.stem: path for path in sorted(configs_folder().glob('*.py'))}


def with_bases(path: Path) -> list[Path]:
    """Return a config file and all files that it is based on, each once."""
    found = [path]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(name, 'id', '') == '_base_' for name in node.targets):
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                found += [file for file in with_bases((path.parent / base).resolve()) if file not in found]
    return found


def shipped_file(name: str) -> Path | None:
    """Return a file of the shipped weights, or None: in the wheel ``weights`` in the package, in a clone beside it."""
    for folder in (PACKAGE / 'weights', PACKAGE.parent / 'weights'):
        if (folder / name).is_file():
            return folder / name
    return None


def copy_missing_bases(name: str, folder: str | Path) -> list[Path]:
    """Copy a shipped base config and its own bases as far as they are not there; what is there may have been changed.

    Args:
        name: Path of the base below the folder of configs, such as ``_base_/erfnet_own.py``.
        folder: Folder of configs to write into.

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
        folder: Folder to write into; the bases go below it, as in the shipped folder.

    Returns:
        The files that the copy consists of.

    Raises:
        UsageError: A file of that name exists and differs.
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
