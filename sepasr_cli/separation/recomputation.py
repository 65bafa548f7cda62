"""Parts of a network that keep nothing but their inputs for the backward pass, and compute anew there.

T. Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174). Unlike PyTorch's own checkpointing
without reentrance, the first pass runs without gradients: on a CPU an LSTM then takes oneDNN's way for inference, which
writes down no gates. Unlike that with reentrance, weights are inputs, whose gradients arrive once, as those who
accumulate or exchange them expect.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def recomputed(part: Callable[[Tensor, Tensor | None], Tensor], module: nn.Module) -> Callable[..., Tensor]:
    """The same function of a tensor and of an optional one without gradient; `module` holds its weights.

    It must draw nothing at random, leave its inputs as they are, and give the same with gradients and without.
    """
    weights = tuple(module.parameters())
    return lambda x, extent: _Recomputed.apply(part, extent, x, *weights)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, part: Callable[[Tensor, Tensor | None], Tensor], extent: Tensor | None, x: Tensor, *weights: Tensor
    ) -> Tensor:
        kind = x.device.type
        # Casts of this pass know no gradients: they must not be kept for others.
        ctx.precision = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
            "cache_enabled": False,
        }
        ctx.part, ctx.extent = part, extent
        ctx.save_for_backward(x, *weights)
        with torch.autocast(**ctx.precision):
            return part(x, extent)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        x = x.detach().requires_grad_(needed[0])
        with torch.enable_grad(), torch.autocast(**ctx.precision):
            found = ctx.part(x, ctx.extent)
        inputs = [tensor for tensor, need in zip((x, *weights), needed, strict=True) if need]
        gradients = iter(torch.autograd.grad(found, inputs, gradient, allow_unused=True))
        return None, None, *(next(gradients) if need else None for need in needed)
