"""What a wheel contains, and that it works without the project's folder."""

import os
import subprocess
import sys
import zipfile

import pytest
import yaml
from conftest import CONFIGS, ROOT


def run(*command, **options) -> str:
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | options.pop('env', {})
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=environment, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    run(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', folder, ROOT)
    (path,) = folder.glob('mmseg_erfnet-*.whl')
    return path


def test_wheel_carries_what_mim_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for root in ('mmseg_erfnet/.mim', '+mmseg_erfnet/.mim'):
        for name in CONFIGS:
            assert f'{root}/configs/{name}.py' in names
        assert f'{root}/configs/_base_/default_runtime.py' in names
        assert f'{root}/tools/train.py' in names
        assert f'{root}/model-index.yml' in names
    assert 'mmseg_erfnet/datasets/splits/train.txt' in names
    assert len({name.split('/')[0] for name in names if '.dist-info' in name}) == 1
    strangers = [name for name in names if name.endswith('.pyc') or name.startswith('tests')]
    assert strangers == []


def test_wheel_depends_on_neither_family_unless_asked(wheel):
    metadata = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith('METADATA'))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    required = [line.split(': ', 1)[1] for line in lines if line.startswith('Requires-Dist')]
    always = [line for line in required if 'extra' not in line]
    assert sorted(line.split('>')[0] for line in always) == ['numpy', 'opencv-python', 'tqdm']
    for extra, family in (('onedl', 'onedl-mmsegmentation'), ('openmmlab', 'mmsegmentation')):
        assert any(line.startswith(family + '>') and f"extra == '{extra}'" in line for line in required)
    deploy = [line for line in required if "extra == 'deploy'" in line]
    assert deploy
    assert not any('torch' in line or 'mm' in line.split('>')[0] for line in deploy)


def test_installed_wheel_works_in_an_empty_folder(wheel, tmp_path):
    site = tmp_path / 'site'
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', site, wheel)
    empty = tmp_path / 'empty'
    empty.mkdir()
    module = (
        run(
            sys.executable,
            '-W',
            'ignore',
            '-c',
            """
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
import mmseg_erfnet, pathlib
root = pathlib.Path(mmseg_erfnet.__file__).parent
cfg = Config.fromfile(root / '.mim' / 'configs' / 'erfnet_camvid.py')
init_default_scope(cfg.default_scope)
backbone = type(MODELS.build(cfg.model).backbone)
print(__import__('sys').modules[backbone.__module__].__file__)
""",
            cwd=empty,
            env={'PYTHONPATH': str(site)},
        )
        .strip()
        .splitlines()[-1]
    )
    assert module.startswith(str(site))


def test_import_without_mmsegmentation_says_what_to_install():
    code = 'import sys; sys.modules["mmseg"] = None; import mmseg_erfnet.registry'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert 'pip install "mmseg_erfnet[onedl]"' in result.stderr
    assert 'mmseg_erfnet[openmmlab]' in result.stderr


def test_model_index_names_what_exists():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for model in index.get('Models') or []:
        assert (ROOT / model['Config']).is_file()
        assert (ROOT / model['Weights']).is_file()


@pytest.mark.slow
def test_mim_trains_from_an_installed_wheel(wheel, synthetic_camvid, tmp_path):
    """In a separate environment, with onedl-mim: takes some minutes and a gigabyte."""
    environment, empty = tmp_path / 'environment', tmp_path / 'empty'
    empty.mkdir()
    run(sys.executable, '-m', 'venv', environment)
    pip = environment / 'bin' / 'pip'
    run(pip, 'install', '--quiet', 'torch==2.13.0')
    run(pip, 'install', '--quiet', f'{wheel}[onedl]', 'onedl-mim==0.5.1')
    roots = [f'{part}_dataloader.dataset.data_root={synthetic_camvid}' for part in ('train', 'val', 'test')]
    run(
        environment / 'bin' / 'mim',
        'train',
        'mmseg_erfnet',
        'erfnet_camvid.py',
        '--work-dir',
        'run',
        '--epochs',
        '1',
        '--cfg-options',
        *roots,
        cwd=empty,
        env={'PATH': f'{environment / "bin"}:{os.environ["PATH"]}'},
    )
    assert (empty / 'run' / 'epoch_1.pth').is_file()
    found = run(environment / 'bin' / 'mim', 'search', 'mmseg_erfnet', '--dataset', 'CamVid', cwd=empty)
    assert 'erfnet_camvid11_train' in found
    run(
        environment / 'bin' / 'mim',
        'test',
        'mmseg_erfnet',
        'erfnet_camvid.py',
        '--checkpoint',
        'run/epoch_1.pth',
        '--cfg-options',
        *roots,
        cwd=empty,
        env={'PATH': f'{environment / "bin"}:{os.environ["PATH"]}'},
    )
