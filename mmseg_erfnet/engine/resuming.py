"""Check whether a run can resume from a checkpoint: its optimiser, schedule and hook states must fit the config.

MMEngine passes these states to ``load_state_dict`` methods that adopt any attribute they find, and pairs schedules only
up to the shorter of the two lists. The checks here accept what fits, and refuse anything else by name.
"""

import inspect
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.files import is_regular
from mmseg_erfnet.models.building import unwrapped
from mmseg_erfnet.models.checkpoints import check_fit, is_finite, kind_of
from mmseg_erfnet.text import listed

TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth')  # MMEngine's names of checkpoints
BEST = re.compile(r'best_[^/\\]+\.pth')
AGAIN = 'or start a new run from its weights with --cfg-options load_from=FILE and another --work-dir'


def step_pattern(template: str) -> str:
    """Return the pattern of the names that a ``filename_tmpl`` gives to checkpoints, with a group for the step."""
    return re.escape(template).replace(r'\{\}', r'(\d{1,12})')


@dataclass(frozen=True)
class RunFiles:
    """Where the checkpoints of a run are, and what they are called.

    Attributes:
        work_dir: The run's folder, which contains ``last_checkpoint``.
        folder: The folder of its checkpoints: the work dir, or one inside the checkpoint hook's ``out_dir``.
        template: The checkpoint hook's ``filename_tmpl``, if the config has one.
    """

    work_dir: str
    folder: str
    template: str | None = None

    @classmethod
    def of(cls, run: str | os.PathLike | Config | Runner) -> 'RunFiles':
        """Return the places of a run, given its runner, its config or, if these options are unused, its folder."""
        if isinstance(run, (str, os.PathLike)):
            return cls(str(run), str(run))
        work_dir = str(run.work_dir)
        if isinstance(run, Config):
            hooks = run.get('default_hooks')
            hook = hooks.get('checkpoint') if isinstance(hooks, Mapping) else None
            # Other types are refused when the hooks are built.
            options = hook if isinstance(hook, Mapping) else {}
            out_dir, template = options.get('out_dir'), options.get('filename_tmpl')
        else:
            hook = next((hook for hook in run.hooks if isinstance(hook, CheckpointHook)), None)
            out_dir, template = getattr(hook, 'out_dir', None), getattr(hook, 'filename_tmpl', None)
        if out_dir is None or str(out_dir) == work_dir:
            return cls(work_dir, work_dir, template)
        # MMEngine's before_train joins the two paths, once.
        joined = hasattr(hook, 'file_backend')
        return cls(work_dir, str(out_dir) if joined else os.path.join(str(out_dir), Path(work_dir).name), template)

    @property
    def steps(self) -> list[re.Pattern]:
        """The patterns of the names of its checkpoints, each with a group for the step."""
        own = (self.template,) if isinstance(self.template, str) else ()
        return [re.compile(step_pattern(template)) for template in dict.fromkeys((*TEMPLATES, *own))]

    def is_step(self, name: str) -> bool:
        """Return whether a name is that of a checkpoint of the run, other than its best."""
        return any(pattern.fullmatch(name) for pattern in self.steps)


def is_own_file(folder: str | Path, path: str) -> bool:
    """Return whether a path is a regular file directly in a folder."""
    return Path(path).parent.absolute() == Path(folder).absolute() and is_regular(path)


def _refuse(entry: str, why: str = 'has a wrong type') -> None:
    raise CheckpointError(
        f'The checkpoint cannot be resumed, because its {entry} {why}: resume from an earlier one, {AGAIN}.'
    )


def check_resumable(runner: Runner, checkpoint: dict) -> None:
    if not {'meta', 'message_hub', 'optimizer'} <= checkpoint.keys():
        raise CheckpointError(
            'The checkpoint holds weights, but not the state of a run: the best one is of that kind. Resume from '
            'last_checkpoint, or start a new run from its weights with --cfg-options load_from=FILE.'
        )
    meta = checkpoint['meta']
    for name in ('epoch', 'iter'):
        if type(meta.get(name)) is not int or not 0 <= meta[name] < 1 << 62:
            _refuse(f'meta.{name}')
    if meta.get('seed') is not None and (type(meta['seed']) is not int or not 0 <= meta['seed'] < 1 << 32):
        _refuse('meta.seed')
    _check_average(runner, checkpoint)
    _check_optimizer(runner.optim_wrapper, checkpoint['optimizer'])
    _check_schedule_types(checkpoint.get('param_schedulers'))
    _check_hub(runner, checkpoint['message_hub'])


