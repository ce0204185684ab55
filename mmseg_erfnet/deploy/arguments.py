"""What the tools of deployment share."""

import argparse
import contextlib
import re
from collections.abc import Iterator

from mmseg_erfnet.errors import UsageError

# What `tools/benchmark.py` measures beside MMSegmentation's own ERFNet.
ROWS = ('ours', 'folded', 'bf16', 'compiled', 'onnxruntime', 'openvino-f32', 'openvino-bf16', 'openvino-int8', 'cuda')


def size(text: str) -> tuple[int, int]:
    """Read a size, height first, such as 360x480."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or not all(map(int, match.groups())):
        raise argparse.ArgumentTypeError(f'a size is height x width, as in 360x480: got {text!r}')
    return int(match[1]), int(match[2])


@contextlib.contextmanager
def export_packages() -> Iterator[None]:
    """Name the remedy where an import inside misses a package that makes models."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f'This needs {error.name}: pip install "mmseg_erfnet[export]".') from error
