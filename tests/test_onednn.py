"""Products by oneDNN: as PyTorch's own, with their gradients, and left alone where they do not apply."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sepasr_cli.onednn import Linear, Packed, linear, matmul


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 4, 7), (0, 7)])
def test_linear_and_its_gradients(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = Linear(7, 6, bias=bias), torch.randn(shape, requires_grad=True)
    found = layer(x)
    found.square().sum().backward()
    parameters = [x, *layer.parameters()]
    doubles = [parameter.detach().double().requires_grad_() for parameter in parameters]
    wanted = functional.linear(*doubles)
    wanted.square().sum().backward()
    close(found, wanted)
    for one, other in zip(parameters, doubles, strict=True):
        assert one.grad is not None and other.grad is not None
        close(one.grad, other.grad)


def test_of_views_and_without_gradients() -> None:
    x, weight = torch.randn(6, 5, 4).transpose(0, 1), torch.randn(8, 4)[::2]
    with torch.no_grad():
        close(linear(x, weight), functional.linear(x.double(), weight.double()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("rows", [1, 10, 200])
def test_packed_weights_follow_the_weights(rows: int, count: int, bias: bool) -> None:
    torch.manual_seed(0)
    layers, x = nn.ModuleList(Linear(33, 17, bias=bias) for _ in range(count)), 0.1 * torch.randn(2, rows, 33)
    packed, added = Packed(*layers), torch.randn(2, rows, 17 * count)

    def check() -> None:
        wanted = torch.cat([functional.linear(*(y.double() for y in (x, *layer.parameters()))) for layer in layers], -1)
        for one in (packed, copy.deepcopy(packed)):
            close(one(x), wanted)
            close(one(x, relu=True), wanted.relu())
            close(one(x, added), added.double() + wanted)

    for _ in range(2):
        with torch.no_grad():
            check()
        packed(x, added).square().sum().backward()
        torch.optim.SGD(layers.parameters(), 0.01).step()
    with torch.no_grad():
        for assign in (False, True):
            layers.load_state_dict({name: 2 * value for name, value in layers.state_dict().items()}, assign=assign)
            check()
    with torch.inference_mode():
        check()


def test_matmul() -> None:
    left, right = torch.randn(2, 3, 5, 4, requires_grad=True), torch.randn(2, 3, 4, 6, requires_grad=True)
    close(matmul(left, right), left.double() @ right.double())
    matmul(left, right).sum().backward()
    assert left.grad is not None and right.grad is not None
    close(left.grad, right.detach().double().sum(-1)[..., None, :].expand(-1, -1, 5, -1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_kept(dtype: torch.dtype) -> None:
    x, layer = torch.randn(3, 4, dtype=dtype), Linear(4, 2, dtype=dtype)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))
    assert torch.equal(matmul(x, x.mT), x @ x.mT)


def test_autocast_is_honoured() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(4, 2)(torch.randn(3, 4)).dtype == torch.bfloat16
