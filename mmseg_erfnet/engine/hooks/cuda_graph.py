"""Train with CUDA graphs: launch the network's forward and backward pass as a whole instead of kernel by kernel."""

from collections.abc import Callable
from copy import deepcopy

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmseg_erfnet.registry import HOOKS


@HOOKS.register_module()
class CudaGraphHook(Hook):
    """Capture the backbone and the decode head as CUDA graphs in the first training iteration, and replay them.

    An iteration launches more than a thousand small kernels, which takes the CPU longer than they take the GPU if the
    batch is small. A graph is launched as a whole (``torch.cuda.make_graphed_callables``). The preprocessing, the loss
    and the optimiser are not part of the graphs. Batches of another size, like the last one of an epoch, and evaluation
    use no graph.

    The hook does nothing without a GPU, with several processes, with gradient accumulation, because the graphs reuse
    the memory of the gradients, and with gradient checkpointing, because it runs Python code in the backward pass. If a
    model cannot be captured, for example for lack of memory, the hook logs the reason and training goes on without
    graphs.
    """

    priority = 'VERY_LOW'  # after EpochSeedHook, whose seed the capture must not use up

    def before_train(self, runner: Runner) -> None:
        self.tried = False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if self.tried:
            return
        self.tried = True
        model = runner.model
        if (
            is_model_wrapper(model)
            or next(model.parameters()).device.type != 'cuda'
            # An OptimWrapperDict has no such attribute, nor an autocast context.
            or getattr(runner.optim_wrapper, '_accumulative_counts', 2) > 1
            or any(getattr(module, 'with_cp', False) for module in model.modules())
        ):
            return
        # A copy, because the preprocessor pads the labels in place.
        images = model.data_preprocessor(deepcopy(data_batch), True)['inputs']
        with runner.optim_wrapper.optim_context(model):
            precision = dict(enabled=torch.is_autocast_enabled('cuda'), dtype=torch.get_autocast_dtype('cuda'))
        try:
            # The cache of converted weights would be filled once, during the capture, and not follow the training.
            with torch.autocast('cuda', cache_enabled=False, **precision):
                capture(model, images)
        except (RuntimeError, AssertionError) as error:
            runner.logger.warning(f'Training goes on without CUDA graphs: {error}')
        else:
            runner.logger.info(f'CUDA graphs replay the forward and backward pass of batches of {len(images)} images.')

    def after_train(self, runner: Runner) -> None:
        release(runner.model)  # a copy of the model would otherwise run this one


def capture(model: nn.Module, images: Tensor) -> None:
    """Make a segmentor's backbone and decode head replay CUDA graphs in training.

    Running statistics and random numbers stay as they were.

    Args:
        model: A segmentor on a GPU, in training mode. Its ``forward`` methods are replaced.
        images: A preprocessed batch, (N, 3, H, W). Other sizes and evaluation use the original methods.

    Raises:
        RuntimeError: The model cannot be captured, or the memory does not suffice; its methods are not replaced.
        AssertionError: Hooks are registered on a module; its methods are not replaced.
    """
    parts = (model.backbone, model.decode_head)
    plain = [part.forward for part in parts]
    random_state = torch.cuda.get_rng_state()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        # The layout of the weights (engine.amp.to_channels_last); batches are converted as they are copied.
        images = images.clone(memory_format=torch.channels_last)
        with torch.no_grad():
            features = [feature.requires_grad_() for feature in model.extract_feat(images)]
        torch.cuda.make_graphed_callables(parts, ((images,), (features,)), allow_unused_input=True)
    except (RuntimeError, AssertionError):
        release(model)
        raise
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        torch.cuda.set_rng_state(random_state)
    for part, forward, sample in zip(parts, plain, (images, features[-1]), strict=True):
        part.forward = _for_one_size(part, part.forward, forward, sample.shape)


def release(model: nn.Module) -> None:
    """Give the backbone and the decode head of a model, if it has them, their own forward methods back."""
    for name in ('backbone', 'decode_head'):
        if hasattr(model, name):
            vars(getattr(model, name)).pop('forward', None)


def _for_one_size(part: nn.Module, replay: Callable, plain: Callable, shape: torch.Size) -> Callable:
    """Return a forward method that replays a graph for training batches of one shape."""

    def forward(inputs):
        sample = inputs if isinstance(inputs, Tensor) else inputs[-1]
        captured = part.training and torch.is_grad_enabled() and sample.shape == shape
        return (replay if captured else plain)(inputs)

    return forward
