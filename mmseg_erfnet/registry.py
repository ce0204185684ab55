"""Child registries of MMSegmentation's, with the scope ``mmseg_erfnet``.

MMEngine imports this module automatically when a config contains ``type='mmseg_erfnet.X'``, and then looks for X in the
locations below. Names that are not found here are looked up in the parent, MMSegmentation's registry of the same name.
"""

try:
    from mmseg import registry as parents
except ImportError as error:
    raise ImportError(
        'mmseg_erfnet needs MMSegmentation, which cannot be imported here '
        f'({error}). Install the maintained distribution with `pip install "mmseg_erfnet[onedl]"`, or '
        'OpenMMLab\'s own with `pip install "mmseg_erfnet[openmmlab]"`, but not both.'
    ) from error

from mmengine.registry import FUNCTIONS as functions  # MMSegmentation has no child registry of this one
from mmengine.registry import Registry

SCOPE = 'mmseg_erfnet'


def _child(parent: Registry, *locations: str) -> Registry:
    # A lookup in the parent does not import the parent's modules, so they are listed here too.
    locations = [*parent._locations, *(f'{SCOPE}.{name}' for name in locations)]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child(parents.MODELS, 'models')
DATASETS = _child(parents.DATASETS, 'datasets')
TRANSFORMS = _child(parents.TRANSFORMS, 'datasets.transforms')
METRICS = _child(parents.METRICS, 'evaluation')
HOOKS = _child(parents.HOOKS, 'engine')
LOG_PROCESSORS = _child(parents.LOG_PROCESSORS, 'engine')
OPTIM_WRAPPERS = _child(parents.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(parents.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
FUNCTIONS = _child(functions, 'engine')
VISBACKENDS = _child(parents.VISBACKENDS, 'engine')
VISUALIZERS = _child(parents.VISUALIZERS, 'engine')

# These contain nothing of ours. They exist so that `default_scope = 'mmseg_erfnet'` finds MMSegmentation's classes.
DATA_SAMPLERS = _child(parents.DATA_SAMPLERS)
EVALUATOR = _child(parents.EVALUATOR)
INFERENCERS = _child(parents.INFERENCERS)
LOOPS = _child(parents.LOOPS)
MODEL_WRAPPERS = _child(parents.MODEL_WRAPPERS)
OPTIMIZERS = _child(parents.OPTIMIZERS)
PARAM_SCHEDULERS = _child(parents.PARAM_SCHEDULERS)
RUNNER_CONSTRUCTORS = _child(parents.RUNNER_CONSTRUCTORS)
RUNNERS = _child(parents.RUNNERS)
TASK_UTILS = _child(parents.TASK_UTILS)
WEIGHT_INITIALIZERS = _child(parents.WEIGHT_INITIALIZERS)