def _check_average(runner: Runner, checkpoint: dict) -> None:
    averages, found = any(isinstance(hook, EMAHook) for hook in runner.hooks), checkpoint.get('ema_state_dict')
    if found is not None and not averages:
        _refuse('weights', 'are averages by EMAHook, which this config lacks')
    if found is not None:
        names = {name.removeprefix('module.') for name in found if name != 'steps'}
        if not names <= checkpoint['state_dict'].keys() or 'steps' not in found:
            _refuse('ema_state_dict', 'does not fit its state_dict')
        check_fit(unwrapped(runner.model), dict(state_dict={**checkpoint['state_dict'], **_plain_names(found)}))


def _plain_names(averaged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix('module.'): value for name, value in averaged.items() if name != 'steps'}


# --- The state of the optimiser and the schedules ---------------------------------------------------------------------

IMPLEMENTATION = {'foreach', 'fused', 'capturable', 'differentiable'}
# Entries that some versions of torch, or a schedule, add to every optimiser.
OPTIONAL = IMPLEMENTATION | {'maximize', 'decoupled_weight_decay', 'initial_lr', 'params'}
# Entries that define MMEngine's schedulers; their other entries change with each step.
SCHEDULE = {
    'begin',
    'end',
    'by_epoch',
    'param_name',
    'gamma',
    'power',
    'eta_min',
    'eta_min_ratio',
    'T_max',
    'milestones',
}
SCHEDULE |= {'factor', 'total_iters', 'start_factor', 'end_factor', 'step_size', 'periods', 'restart_weights'}
SCHEDULE |= {'total_steps', 'patience', 'threshold', 'rule', 'cooldown', 'min_value', 'decay', 'warmup_steps'}
ANOTHER = 'is of another {} than the config has'
SETTINGS = 'base_param_settings'


def _check_optimizer(wrapper: object, state: object) -> None:
    if not isinstance(state, dict):
        _refuse('optimizer')
    if not isinstance(wrapper, OptimWrapper):  # several optimisers, by name
        for name, one in wrapper.items():
            _check_optimizer(one, state.get(name))
        return
    groups, states = state.get('param_groups'), state.get('state')
    if not (isinstance(groups, list) and isinstance(states, dict) and isinstance(state.get(SETTINGS, {}), dict)):
        _refuse('optimizer')
    current = wrapper.optimizer.param_groups
    if len(groups) != len(current):
        _refuse('optimizer', f'has {len(groups)} parameter groups instead of {len(current)}')
    seen = set()
    for group, own in zip(groups, current, strict=True):
        _check_group(group, own)
        kept = _kept_of_a_parameter(wrapper.optimizer, group, own)
        for index, parameter in zip(group['params'], own['params'], strict=True):
            _check_parameter_state(states.get(index, {}), parameter, kept)
        if seen & set(group['params']) or len(set(group['params'])) < len(group['params']):
            _refuse('optimizer')
        seen |= set(group['params'])
    if not states.keys() <= seen:
        _refuse('optimizer')
    _check_scaler(getattr(wrapper, 'loss_scaler', None), state)


def _check_scaler(scaler: object, state: dict) -> None:
    if (scaler is not None) != ('loss_scaler' in state):
        _refuse('optimizer', ANOTHER.format('kind (with or without loss scaling)'))
    if scaler is not None and not _alike(state['loss_scaler'], scaler.state_dict()):
        _refuse('optimizer (loss_scaler)')


