"""Per-class metrics of the best and the last validation."""

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from prettytable import PrettyTable

from mmseg_erfnet.engine.log_processor import BEST, step_of
from mmseg_erfnet.registry import HOOKS

CLASSES = 'classes_at_best'  # kept in the message hub, so that a resumed run still has them


@HOOKS.register_module()
class ClassTableHook(Hook):
    """Print per-class IoU and accuracy of the best and the last validation when training ends.

    Classes that are neither labelled nor predicted are left out.
    """

    priority = 'LOW'  # after the logging hook, which determines the best validation

    def __init__(self) -> None:
        self.last: dict = {}

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        unit, step = step_of(runner)
        scores = {name: float(value) for name, value in (metrics or {}).items() if name.startswith(('IoU/', 'Acc/'))}
        self.last = dict(unit=unit, step=step, scores=scores)
        if not isinstance(runner._train_loop, BaseLoop):
            self.after_train(runner)  # runner.val() without training
            return
        best = runner.message_hub.runtime_info.get(BEST)
        if best is not None and best[2] == step:
            runner.message_hub.update_info(CLASSES, self.last)

    def after_train(self, runner: Runner) -> None:
        found = [runner.message_hub.runtime_info.get(CLASSES), self.last]
        found = [entry for entry in found if entry and entry['scores']]
        if found:
            runner.logger.info(f'\n{_table(found[:1] if found[0] == found[-1] else found)}')


def _table(validations: list[dict]) -> PrettyTable:
    titles = [f'{name} %, {entry["unit"]} {entry["step"]}' for entry in validations for name in ('IoU', 'Acc')]
    table = PrettyTable(['class', *titles], align='r')
    table.align['class'] = 'l'
    classes = dict.fromkeys(name.partition('/')[2] for entry in validations for name in entry['scores'])
    for name in classes:
        values = [entry['scores'].get(f'{kind}/{name}') for entry in validations for kind in ('IoU', 'Acc')]
        table.add_row([name, *('-' if value is None else f'{value:.2f}' for value in values)])
    return table
