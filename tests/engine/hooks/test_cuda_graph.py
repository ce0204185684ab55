"""CUDA graphs in training; without a GPU, with a stand-in for the capture."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from helpers.small_models import config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_erfnet.engine.hooks import CudaGraphHook
from mmseg_erfnet.engine.hooks.cuda_graph import capture
from mmseg_erfnet.engine.launch import train


def segmentor(device: str = 'cpu') -> torch.nn.Module:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = config('erfnet_camvid11', **{'model.backbone.dropout_ratio': 0.0, 'model.decode_head.dropout_ratio': 0.0})
    return MODELS.build(cfg.model).to(device).train()


def logits(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model.decode_head(model.extract_feat(images))


@pytest.fixture
def stand_in(monkeypatch):
    """Replays that multiply by 2, after a capture that draws random numbers and changes the running statistics."""
    replays = []

    def graphed(parts, samples, allow_unused_input):
        for part, (sample,) in zip(parts, samples, strict=True):
            part(sample)
            torch.rand(3)

            def replay(inputs, plain=part.forward, part=part):
                replays.append(part)
                outputs = plain(inputs)
                return [2 * output for output in outputs] if isinstance(outputs, list) else 2 * outputs

            part.forward = replay

    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', graphed)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', torch.get_rng_state)
    monkeypatch.setattr(torch.cuda, 'set_rng_state', torch.set_rng_state)
    return replays


def test_a_capture_leaves_statistics_and_random_numbers(stand_in):
    model, images = segmentor(), torch.rand(2, 3, 32, 48)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    capture(model, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_graphs_are_for_training_batches_of_one_size(stand_in):
    model, images = segmentor(), torch.rand(2, 3, 32, 48)
    capture(model, images)
    logits(model, images)
    assert stand_in == [model.backbone, model.decode_head]
    for other in (images[:1], images[..., :32]):
        logits(model, other)
    with torch.no_grad():
        logits(model, images)
    logits(model.eval(), images)
    assert len(stand_in) == 2


def test_a_model_that_cannot_be_captured_is_left_as_it_was(monkeypatch, stand_in):
    def failing(parts, *args, **kwargs):
        parts[0].forward = None
        raise torch.OutOfMemoryError('CUDA out of memory.')

    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', failing)
    model, images = segmentor(), torch.rand(2, 3, 32, 48)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match='out of memory'):
        capture(model, images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert logits(model, images).shape == (2, 11, 16, 24)


def run_hook(device: str, accumulated: int, with_cp: bool, logger) -> None:
    """Run the hook for three iterations of batches of two images."""
    model = SimpleNamespace(
        parameters=lambda: iter([SimpleNamespace(device=torch.device(device))]),
        modules=lambda: [SimpleNamespace(with_cp=with_cp)],
        data_preprocessor=lambda batch, training: batch,
    )
    wrapper = SimpleNamespace(_accumulative_counts=accumulated, optim_context=lambda model: nullcontext())
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, logger=logger)
    hook = CudaGraphHook()
    hook.before_train(runner)
    for index in range(3):
        hook.before_train_iter(runner, index, dict(inputs=[0, 1]))


@pytest.mark.parametrize(
    ('device', 'accumulated', 'with_cp', 'captured'),
    [('cuda', 1, False, 1), ('cpu', 1, False, 0), ('cuda', 4, False, 0), ('cuda', 1, True, 0)],
)
def test_nothing_is_captured_where_graphs_do_not_work(device, accumulated, with_cp, captured, monkeypatch):
    captures, messages = [], []
    monkeypatch.setattr('mmseg_erfnet.engine.hooks.cuda_graph.capture', lambda *given: captures.append(given))
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: nullcontext())
    run_hook(device, accumulated, with_cp, SimpleNamespace(info=messages.append))
    assert [images for model, images in captures] == [[0, 1]] * captured
    assert [message.endswith('of 2 images.') for message in messages] == [True] * captured


def test_a_failed_capture_does_not_end_a_run(monkeypatch):
    def failing(*args, **kwargs):
        raise torch.OutOfMemoryError('CUDA out of memory.')

    warnings = []
    monkeypatch.setattr('mmseg_erfnet.engine.hooks.cuda_graph.capture', failing)
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: nullcontext())
    run_hook('cuda', 1, False, SimpleNamespace(warning=warnings.append))
    assert warnings == ['Training goes on without CUDA graphs: CUDA out of memory.']


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_graphs_compute_the_same_gradients():
    images = torch.rand(2, 3, 64, 96, device='cuda')
    gradients = []
    for graphs in (False, True):
        model = segmentor('cuda')
        if graphs:
            capture(model, images)
        logits(model, images).square().mean().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_a_run_uses_graphs_and_gives_them_back(tmp_path):
    cfg = config('erfnet_camvid11', **{'train_dataloader.batch_size': 8, 'load_from': None})
    cfg.work_dir = str(tmp_path)
    cfg.custom_hooks = [dict(type='mmseg_erfnet.EpochSeedHook'), dict(type='mmseg_erfnet.CudaGraphHook')]
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = train(cfg, epochs=1)
    assert 'CUDA graphs replay' in next(tmp_path.glob('*/*.log')).read_text()
    assert 'forward' not in vars(runner.model.backbone)
