"""MMEngine's ``Runner`` with short console output, a separate log per run, and strict checks of weights."""

import logging
import re
from copy import deepcopy

from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner

from mmseg_erfnet.engine.checkpointing import check_loaded, check_schedules, prepare_loading, purpose_of_loading
from mmseg_erfnet.errors import CheckpointError, UserError
from mmseg_erfnet.mmseg_import import flush_denormals
from mmseg_erfnet.models.building import load_weights

# Messages of mmengine about itself, some 700 lines before the first iteration.
DETAILS = re.compile(
    r'\n-+\nSystem environment|Config:\n|Hooks will be executed|Distributed training is not used|paramwise_options -- |'
    r'Exp name: |Loads checkpoint by |The prefix is not set|"FileClient" will be|"HardDiskBackend" is'
)


class _FormattedOnce(Config):
    """A config that keeps its text: MMEngine formats it for each logger and each checkpoint, in 0.3 s."""

    @property
    def pretty_text(self) -> str:
        content = repr(self._cfg_dict)
        if self.__dict__.get('_formatted', (None,))[0] != content:
            self.__dict__['_formatted'] = content, super().pretty_text
        return self.__dict__['_formatted'][1]


class SafeRunner(Runner):
    """MMEngine's ``Runner``, with three differences.

    - Details go only to the log file, not to the console.
    - Each run has its own log. MMEngine names a run and its logger by config and second, so a second run that the same
      process starts within that second would write to the log of the first.
    - Weights are loaded by :func:`mmseg_erfnet.models.building.load_weights`, which refuses weights that do not fit;
      MMEngine only warns and continues with random weights.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """Build a runner as MMEngine does."""
        cfg = deepcopy(cfg)
        object.__setattr__(cfg, '__class__', _FormattedOnce)
        return super().from_cfg(cfg)

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment as MMEngine's ``Runner`` does, with a timestamp that is unique in this process.

        The CPU also treats denormal numbers as zero; see :func:`~mmseg_erfnet.mmseg_import.flush_denormals`.
        """
        flush_denormals()
        super().setup_env(env_cfg)
        second, number = self._timestamp, 1
        while any(name.endswith(self._timestamp) for name in (*MMLogger._instance_dict, *DefaultScope._instance_dict)):
            number += 1
            self._timestamp = f'{second}_{number}'

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger as MMEngine's ``Runner`` does, and log the path of its file."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_no_detail)
            else:
                # On a full disk, logging would print a traceback for each line; the next checkpoint tells it better.
                handler.handleError = lambda record: None
        logger.info(f'Config, environment and more: {logger.log_file}')
        return logger

    def load_checkpoint(self, filename: str, map_location='cpu', strict: bool = False, revise_keys: list = ()) -> dict:
        """Load a checkpoint into the model.

        Args:
            filename: Path or URL.
            map_location: As in ``torch.load``.
            strict: No effect: the purpose of loading determines what must fit.
            revise_keys: No effect: prefixes are stripped when the file is loaded.

        Raises:
            CheckpointError: The file cannot be loaded, or does not fit.
        """
        checkpoint = CheckpointLoader.load_checkpoint(filename, map_location)
        # Before any hook uses it: EMAHook loads weights into its own model.
        check_loaded(self, checkpoint)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        # After the hooks, one of which may replace its schedule.
        check_schedules(self, checkpoint)
        purpose = purpose_of_loading(self)
        said = load_weights(self.model, checkpoint, partly=purpose == 'start')
        if purpose == 'test':
            # Inside test-time augmentation, EMAHook expects other names, finds none, and would test random weights.
            for hook in self.hooks:
                if isinstance(hook, EMAHook):
                    load_weights(hook.ema_model.module, checkpoint)
        self._has_loaded = True
        self.logger.info(f'{filename}: {said}.')
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Continue a run from a checkpoint, as MMEngine's ``Runner`` does.

        Raises:
            CheckpointError: The file cannot be loaded, or its run cannot be resumed with this config.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except UserError:
            raise
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Not covered by check_loaded: the state of a custom optimiser or schedule.
            reason = next(iter(str(error).splitlines()), '') or type(error).__name__
            raise CheckpointError(
                f'{filename} cannot be resumed with this config ({reason[:200]}): use the config of its run, or start '
                'a new run from its weights with --cfg-options load_from=FILE.'
            ) from error

    def _init_model_weights(self) -> None:
        prepare_loading(self)
        super()._init_model_weights()


def _is_no_detail(record: logging.LogRecord) -> bool:
    return not DETAILS.match(record.getMessage())
