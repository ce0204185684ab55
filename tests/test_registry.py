"""Four look-ups, from any folder: which ERFNet a config gets depends only on its scope and its prefix."""

import subprocess
import sys
import textwrap

import pytest

OURS, STOCK = 'mmseg_erfnet.models.erfnet', 'mmseg.models.backbones.erfnet'


def run(code: str, folder) -> str:
    """Run code in a fresh interpreter in its own folder, because registries remember earlier imports."""
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


LOOK_UPS = [
    ('mmseg', 'mmseg_erfnet.ERFNet', OURS),
    ('mmseg', 'ERFNet', STOCK),
    ('mmseg_erfnet', 'ERFNet', OURS),
    ('mmseg_erfnet', 'mmseg.ERFNet', STOCK),
]
BUILD = """
from mmengine.registry import MODELS, DefaultScope

def build(scope, kind):
    with DefaultScope.overwrite_default_scope(scope):
        segmentor = MODELS.build(dict(
            type='EncoderDecoder', backbone=dict(type=kind),
            decode_head=dict(type='FCNHead', in_channels=16, channels=8, num_convs=1, num_classes=3)))
    return type(segmentor.backbone).__module__
"""


@pytest.mark.parametrize(('scope', 'kind', 'module'), LOOK_UPS)
def test_look_up_in_a_fresh_interpreter(scope, kind, module, tmp_path):
    assert run(f'{BUILD}\nprint(build({scope!r}, {kind!r}))', tmp_path) == module


# The effect of `custom_imports` in a config: it is not needed, and must do no harm.
@pytest.mark.parametrize('imports', ['mmseg_erfnet.models', 'mmseg.models'])
def test_look_ups_do_not_depend_on_each_other_or_on_imports(imports, tmp_path):
    asked = [look_up[:2] for look_up in LOOK_UPS]
    found = run(f'import {imports}\n{BUILD}\nprint(*[build(*pair) for pair in {asked} + {asked[::-1]}])', tmp_path)
    modules = [look_up[2] for look_up in LOOK_UPS]
    assert found.split() == modules + modules[::-1]


def test_what_is_mmsegs_is_found_through_ours(tmp_path):
    wanted = dict(
        MODELS='EncoderDecoder',
        DATASETS='ADE20KDataset',
        TRANSFORMS='ResizeToMultiple',
        HOOKS='SegVisualizationHook',
        METRICS='IoUMetric',
        VISUALIZERS='SegLocalVisualizer',
        LOOPS='EpochBasedTrainLoop',
        RUNNERS='Runner',
        OPTIM_WRAPPERS='AmpOptimWrapper',
        LOG_PROCESSORS='LogProcessor',
        DATA_SAMPLERS='InfiniteSampler',
        PARAM_SCHEDULERS='PolyLR',
    )
    found = run(
        f"""
        import mmengine.runner
        from mmseg_erfnet import registry
        print(*[getattr(registry, name).get(kind).__name__ for name, kind in {wanted}.items()])
    """,
        tmp_path,
    )
    assert found.split() == list(wanted.values())


def test_the_package_alone_imports_nothing(tmp_path):
    assert (
        run(
            """
        import sys, mmseg_erfnet
        print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'mmengine', 'mmcv', 'mmseg', 'numpy'}))
    """,
            tmp_path,
        )
        == '[]'
    )
