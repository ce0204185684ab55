"""Run training and testing from a config file; the command-line tools call these functions.

A config specifies what is trained. This module decides how to run it on this machine: one process or several, GPU or
CPU, float32 or mixed precision, a shortened schedule, test-time augmentation.
"""

import datetime
import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook, IterTimerHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmseg_erfnet.engine.amp import amp_advice, to_channels_last, use_amp
from mmseg_erfnet.engine.argument_types import check_numbers
from mmseg_erfnet.engine.checkpointing import (
    checkpoint_to_resume,
    full_disk_reported,
    latest_checkpoint,
    own_work_dir,
)
from mmseg_erfnet.engine.config_file import check_entries, read_config, require_entries, stated_costs
from mmseg_erfnet.engine.feeding import copy_without_waiting, feed_gpu, use_fused_optimizer
from mmseg_erfnet.engine.log_processor import decimals
from mmseg_erfnet.engine.memory import keep_freed_memory
from mmseg_erfnet.engine.options import merge_options
from mmseg_erfnet.engine.preflight import check_loader, check_room, check_scored, check_training
from mmseg_erfnet.engine.runner import SafeRunner
from mmseg_erfnet.engine.runs import are_metrics, check_own_files, checkpoint_to_test, writing_reported
from mmseg_erfnet.engine.schedule import shorten
from mmseg_erfnet.engine.shared_memory import LOADERS, fit_loaders
from mmseg_erfnet.engine.tta import use_tta
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.evaluation import scoring_arguments
from mmseg_erfnet.files import check_targets, folder_for, write_bytes, write_text
from mmseg_erfnet.models.checkpoints import install_safe_loading

# Not used in a test: the first needs a training loop; the averages of the second are already in the checkpoint.
TRAINING_HOOKS = tuple(f'{scope}{name}' for name in ('EarlyStoppingHook', 'EMAHook') for scope in ('', 'mmengine.'))


def load_config(path: str, work_dir: str | None = None, options: dict | None = None, launcher: str = 'none') -> Config:
    """Read a config.

    Args:
        path: The config file.
        work_dir: Folder for everything that the run writes. By default, the config's own ``work_dir`` or
            ``work_dirs/<name of the config>``.
        options: Values that override the config's entries, by dotted key, as given to ``--cfg-options``.
        launcher: What started the processes: 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        The config, with ``work_dir`` and ``launcher`` set. This function starts nothing; :func:`train` and
        :func:`evaluate` do.

    Raises:
        UsageError: The file does not exist, is not an MMSegmentation 1.x config, or an option does not fit it.
    """
    cfg, options = read_config(path), dict(options or {})
    for name in LOADERS:
        # persistent_workers requires workers.
        if options.get(f'{name}.num_workers') == 0 and (cfg.get(name) or {}).get('persistent_workers'):
            options.setdefault(f'{name}.persistent_workers', False)
    cfg = merge_options(cfg, options)
    check_entries(cfg)
    check_numbers(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    cfg.launcher = launcher
    return cfg


def _for_this_machine(cfg: Config) -> Config:
    """Return a copy of a config adapted to this machine; without GPUs, also set up the process group of a launcher."""
    cfg = deepcopy(cfg)
    fit_loaders(cfg)
    if cfg.get('launcher', 'none') == 'none':
        return cfg
    if torch.cuda.is_available():
        cfg.sync_bn = 'torch'
        return cfg
    # mmengine's launcher would call torch.cuda.set_device, and its wrapper would pass device ids to DDP.
    _set_rendezvous(cfg.launcher)
    if not torch.distributed.is_initialized():
        timeout = cfg.env_cfg.get('dist_cfg', {}).get('timeout', 1800)
        torch.distributed.init_process_group('gloo', timeout=datetime.timedelta(seconds=timeout))
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    cfg.model = _replace_sync_bn(cfg.model)
    # In each process, BN sees only part of the batch, so its statistics are averaged before validation and saving.
    _add_hook(cfg, type='SyncBuffersHook')
    return cfg


def _set_rendezvous(launcher: str) -> None:
    """Set the environment variables that torch.distributed reads from those that Slurm or MPI provides."""
    names = dict(
        slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
        mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    ).get(launcher)
    if names:
        missing = [name for name in names if name not in os.environ]
        if missing:
            raise UsageError(
                f'--launcher {launcher} finds no {", ".join(missing)} in the environment: start it with '
                f'{"srun" if launcher == "slurm" else "mpirun"}, or use --launcher none.'
            )
        for target, name in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names, strict=True):
            os.environ[target] = os.environ[name]
        os.environ.setdefault('MASTER_PORT', '29500')
        if launcher == 'slurm' and 'SLURM_NODELIST' in os.environ:
            # "node[01-04,07]" or "a,b": the first node is where rank 0 runs.
            first = re.sub(r'\[(\d+)[^]]*\]', r'\1', os.environ['SLURM_NODELIST'])
            os.environ.setdefault('MASTER_ADDR', first.split(',')[0])
    if 'RANK' not in os.environ or 'MASTER_ADDR' not in os.environ:
        raise UsageError(
            f'--launcher {launcher} finds no RANK and MASTER_ADDR in the environment: start it with '
            'torchrun, as in `torchrun --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch`, or '
            'use --launcher none.'
        )


