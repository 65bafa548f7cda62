"""Matrix products in full precision on a CPU by oneDNN, which PyTorch leaves to MKL.

MKL keeps from AVX-512 on processors of other makers than Intel: there oneDNN's products take half the time. The sums
run in another order, so results differ by rounding alone. Where oneDNN is not there, and for other devices and
precisions, all is as PyTorch does it.

Letters: R rows, K inputs, N outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def _available() -> bool:
    """Whether this PyTorch was built with the operator, which it has for its compiler's use."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


AVAILABLE = _available()

#: Rows for which weights are laid out; any other number gives the same, if not as soon.
ROWS_AT_ONCE = 80


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As torch.nn.functional.linear, with gradients: (..., K), (N, K) and (N,) to (..., N)."""
    if not _usable(x, weight):
        return functional.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


def _usable(x: Tensor, weight: Tensor) -> bool:
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel() > 0
    return AVAILABLE and plain and not torch.is_autocast_enabled("cpu")


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """As left @ right, of matrices (..., R, K) and (..., K, N) with the same leading axes."""
    if left.device.type != "cpu" or left.dtype != torch.float32 or not AVAILABLE:
        return left @ right
    lead = left.shape[:-2]
    pairs = zip(left.flatten(0, -3), right.flatten(0, -3), strict=True)
    return torch.stack([linear(one, other.mT) for one, other in pairs]).unflatten(0, lead)


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class Packed:
    """Products of few rows at a time with the weights of layers, side by side, over and over, as in a search.

    Without gradients it computes from a copy of the weights in oneDNN's own layout, made when it is first needed and
    again after the weights have changed: few rows take less time than bringing all weights into that layout.
    """

    def __init__(self, *layers: nn.Linear) -> None:
        self.layers = layers
        self._made: tuple[list[tuple[int, int]], Tensor, Tensor | None] | None = None

    def __call__(self, x: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        """What the layers give of (..., K), one after the other in (..., N); with `relu` of it, or `added` to it."""
        parts = [part for layer in self.layers for part in layer._parameters.values() if part is not None]
        # Weights made in inference mode do not tell when they change.
        if torch.is_grad_enabled() or not _usable(x, parts[0]) or parts[0].is_inference():
            found = [layer(x) for layer in self.layers]
            y = torch.cat(found, dim=-1) if len(found) > 1 else found[0]
            y = y.relu() if relu else y
            return y if added is None else added + y
        now = [(part._version, part.data_ptr()) for part in parts]
        if self._made is None or self._made[0] != now:
            self._made = now, *self._laid_out()
        _, weight, bias = self._made
        x = x.contiguous()
        if added is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, added.contiguous(), weight, bias, "add")
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "relu" if relu else "none", [], "")

    def _laid_out(self) -> tuple[Tensor, Tensor | None]:
        weight = torch.cat([layer.weight.detach() for layer in self.layers])
        biases = [layer.bias.detach() for layer in self.layers if layer.bias is not None]
        return torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_AT_ONCE), torch.cat(biases) if biases else None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": None}


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.T, None) if to_x else None,
            _product(rows.T, x.reshape(-1, x.shape[-1]).T, None) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    lead, rows = x.shape[:-1], x.reshape(-1, x.shape[-1])
    found = torch.ops.mkldnn._linear_pointwise(_plain(rows), _plain(weight), bias, "none", [], "")
    return found.view(*lead, -1)


def _plain(matrix: Tensor) -> Tensor:
    """A matrix whose rows or columns lie one after the other without overlap: others fall to a reference of oneDNN."""
    (rows, columns), (down, across) = matrix.shape, matrix.stride()
    plain = (across == 1 and down >= columns) or (down == 1 and across >= rows)
    return matrix if plain else matrix.contiguous()
