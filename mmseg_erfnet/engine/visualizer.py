"""Where scalars and pictures of a run go to, for MMSegmentation's own tools too."""

from mmengine.visualization import LocalVisBackend
from mmseg.visualization import SegLocalVisualizer

from mmseg_erfnet.registry import VISBACKENDS, VISUALIZERS

LEARNING, SCORES = ('loss', 'lr'), ('mIoU', 'mAcc', 'aAcc')


@VISUALIZERS.register_module()
class RunVisualizer(SegLocalVisualizer):
    """MMSegmentation's visualizer; built without a name, it gets one of its own.

    MMEngine's needs a name, and hands the same visualizer out again to whoever asks by that name: the second run of a
    process would log into the first one's folder. Without a name in the config MMEngine's ``Runner`` gives one, but
    MMSegmentation's browse_dataset does not.
    """

    @classmethod
    def get_instance(cls, name: str = '', **kwargs) -> 'RunVisualizer':
        """Return the visualizer of a name; without one, a new visualizer."""
        return super().get_instance(name or f'visualizer {len(cls._instance_dict) + 1}', **kwargs)


@VISBACKENDS.register_module()
class RunVisBackend(LocalVisBackend):
    """MMEngine's ``LocalVisBackend``, whose ``scalars.json`` also has the names that MMSegmentation documents.

    Scalars are called ``train/loss``, ``val/mIoU`` and so on. MMSegmentation's analyze_logs asks for ``loss`` and
    ``mIoU``: the loss of training, and the scores of validation.
    """

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None) -> None:
        """Write a line of scalars."""
        # Training frames without augmentation have scores of their own, which are not meant.
        learning, plain = 'train/lr' in scalar_dict, {}
        for name, value in scalar_dict.items():
            part, _, rest = name.partition('/')
            meant = (
                rest in LEARNING or '.' in rest if learning and part == 'train' else part == 'val' and rest in SCORES
            )
            if meant:
                plain[rest] = value
        super().add_scalars({**scalar_dict, **plain}, step, file_path)
