"""The interface of all backends: libraries that run exported models."""

from pathlib import Path

import numpy as np

from mmseg_erfnet.deploy.metadata import REMEDY, read_files
from mmseg_erfnet.errors import UsageError


class Backend:
    """A model in the format of one library. A subclass sets the class attributes and defines the methods below.

    Args:
        path: The file that names the model.
        device: 'CPU', or another device of the library.
        threads: Number of CPU threads per prediction. By default, the library uses all cores.
        precision: 'f32' or None; OpenVINO also has 'bf16'.
        contents: The model's files by suffix, if they have already been read.
        side_by_side: Run calls from several threads side by side, each on its share of the cores, if the library can:
            more frames per second, but more time for each.
        **options: Further options of the library.

    Raises:
        UsageError: The library is not installed, cannot read the file, or lacks the device or the precision.
    """

    NAME = PACKAGE = ''  # of the library, and of what pip installs
    ERRORS: tuple[type[Exception], ...] = (RuntimeError, ValueError)  # raised for a file that the library cannot read
    PRECISIONS = ('f32',)
    precision = 'f32'
    parallel = 1  # number of calls that run side by side

    def __init__(
        self,
        path: str | Path,
        device: str = 'CPU',
        threads: int | None = None,
        precision: str | None = None,
        contents: dict[str, bytes] | None = None,
        side_by_side: bool = False,
        **options,
    ) -> None:
        path = Path(path)
        if precision not in (None, *self.PRECISIONS):
            hint = '' if len(self.PRECISIONS) > 1 else '. Use the OpenVINO format'
            only = ' or '.join(self.PRECISIONS)
            raise UsageError(f'{self.NAME} runs {path} only in {only}: got {precision}{hint}.')
        contents = contents or read_files(path)
        self.side_by_side = side_by_side
        try:
            self._load(path, contents, device, threads, precision, **options)
        except ImportError as error:
            raise UsageError(f'{path} needs {self.NAME}: pip install {self.PACKAGE}.') from error
        except UsageError:
            raise
        except self.ERRORS as error:
            raise UsageError(
                f'{self.NAME} cannot read {path}: it is damaged or from a newer version; {REMEDY}.'
            ) from error

    def _load(
        self, path: Path, contents: dict[str, bytes], device: str, threads: int | None, precision: str | None, **options
    ) -> None:
        raise NotImplementedError

    def metadata(self, key: str) -> str | None:
        """Return the text that the model stores under a key."""
        raise NotImplementedError

    def run(self, frames: np.ndarray) -> np.ndarray:
        """Run the model on frames, uint8 (N, H, W, 3), and return its output."""
        raise NotImplementedError
