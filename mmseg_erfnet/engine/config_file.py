"""Read a config file, and report what is wrong with it."""

import ast
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmseg_erfnet.engine.translation import reason
from mmseg_erfnet.errors import UsageError

SUFFIXES = ('.py', '.yml', '.yaml', '.json')
MODELS = ('.pth', '.pt', '.ckpt', '.pkl', '.onnx', '.xml', '.bin')
# Entries of MMSegmentation 0.x configs, and what replaces them in 1.x.
OLD_ENTRIES = {
    'data': 'train_dataloader',
    'optimizer': 'optim_wrapper',
    'lr_config': 'param_scheduler',
    'evaluation': 'val_evaluator',
    'checkpoint_config': 'default_hooks',
    'runner': 'train_cfg',
}
# Entries that are dicts.
DICTS = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper', 'train_cfg', 'test_cfg')


def read_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UsageError: It does not exist, is not a config, cannot be read, or is for MMSegmentation 0.x.
    """
    file = Path(path)
    if file.suffix.lower() in MODELS:
        raise UsageError(f'{path} is a model, not a config; give the config (.py) first, then the checkpoint (.pth).')
    if not file.is_file():
        shipped = sorted(str(one) for one in Path('configs').glob('*.py'))
        hint = f'Found: {", ".join(shipped)}.' if shipped else '`mmseg-erfnet config NAME --copy .` writes one here.'
        raise UsageError(f'There is no config {path}. {hint}')
    if file.suffix not in SUFFIXES:
        raise UsageError(f'{path} is not a config; a config is a file that ends in {", ".join(SUFFIXES)}.')
    try:
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is the user's Python code, and may raise anything
        raise UsageError(
            f'The config {path} cannot be read ({type(error).__name__}: {reason(error)}); correct it.'
        ) from error
    old = [name for name, new in OLD_ENTRIES.items() if name in cfg and new not in cfg]
    if len(old) > 1:
        raise UsageError(
            f'{path} is a config of MMSegmentation 0.x: it sets {", ".join(old)}; use one of MMSegmentation 1.x, which '
            f'sets {", ".join(OLD_ENTRIES[name] for name in old)} instead.'
        )
    return cfg


def stated_costs(cfg: Config) -> str | None:
    """Return what the docstring of a config file says under ``Costs:``, in one line, or None."""
    file = Path(cfg.filename or '')
    if file.suffix != '.py' or not file.is_file():
        return None
    text = ast.get_docstring(ast.parse(file.read_bytes())) or ''
    found = re.search(r'^Costs:(.*?)(?=^\w[\w ]*:|\Z)', text, re.MULTILINE | re.DOTALL)
    return ' '.join(found[1].split()) if found else None


def require_entries(cfg: Config, purpose: str, *names: str) -> None:
    """Check that a config has the entries that a run needs.

    Args:
        cfg: The config.
        purpose: 'training' or 'testing'.
        *names: The required entries.

    Raises:
        UsageError: An entry is missing or None.
    """
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise UsageError(
            f'The config {cfg.filename or ""} has no {", ".join(missing)}, which {purpose} needs; give the config of a '
            'whole run, as the shipped ones are.'
        )


def check_entries(cfg: Config) -> None:
    """Check that entries of a config have the right type, and that its default scope is a package.

    Raises:
        UsageError: They do not, or it is not: MMEngine would look its types up elsewhere.
    """
    for name in DICTS:
        if cfg.get(name) is not None and not isinstance(cfg[name], Mapping):
            raise UsageError(f'{name} is {cfg[name]!r:.100}, not a dict; write it as in the shipped configs.')
    scope = cfg.get('default_scope', 'mmseg')
    if not isinstance(scope, str) or not scope.isidentifier() or importlib.util.find_spec(scope) is None:
        raise UsageError(f"default_scope cannot be used: {scope!r} is not an installed package; set it to 'mmseg'.")