def _replace_sync_bn(node):
    """Return a config with BN in place of SyncBN, which needs GPUs."""
    if isinstance(node, dict):
        for key, value in node.items():
            node[key] = 'BN' if key == 'type' and value == 'SyncBN' else _replace_sync_bn(value)
    elif isinstance(node, (list, tuple)):
        return type(node)(_replace_sync_bn(value) for value in node)
    return node


def train(
    cfg: Config,
    amp: bool = False,
    resume: bool | str = False,
    epochs: int | None = None,
    trust_checkpoint: bool = False,
) -> Runner:
    """Train and validate a model as specified by a config.

    Args:
        cfg: From :func:`load_config`; it is not changed.
        amp: Use mixed precision: bfloat16 if the device supports it, else float16 with loss scaling; float32 on a CPU
            where mixed precision would be slower.
        resume: Resume the run in the work dir, from its last checkpoint or from the one given. If the work dir has no
            checkpoint, start a new run.
        epochs: Rescale the whole schedule, including learning rates, to this many epochs. A resumed run then has the
            learning rates of a fresh run of that length.
        trust_checkpoint: Load checkpoints that contain more than data, and can run code from whoever wrote them.

    Returns:
        The runner, after training.

    Raises:
        UsageError: The checkpoint to start or resume from is missing, or is past the end of the schedule, or a file in
            the work dir would be replaced that no run wrote.
        DataError: The splits overlap, or labels hold colours instead of class numbers.
        CheckpointError: A checkpoint is damaged, contains more than data, or belongs to another model.
        StorageError: A file of the run cannot be written.
        DivergenceError: The loss is NaN or infinite.
    """
    require_entries(cfg, 'training', 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    check_own_files(cfg.work_dir, cfg.filename)
    with folder_for(cfg.work_dir):
        install_safe_loading(trust=trust_checkpoint)
        return _train(cfg, amp, resume, epochs)


def _train(cfg: Config, amp: bool, resume: bool | str, epochs: int | None) -> Runner:
    keep_freed_memory()
    cfg, notes = _for_this_machine(cfg), []
    if epochs is not None:
        cfg = shorten(cfg, epochs)
    if amp:
        amp, said = amp_advice()
        notes += [] if amp else [said]
    if amp:
        cfg = use_amp(cfg)
    cfg = feed_gpu(use_fused_optimizer(cfg))
    if resume:
        notes += _resume(cfg, resume)
    costs = stated_costs(cfg)
    if costs and epochs is None and not cfg.get('resume'):
        notes.append(f'The whole schedule costs: {costs}')
    _check_load_from(cfg)
    # --resume without a checkpoint starts a run; a best checkpoint may be left of it if it was stopped early.
    continued = cfg.get('resume') and (cfg.get('load_from') or True)
    lock = own_work_dir(cfg, continued or bool(resume), cfg.get('launcher', 'none'))
    with full_disk_reported(cfg), writing_reported(cfg.work_dir), lock:
        runner = SafeRunner.from_cfg(cfg)
        check_training(cfg, runner)
        for note in notes:
            runner.logger.info(note)
        _report_batch_size(cfg, runner)
        if amp:
            # bfloat16 convolutions then need no layout conversion: 1.2 times as fast on a CPU with AVX-512.
            to_channels_last(runner.model)
        copy_without_waiting(runner.model)
        started = time.monotonic()
        runner.train()
        _report_share(runner, time.monotonic() - started)
    return runner


def _add_hook(cfg: Config, **hook) -> None:
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), hook]


