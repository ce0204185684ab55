import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn

from mmseg_erfnet import doctor, environment
from mmseg_erfnet.engine import amp
from mmseg_erfnet.engine.amp import use_amp
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import UsageError


@pytest.fixture
def cpu(monkeypatch):
    """A function that gives this CPU instructions for bfloat16, or takes them away."""
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(amp.platform, 'machine', lambda: 'x86_64')

    def set_to(avx512: bool, amx: bool = False) -> None:
        monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: avx512, raising=False)
        monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: amx, raising=False)

    return set_to


@pytest.mark.parametrize(('avx512', 'amx', 'fast'), [(True, False, True), (False, True, True), (False, False, False)])
def test_bfloat16_is_fast_where_the_cpu_has_it(cpu, avx512, amx, fast):
    cpu(avx512, amx)
    assert amp.fast_bfloat16() is fast
    assert amp.amp_advice()[0] is fast


@pytest.mark.parametrize(
    ('isa', 'fast'), [('AVX2', False), ('AVX512_CORE_VNNI', False), ('avx512_core_bf16', True), ('ALL', True)]
)
def test_a_cap_on_instructions_counts(cpu, monkeypatch, isa, fast):
    cpu(avx512=True)
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', isa)
    assert amp.fast_bfloat16() is fast


def test_without_torchs_probes_the_flags_count(cpu, monkeypatch):
    monkeypatch.delattr(torch.cpu, '_is_avx512_bf16_supported', raising=False)
    monkeypatch.setattr(amp, 'machine', lambda: dict(flags=['avx512f']))
    assert not amp.fast_bfloat16()
    monkeypatch.setattr(amp, 'machine', lambda: dict(flags=['avx512f', 'avx512_bf16']))
    assert amp.fast_bfloat16()


def test_an_arm_cpu_says_it_in_its_features(cpu, monkeypatch, tmp_path):
    cpu(avx512=False)
    monkeypatch.setattr(amp.platform, 'machine', lambda: 'aarch64')
    for features, fast in (('fp asimd bf16', True), ('fp asimd', False)):
        monkeypatch.setattr(environment.Path, 'read_text', lambda path, text=features: f'Features\t: {text}\n')
        assert amp.fast_bfloat16() is fast


@pytest.mark.parametrize(('native', 'kind'), [(True, 'BFloat16OptimWrapper'), (False, 'AmpOptimWrapper')])
def test_a_gpu_that_only_emulates_bfloat16_trains_in_float16(monkeypatch, native, kind):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: including_emulation or native)
    assert use_amp(Config(dict(optim_wrapper=dict(type='OptimWrapper')))).optim_wrapper.type.endswith(kind)
    assert ('bfloat16' in amp.amp_advice()[1]) is native


def test_a_cpu_without_it_trains_in_float32_and_says_so(cpu, small_config, tmp_path):
    cpu(avx512=False)
    cfg = small_config('erfnet_camvid', tmp_path, **{'train_dataloader.dataset.indices': 4, 'custom_hooks': []})
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = cfg.default_hooks.checkpoint.save_best = None
    runner = train(cfg, amp=True, epochs=1)
    assert type(runner.optim_wrapper).__name__ == 'OptimWrapper'
    [log] = tmp_path.glob('*/*.log')
    assert log.read_text().count('no instructions for bfloat16 (AVX-512 BF16 or AMX): training is in float32.') == 1


def test_the_doctor_has_a_line_for_it(cpu):
    cpu(avx512=False)
    [finding] = [finding for finding in doctor._devices() if finding.subject == 'mixed precision']
    assert 'training is in float32' in finding.text
    assert not finding.remedy


def test_a_wrapper_that_does_more_is_not_replaced():
    cfg = Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))
    with pytest.raises(UsageError, match='cannot replace an optim_wrapper of type ApexOptimWrapper'):
        amp.use_amp(cfg)


@pytest.mark.parametrize('kind', ['ConvWS', 'ConvAWS'])
def test_layers_that_view_their_weights_flat_keep_their_layout(kind):
    """As they do in ERFNet with ``conv_cfg=dict(type='ConvWS')``."""
    backbone = MODELS.build(dict(type='mmseg_erfnet.ERFNet', conv_cfg=dict(type=kind)))
    assert not amp.to_channels_last(backbone)
    with torch.autocast('cpu', torch.bfloat16):
        assert backbone(torch.rand(1, 3, 32, 32))[0].isfinite().all()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert amp.to_channels_last(plain)
    assert plain[0].weight.is_contiguous(memory_format=torch.channels_last)
