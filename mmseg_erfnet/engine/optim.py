"""bfloat16 training, on a CPU or a GPU, and few groups of parameters."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper

from mmseg_erfnet.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; weights, gradients and optimiser state stay in float32.

    bfloat16 has the exponent range of float32, so no loss scaling is needed. mmengine's ``AmpOptimWrapper`` does not
    support CPUs. The arguments are those of mmengine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedGroupsConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with one group for all parameters that have the same options.

    With a ``paramwise_cfg``, MMEngine makes each parameter a group of its own, 229 for ERFNet with an FCNHead, and an
    optimiser updates group by group: a fused AdamW then launches 229 kernels per iteration instead of two. The updates
    are the same.
    """

    def __call__(self, model: torch.nn.Module) -> OptimWrapper:
        """Build the optimiser and its wrapper."""
        wrapper = super().__call__(model)
        # Plain dicts: an optimiser reads its options once per parameter, and MMEngine's ConfigDict is slow to read.
        groups = wrapper.optimizer.param_groups
        groups[:] = [dict(group.items()) for group in groups]
        return wrapper

    def add_params(self, params: list[dict], module: torch.nn.Module, prefix: str = '', **kwargs) -> None:
        """Append the groups of a module and its children to ``params``, as MMEngine does; merge them at the end."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix == '':  # not a child
            merged: dict[tuple, dict] = {}
            for group in params:
                options = {name: value for name, value in group.items() if name != 'params'}
                key = tuple(sorted((name, repr(value)) for name, value in options.items()))
                merged.setdefault(key, dict(params=[], **options))['params'] += group['params']
            params[:] = merged.values()
