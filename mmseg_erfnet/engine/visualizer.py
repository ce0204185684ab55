"""Visualizer and backend for the scalars and pictures of a run, compatible with MMSegmentation's own tools."""

from mmengine.visualization import LocalVisBackend
from mmseg.visualization import SegLocalVisualizer

from mmseg_erfnet.registry import VISBACKENDS, VISUALIZERS

LEARNING, SCORES = ('loss', 'lr'), ('mIoU', 'mAcc', 'aAcc')


@VISUALIZERS.register_module()
class RunVisualizer(SegLocalVisualizer):
    """MMSegmentation's visualizer, with a unique default name.

    MMEngine requires a name and returns the same visualizer for the same name, so the second run of a process would log
    to the folder of the first. If the config has no name, MMEngine's ``Runner`` sets one, but MMSegmentation's
    browse_dataset does not.
    """

    @classmethod
    def get_instance(cls, name: str = '', **kwargs) -> 'RunVisualizer':
        """Return the visualizer with the given name, or a new one if no name is given."""
        return super().get_instance(name or f'visualizer {len(cls._instance_dict) + 1}', **kwargs)


@VISBACKENDS.register_module()
class RunVisBackend(LocalVisBackend):
    """MMEngine's ``LocalVisBackend``, whose ``scalars.json`` also has the names that MMSegmentation documents.

    Scalars are named ``train/loss``, ``val/mIoU`` and so on. MMSegmentation's analyze_logs expects ``loss`` and
    ``mIoU`` for the training loss and the validation metrics.
    """

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None) -> None:
        """Write a line of scalars."""
        # Not the metrics of TrainScoreHook on training frames.
        learning, plain = 'train/lr' in scalar_dict, {}
        for name, value in scalar_dict.items():
            part, _, rest = name.partition('/')
            meant = (
                rest in LEARNING or '.' in rest if learning and part == 'train' else part == 'val' and rest in SCORES
            )
            if meant:
                plain[rest] = value
        super().add_scalars({**scalar_dict, **plain}, step, file_path)
