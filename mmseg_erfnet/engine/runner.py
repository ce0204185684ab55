"""MMEngine's ``Runner`` with a short console, a log of its own, and weights that fit or are refused."""

import logging
import re

from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader, Runner

from mmseg_erfnet.engine.checkpointing import check_loaded, check_schedules, prepare_loading, purpose_of_loading
from mmseg_erfnet.errors import CheckpointError, UserError
from mmseg_erfnet.models.building import load_weights

# What mmengine logs about itself, some 700 lines before the first iteration.
DETAILS = re.compile(
    r'\n-+\nSystem environment|Config:\n|Hooks will be executed|Distributed training is not used|paramwise_options -- |'
    r'Exp name: |The prefix is not set|"FileClient" will be|"HardDiskBackend" is'
)


class SafeRunner(Runner):
    """MMEngine's ``Runner``, with three differences.

    - Its details are in the log file alone, not on the console too.
    - Each run has a log of its own. MMEngine names a run, and its logger, by config and second: a second run of that
      second in one process would write to the first one's log.
    - Weights are loaded by :func:`mmseg_erfnet.models.building.load_weights`, which refuses what does not fit, where
      MMEngine warns and continues with random weights.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Do what MMEngine's ``Runner`` does, and give the run a time stamp that no logger of this process has."""
        super().setup_env(env_cfg)
        second, number = self._timestamp, 1
        while any(name.endswith(self._timestamp) for name in MMLogger._instance_dict):
            number += 1
            self._timestamp = f'{second}_{number}'

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build what MMEngine's ``Runner`` builds, and say where its file is."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_no_detail)
        logger.info(f'Config, environment and more: {logger.log_file}')
        return logger

    def load_checkpoint(self, filename: str, map_location='cpu', strict: bool = False, revise_keys: list = ()) -> dict:
        """Load a checkpoint into the model.

        Args:
            filename: Path or URL.
            map_location: As in ``torch.load``.
            strict: Without effect: what must fit follows from what the checkpoint is loaded for.
            revise_keys: Without effect: prefixes are stripped when the file is loaded.

        Raises:
            CheckpointError: The file cannot be loaded, or does not fit.
        """
        checkpoint = CheckpointLoader.load_checkpoint(filename, map_location)
        # Before any hook uses it: EMAHook puts weights into its own model.
        check_loaded(self, checkpoint)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        # After them: a hook may put another schedule into it.
        check_schedules(self, checkpoint)
        purpose = purpose_of_loading(self)
        said = load_weights(self.model, checkpoint, partly=purpose == 'start')
        if purpose == 'test':
            # EMAHook looks for other names inside test-time augmentation, finds none, and would test random weights.
            for hook in self.hooks:
                if isinstance(hook, EMAHook):
                    load_weights(hook.ema_model.module, checkpoint)
        self._has_loaded = True
        self.logger.info(f'{filename}: {said}.')
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Continue a run from a checkpoint, as MMEngine's ``Runner`` does.

        Raises:
            CheckpointError: The file cannot be loaded, or its run is none that this config can continue.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except UserError:
            raise
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            # What check_loaded does not know of: the state of an optimiser or a schedule of the user's own.
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