def _check_group(group: object, own: dict) -> None:
    if not isinstance(group, dict) or not isinstance(group.get('params'), list) or not all(map(_is_text, group)):
        _refuse('optimizer')
    if not all(type(index) is int for index in group['params']) or len(group['params']) != len(own['params']):
        _refuse('optimizer', 'has another number of parameters')
    # These affect how a step is computed, not its result; the config may have changed them.
    group.update({name: own[name] for name in IMPLEMENTATION & own.keys()})
    names = {name for name in group.keys() ^ own.keys() if name not in OPTIONAL}
    # Such as amsgrad, and the flag that distinguishes AdamW from Adam.
    names |= {name for name, value in own.items() if isinstance(value, bool) and group.get(name, value) is not value}
    if names:
        _refuse('optimizer', ANOTHER.format('kind') + f' ({listed(sorted(names))})')
    for name, value in group.items():
        if name != 'params' and name in own and not _alike(value, own[name]):
            _refuse(f'optimizer ({name})')


def _kept_of_a_parameter(optimizer: Optimizer, group: dict, own: dict) -> dict | None:
    """Return what such an optimiser keeps of a parameter after a step; None if a trial tells nothing."""
    try:
        _try_step(optimizer, own)
    except Exception:  # a custom optimiser, which needs more
        return None
    try:
        return _try_step(optimizer, group)
    except Exception as error:
        return _refuse('optimizer', f'has invalid values ({next(iter(str(error).splitlines()), "")[:100]})')


def _try_step(optimizer: Optimizer, group: dict) -> dict:
    known = inspect.signature(type(optimizer)).parameters
    options = {name: value for name, value in group.items() if name in known and name != 'params'}
    parameter = torch.nn.Parameter(torch.ones(2, 3, device=optimizer.param_groups[0]['params'][0].device))
    parameter.grad = torch.ones_like(parameter)
    trial = type(optimizer)([parameter], **options)
    trial.step()
    return dict(trial.state[parameter])


def _check_parameter_state(state: object, parameter: Tensor, kept: dict | None) -> None:
    if not isinstance(state, dict):
        _refuse('optimizer')
    if state and kept is not None and state.keys() != kept.keys():
        _refuse('optimizer', ANOTHER.format('kind') + f' ({listed(sorted(map(str, state.keys() ^ kept.keys())))})')
    for name, value in state.items():
        own = (kept or {}).get(name, value)
        if isinstance(value, Tensor):
            if kind_of(value) or not is_finite(value):
                _refuse('optimizer', f'holds NaN, infinity or no dense tensor as {name}')
            if value.shape != (parameter.shape if isinstance(own, Tensor) and own.numel() > 1 else torch.Size()):
                _refuse('optimizer', 'is of parameters of other shapes')
        # Before torch 1.12 the step count was not a tensor. SGD may not have a momentum buffer yet.
        elif not (_alike(value, own) or name == 'momentum_buffer') or (
            isinstance(own, Tensor) and own.numel() > 1 and value is not None
        ):
            _refuse(f'optimizer ({name})')


def _alike(value: object, own: object) -> bool:
    """Return whether a stored value can replace a current one: it has the same type and is finite."""
    if isinstance(value, Tensor) or isinstance(own, Tensor):
        return isinstance(value, (Tensor, int, float)) and isinstance(own, (Tensor, int, float))
    if isinstance(value, (bool, str)) or isinstance(own, (bool, str)) or value is None or own is None:
        return type(value) is type(own) or {type(value), type(own)} <= {bool, type(None)}
    if isinstance(value, (int, float)):
        return isinstance(own, (int, float)) and (
            abs(value) < 1 << 62 or (isinstance(value, float) and math.isfinite(value))
        )
    if isinstance(value, (list, tuple)):
        return isinstance(own, (list, tuple)) and len(value) == len(own) and all(map(_alike, value, own))
    if isinstance(value, dict) and isinstance(own, dict):
        return value.keys() == own.keys() and all(_alike(value[key], own[key]) for key in own)
    return type(value) is type(own)


