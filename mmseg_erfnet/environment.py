"""The machine and the package versions with which a result was computed. Needs only Python."""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path

from mmseg_erfnet import __version__

# Either OneDL's or OpenMMLab's family is installed.
DISTRIBUTIONS = (
    'onedl-mmsegmentation',
    'onedl-mmcv',
    'onedl-mmengine',
    'mmsegmentation',
    'mmcv',
    'mmengine',
    'torch',
    'numpy',
    'opencv-python',
    'onnx',
    'onnxruntime',
    'openvino',
    'nncf',
)
CPU_FLAGS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimd', 'bf16')


def version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of this package and of its installed dependencies."""
    installed = {name: version(name) for name in DISTRIBUTIONS}
    return {'mmseg_erfnet': __version__, **{name: number for name, number in installed.items() if number}}


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def machine() -> dict:
    """Return ``cpu`` (its name), ``flags`` (those that affect speed), ``cores`` and ``gpu`` (its name, or '')."""
    name, flags = platform.processor() or platform.machine(), []
    with contextlib.suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        facts = dict(line.split(':', 1) for line in lines if ':' in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        name = facts.get('model name', name)
        flags = [flag for flag in CPU_FLAGS if flag in facts.get('flags', facts.get('Features', '')).split()]
    return dict(cpu=name, flags=flags, cores=os.cpu_count(), gpu=', '.join(_gpus()))


def _gpus() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def describe_environment() -> dict[str, str]:
    """Return descriptions of the machine and the versions, for a report."""
    found = machine()
    return {
        'machine': f'{platform.system()} {platform.machine()}, {found["cpu"]}, {found["cores"]} CPU cores',
        'GPU': found['gpu'] or 'none',
        'Python': platform.python_version(),
        **versions(),
    }