def _resume(cfg: Config, resume: bool | str) -> list[str]:
    """Set a config to resume a run; return the notes to log.

    If the work dir has no checkpoint, training starts from scratch, as in MMEngine, so that a job that is stopped and
    restarted can use the same command every time.
    """
    named = isinstance(resume, str)
    if named:
        checkpoint = latest_checkpoint(resume) if Path(resume).is_dir() else resume
    else:
        checkpoint = checkpoint_to_resume(cfg)
    if checkpoint is None:
        if named:
            raise UsageError(
                f'There is no checkpoint to resume from in {resume}; give a checkpoint or start without it.'
            )
        return [f'There is no checkpoint to resume from in {cfg.work_dir}: training starts.']
    cfg.resume, cfg.load_from = True, checkpoint
    _add_hook(cfg, type='mmseg_erfnet.ResumedScheduleHook')
    return []


def _report_share(runner: Runner, seconds: float) -> None:
    """Log the share of a run's time that did not go to training iterations."""
    for hook in runner.hooks:
        if isinstance(hook, IterTimerHook):
            share = 1 - hook.time_sec_tot / seconds
            runner.logger.info(f'Validation, checkpoints and pictures took {share:.1%} of {seconds:.0f} s.')


def _check_load_from(cfg: Config) -> None:
    path = cfg.get('load_from')
    if isinstance(path, str) and not cfg.get('resume') and '://' not in path and not Path(path).exists():
        raise UsageError(
            f'load_from of the config names {path}, which does not exist: run the training that writes it first, name '
            'other weights with --cfg-options load_from=FILE, or start without weights with load_from=None.'
        )


def _report_batch_size(cfg: Config, runner: Runner) -> None:
    tuned = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    processes, share = runner.world_size, cfg.train_dataloader.batch_size
    batch = processes * share
    if tuned and batch != tuned and not cfg.auto_scale_lr.get('enable'):
        rate = (cfg.optim_wrapper.get('optimizer') or {}).get('lr')
        if not isinstance(rate, (int, float)):  # a wrapper of several optimizers, or one without a learning rate
            return
        print_log(
            f'{processes} process{"es" if processes > 1 else ""} x batch {share} = {batch} images per iteration; this '
            f'config was tuned for {tuned}. Its learning rate of {rate:g} is not changed; --cfg-options '
            f'auto_scale_lr.enable=True scales it in proportion, to {rate * batch / tuned:g}.',
            logger='current',
        )


def evaluate(
    cfg: Config,
    checkpoint: str,
    tta: bool = False,
    tta_scales: Sequence[float] = (1.0,),
    out_dir: str | None = None,
    show_dir: str | None = None,
    trust_checkpoint: bool = False,
) -> dict:
    """Score a checkpoint on the config's test set; write ``metrics.json`` and ``report.html`` to the work dir.

    They replace those of an earlier test. Files of a training run in the same folder are kept: the test's config, its
    log and a second copy of ``metrics.json`` go into a folder named after the time. If no work dir is given,
    ``tools/test.py`` uses :func:`~mmseg_erfnet.engine.runs.work_dir_of_test`.

    Args:
        cfg: From :func:`load_config`; it is not changed.
        checkpoint: The checkpoint file, or the folder of a run; see
            :func:`~mmseg_erfnet.engine.runs.checkpoint_to_test`.
        tta: Average the predictions over the image and its mirror image; see :func:`mmseg_erfnet.engine.tta.use_tta`.
        tta_scales: Scales of test-time augmentation.
        out_dir: Where to write label maps, under the relative paths of the images.
        show_dir: Where to write pictures of input, ground truth and prediction, under the same paths.
        trust_checkpoint: See :func:`train`.

    Returns:
        The metrics, in percent; see :class:`mmseg_erfnet.evaluation.SegmentationMetric`.

    Raises:
        UsageError: The checkpoint does not exist, the config cannot be tested, or a file would be replaced that was not
            written by a test.
        DataError: No pixel of the test set is labelled.
        StorageError: A file cannot be written.
    """
    checkpoint = checkpoint_to_test(checkpoint)
    require_entries(cfg, 'testing', 'model', 'test_dataloader', 'test_cfg')
    inputs = filter(None, [cfg.filename, checkpoint])
    check_targets([Path(cfg.work_dir) / 'metrics.json'], inputs, are_metrics, 'work-dir')
    install_safe_loading(trust=trust_checkpoint)
    with ExitStack() as stack:
        for folder in filter(None, (cfg.work_dir, out_dir, show_dir)):
            stack.enter_context(folder_for(folder))
        return _evaluate(cfg, checkpoint, tta, tta_scales, out_dir, show_dir)


