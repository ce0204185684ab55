"""Mixed precision: check whether it is faster on this machine, and enable it in a config."""

import os
import platform
from copy import deepcopy

import torch
from mmengine.config import Config
from torch import nn

from mmseg_erfnet.environment import machine
from mmseg_erfnet.errors import UsageError

# ONEDNN_MAX_CPU_ISA limits the instructions that oneDNN uses; these values still allow those for bfloat16.
BFLOAT16_ISAS = ('BF16', 'FP16', 'AMX', 'AVX10', 'ALL', 'DEFAULT')


def fast_bfloat16() -> bool:
    """Return whether the CPU has instructions that multiply bfloat16: AVX-512 BF16, AMX, or Arm's BF16.

    Without them, oneDNN emulates bfloat16: training was 1.9 times slower than in float32 with plain AVX-512, and 7.8
    times slower with AVX2.
    """
    cap = (os.environ.get('ONEDNN_MAX_CPU_ISA') or os.environ.get('DNNL_MAX_CPU_ISA') or 'ALL').upper()
    if not any(name in cap for name in BFLOAT16_ISAS):
        return False
    # torch.ops.mkldnn._is_mkldnn_bf16_supported() is also True on plain AVX-512. Not every torch has these.
    probes = [getattr(torch.cpu, f'_is_{name}_supported', None) for name in ('avx512_bf16', 'amx_tile')]
    if platform.machine().lower() in ('x86_64', 'amd64') and all(probes):
        return any(probe() for probe in probes)
    return bool({'avx512_bf16', 'amx_bf16', 'bf16'} & set(machine()['flags']))


def _gpu_has_bfloat16() -> bool:
    """Return whether the GPU computes in bfloat16. Older ones, up to Turing, emulate it, slower than float32."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def amp_advice() -> tuple[bool, str]:
    """Return whether ``--amp`` is worthwhile on this machine, and a sentence that explains why."""
    if torch.cuda.is_available():
        kind = 'bfloat16' if _gpu_has_bfloat16() else 'float16 with loss scaling'
        return True, f'--amp trains in {kind} on the GPU.'
    if fast_bfloat16():
        return True, '--amp trains in bfloat16, for which this CPU has instructions.'
    return False, (
        '--amp would slow down training on this CPU, which has no instructions for bfloat16 (AVX-512 BF16 or AMX): '
        'training is in float32.'
    )


def use_amp(cfg: Config) -> Config:
    """Return a copy of a config with the mixed-precision optimiser wrapper that suits the device.

    Raises:
        UsageError: The config uses another type of wrapper, and replacing it would lose its effect.
    """
    cfg = deepcopy(cfg)
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    ours = 'mmseg_erfnet.BFloat16OptimWrapper'
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', ours):
        raise UsageError(f'--amp cannot replace an optim_wrapper of type {kind}; set the type in the config.')
    if torch.cuda.is_available() and not _gpu_has_bfloat16():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = ours
        for name in ('loss_scale', 'dtype'):  # AmpOptimWrapper's
            cfg.optim_wrapper.pop(name, None)
    return cfg


def to_channels_last(model: nn.Module) -> bool:
    """Convert a model's weights to the channels-last layout for bfloat16 convolutions; return whether that was done.

    Layers from outside PyTorch may flatten their weights with ``view``, as MMCV's ConvWS and ConvAWS do, which this
    layout does not allow. A model with such a layer is left unchanged.
    """
    for module in model.modules():
        own = [value for value in module.parameters(recurse=False) if value.ndim == 4]
        if own and not type(module).__module__.startswith('torch.nn.'):
            return False
    model.to(memory_format=torch.channels_last)
    return True