def _check_schedule_types(states: object) -> None:
    for some in states.values() if isinstance(states, dict) else [states]:  # of several optimisers, by name
        if some is None:
            continue
        if not isinstance(some, list) or not all(
            isinstance(state, dict) and all(map(_is_text, state)) for state in some
        ):
            _refuse('param_schedulers')


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def check_schedules(schedulers: object, states: object) -> None:
    """Check that the schedules of a checkpoint are those of a config.

    Args:
        schedulers: The runner's schedulers: a list, or a dict of lists for several optimisers.
        states: The checkpoint's states, after :func:`check_resumable` has checked their types.

    Raises:
        CheckpointError: Their number, kinds, lengths or values differ.
    """
    if not schedulers:
        return
    if states is None:
        _refuse('param_schedulers', 'are missing')
    if isinstance(schedulers, dict):
        if not isinstance(states, dict) or states.keys() != schedulers.keys():
            _refuse('param_schedulers', 'belong to other optimisers')
        for name, some in schedulers.items():
            check_schedules(some, states[name])
        return
    if not isinstance(states, list) or len(states) != len(schedulers):
        _refuse('param_schedulers', f'are {len(states)} instead of {len(schedulers)}')
    for scheduler, state in zip(schedulers, states, strict=True):
        _check_schedule(scheduler.state_dict(), state)


def _check_schedule(own: dict, state: dict) -> None:
    differ = {name for name in state.keys() ^ own.keys() if name != 'verbose'}
    differ |= {name for name in SCHEDULE & state.keys() & own.keys() if not _same(state[name], own[name])}
    if differ:
        _refuse('param_schedulers', f'differ from those of the config ({listed(sorted(map(str, differ)))})')
    wrong = [name for name in own.keys() & state.keys() if not _alike(state[name], own[name])]
    if wrong:
        _refuse(f'param_schedulers ({listed(sorted(wrong))})')


def _same(value: object, own: object) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(own, (list, tuple)):
        return list(value) == list(own)
    return value == own


# --- MMEngine's message hub -------------------------------------------------------------------------------------------

# Facts about the running process, which the stored ones would overwrite.
OWN_FACTS = ('cfg', 'seed', 'experiment_name', 'mmengine_version', 'dataset_meta')


def _check_hub(runner: Runner, hub: object) -> None:
    """Check the message hub of a checkpoint, and remove its paths to files that are not the run's own."""
    if not isinstance(hub, dict):
        _refuse('message_hub')
    for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
        if not isinstance(hub.get(part), dict) or not all(isinstance(key, str) for key in hub[part]):
            _refuse(f'message_hub.{part}')
    hub['log_scalars'] = {key: value for key, value in hub['log_scalars'].items() if isinstance(value, HistoryBuffer)}
    files, info = RunFiles.of(runner), hub['runtime_info']
    for key in [key for key in info if key in OWN_FACTS]:
        del info[key]
    _check_kept(info)
    for key in [key for key in info if key.startswith(('best_ckpt', 'last_ckpt'))]:
        name = Path(info[key]).name if isinstance(info[key], str) else ''
        fits = BEST.fullmatch(name) if key.startswith('best_ckpt') else files.is_step(name)
        if fits and is_own_file(files.folder, own := os.path.join(files.folder, name)):
            info[key] = own
        else:
            del info[key]
            if key.startswith('best_ckpt') and is_main_process():
                runner.logger.info(
                    f'The best checkpoint so far is not in {files.folder}; the next better one will be saved.'
                )
    # MMEngine fixes once whether a key is saved; a different value would end the run at the key's next update.
    known = runner.message_hub._resumed_keys
    present = info.keys() | hub['log_scalars'].keys() | runner.message_hub.runtime_info.keys()
    hub['resumed_keys'] = {key: known.get(key, True) for key in hub['resumed_keys'] if key in present}


def _check_kept(info: dict) -> None:
    for key, value in info.items():
        if key.startswith('best_score') and not (type(value) in (int, float) and math.isfinite(value)):
            _refuse(f'message_hub ({key})', 'is not a finite number')
        if key in ('epoch', 'iter', 'max_epochs', 'max_iters', 'last_validated') and type(value) is not int:
            _refuse(f'message_hub ({key})')
    kept = info.get('keep_ckpt_ids', [])
    if not isinstance(kept, list) or not all(type(step) is int and 0 <= step < 1 << 62 for step in kept):
        _refuse('message_hub (keep_ckpt_ids)')