def _evaluate(
    cfg: Config,
    checkpoint: str,
    tta: bool,
    tta_scales: Sequence[float],
    out_dir: str | None,
    show_dir: str | None,
) -> dict:
    cfg = _for_this_machine(cfg)
    cfg.load_from, cfg.resume = str(checkpoint), False
    if tta:
        use_tta(cfg, tta_scales)
    dataset = cfg.test_dataloader.dataset
    cfg.test_evaluator = dict(
        **scoring_arguments(cfg.get('test_evaluator')),
        type='mmseg_erfnet.SegmentationMetric',
        out_file=str(Path(cfg.work_dir) / 'metrics.json'),
        out_meta=dict(
            tta=dict(flip=True, scales=list(tta_scales)) if tta else None,
            dataset=dataset.type,
            split=dataset.get('ann_file') or dataset.get('data_prefix', {}).get('img_path'),
            checkpoint=str(checkpoint),
        ),
    )
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook.type not in TRAINING_HOOKS]
    if not any(hook.type == 'mmseg_erfnet.ReportHook' for hook in cfg.get('custom_hooks', [])):
        _add_hook(cfg, type='mmseg_erfnet.ReportHook')
    if out_dir or show_dir:
        _add_hook(cfg, type='mmseg_erfnet.PredictionHook', out_dir=out_dir, show_dir=show_dir)
    # Testing needs none of these, and building them would require the training data.
    for name in (
        'train_dataloader',
        'val_dataloader',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'val_cfg',
        'val_evaluator',
    ):
        cfg[name] = None
    with writing_reported(cfg.work_dir):
        runner = _TestRunner.from_cfg(cfg)
        check_loader('test', runner.test_dataloader, runner.model)
        check_room(runner, {'test_dataloader': runner.test_dataloader})
        metrics = runner.test()
        check_scored(metrics, runner.test_dataloader.dataset)
        if is_main_process():
            # A copy that is kept: the next test replaces the file in the work dir.
            write_bytes(Path(runner.log_dir) / 'metrics.json', (Path(cfg.work_dir) / 'metrics.json').read_bytes())
    return metrics


class _TestRunner(SafeRunner):
    """A runner that does not overwrite a training run's config in the work dir."""

    @master_only
    def dump_config(self) -> None:
        write_text(Path(self.log_dir) / f'{Path(self.cfg.filename or "config").stem}.py', self.cfg.pretty_text)


def score_summary(cfg: Config, metrics: dict, out_dir: str | None = None, show_dir: str | None = None) -> str:
    """Summarise the main metrics after :func:`evaluate`, and where all metrics, label maps and pictures are."""
    lines = [
        '  '.join(f'{name} {metrics[name]:.2f}' for name in ('mIoU', 'mIoU_all', 'aAcc', 'mAcc')),
        f'All metrics: {Path(cfg.work_dir) / "metrics.json"}',
    ]
    lines += [f'{what}: {folder}' for what, folder in (('Label maps', out_dir), ('Pictures', show_dir)) if folder]
    return '\n'.join(lines) if is_main_process() else ''


def summary(runner: Runner) -> str:
    """Summarise, after training, where the last checkpoint is, and the best one by each metric."""
    hub = runner.message_hub
    lines = [f'Last checkpoint: {hub.get_info("last_ckpt")}'] if 'last_ckpt' in hub.runtime_info else []
    for hook in runner.hooks:
        chosen = getattr(hook, 'key_indicators', None) if isinstance(hook, CheckpointHook) else None
        for metric in chosen or ():
            suffix = f'_{metric}' if len(chosen) > 1 else ''
            path, score = (hub.runtime_info.get(f'best_{name}{suffix}') for name in ('ckpt', 'score'))
            if path is not None:
                lines.append(f'Best checkpoint: {path} ({metric} {float(score):.{decimals(metric)}f} on val)')
    return '\n'.join(lines) if is_main_process() else ''
