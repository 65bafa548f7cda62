"""Windows along one axis of [B, T, F, D], and their overlap-add: each is the other's gradient.

Axes: B batch, T frame, F frequency, D feature, J window, K position within a window.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def cut(x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """Windows along axis 1 or 2 of (B, T, F, D), with the other one among the rows: (J, B * other, K * D)."""
    found: Tensor = _Cut.apply(x, axis, kernel, stride)
    return found


def overlap_add(x: Tensor, y: Tensor, axis: int, stride: int) -> Tensor:
    """Add windows (J, B, other, K, D) to (B, T, F, D) in place, the first where the axis begins."""
    found: Tensor = _OverlapAdd.apply(x, y, axis, stride)
    return found


def _cut(x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """A view of (B, T, F, D): (J, B, other, K, D)."""
    return x.unfold(axis, kernel, stride).movedim((axis, 4), (0, 3))


def _overlap_add(x: Tensor, y: Tensor, axis: int, stride: int) -> Tensor:
    count, kernel = y.shape[0], y.shape[3]
    for start in range(0, kernel, stride):  # no two windows overlap in a stride of theirs
        width = min(stride, kernel - start)
        places = x.narrow(axis, start, (count - 1) * stride + width)
        _cut(places, axis, width, stride).add_(y.narrow(3, start, width))
    return x


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
        ctx.shape, ctx.axis, ctx.kernel, ctx.stride = x.shape, axis, kernel, stride
        return _cut(x, axis, kernel, stride).flatten(3).flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        batch, other = ctx.shape[0], ctx.shape[3 - ctx.axis]
        windows = gradient.view(gradient.shape[0], batch, other, ctx.kernel, -1)
        return _overlap_add(gradient.new_zeros(ctx.shape), windows, ctx.axis, ctx.stride), None, None, None


class _OverlapAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, axis: int, stride: int) -> Tensor:
        ctx.mark_dirty(x)
        ctx.axis, ctx.kernel, ctx.stride, ctx.dtype = axis, y.shape[3], stride, y.dtype
        ctx.size = (y.shape[0] - 1) * stride + y.shape[3]
        return _overlap_add(x, y, axis, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        heard = gradient.narrow(ctx.axis, 0, ctx.size)
        return gradient, _cut(heard, ctx.axis, ctx.kernel, ctx.stride).to(ctx.dtype), None, None
