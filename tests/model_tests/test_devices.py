"""Device, precision and memory: what is chosen, why, and what happens when memory runs out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.config import Config
from model.devices import Machine, place
from model.linear import Linear
from model.microbatches import Microbatches, is_out_of_memory
from tuner.base.errors import InputError, TrainingFailed

BARE = Machine(cuda=None, mps=False, cpu_bfloat16=False)


@pytest.mark.parametrize(
    ("machine", "kind", "reason"),
    [
        (Machine(cuda="GPU X", mps=False, cpu_bfloat16=False), "cuda", "GPU X"),
        (Machine(cuda="GPU X", mps=True, cpu_bfloat16=False), "cuda", "GPU X"),
        (Machine(cuda=None, mps=True, cpu_bfloat16=False), "mps", "no CUDA"),
        (BARE, "cpu", "no CUDA and no MPS"),
    ],
)
def test_auto_takes_cuda_then_mps_then_cpu_and_says_why(machine: Machine, kind: str, reason: str) -> None:
    placement = place(Config(), machine)
    assert placement.device.type == kind
    assert reason in placement.reason


def test_a_named_device_is_taken_or_refused_with_what_is_here() -> None:
    assert (
        place(Config(device="cpu"), Machine(cuda="GPU", mps=False, cpu_bfloat16=False)).device.type == "cpu"
    )
    with pytest.raises(InputError, match=r"cuda is not available here \(found: cpu\)"):
        place(Config(device="cuda"), BARE)


def test_bfloat16_needs_hardware_and_falls_back_with_a_reason() -> None:
    able = Machine(cuda=None, mps=False, cpu_bfloat16=True)
    assert place(Config(precision="bfloat16"), able).precision == torch.bfloat16
    fallen = place(Config(precision="bfloat16"), BARE)
    assert fallen.precision == torch.float32 and "does not support bfloat16" in fallen.reason


def test_float16_is_for_cuda_and_scales_its_loss() -> None:
    with pytest.raises(InputError, match="float16 needs a CUDA GPU"):
        place(Config(precision="float16"), BARE)
    placement = place(Config(precision="float16"), Machine(cuda="GPU", mps=False, cpu_bfloat16=False))
    assert placement.precision == torch.float16


def test_a_network_in_bfloat16_trains_its_large_linear_layers_in_it_and_evaluates_in_float32() -> None:
    torch.manual_seed(0)
    layer, small = Linear(500, 200), Linear(500, 199)
    x = torch.randn(2, 5, 500, requires_grad=True)

    def answer_and_gradients() -> list[torch.Tensor]:
        y = layer(x)
        found = torch.autograd.grad(y.square().sum(), [x, layer.weight, layer.bias])
        return [y.detach(), *found]

    exact = answer_and_gradients()
    placement = place(Config(precision="bfloat16"), Machine(cuda=None, mps=False, cpu_bfloat16=True))
    placement.prepare(nn.Sequential(layer, small))
    assert not small.in_bfloat16
    rounded = answer_and_gradients()
    for found, expected in zip(rounded, exact, strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
    layer.eval()
    assert torch.equal(layer(x), exact[0])
    place(Config(precision="float32")).prepare(nn.Sequential(layer.train()))
    assert torch.equal(layer(x), exact[0])


def test_auto_precision_is_bfloat16_where_the_hardware_has_it() -> None:
    able = Machine(cuda=None, mps=False, cpu_bfloat16=True)
    assert place(Config(), able).precision == torch.bfloat16
    assert place(Config(), BARE).precision == torch.float32


def test_in_float32_autocast_does_nothing() -> None:
    with place(Config(), BARE).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_this_machine_can_be_looked_at() -> None:
    assert place(Config()).reason


class Step:
    """A step on y = w·x whose forward pass fits at most `limit` windows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sizes: list[int] = []
        self.w = torch.zeros(3, requires_grad=True)
        self.x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))

    def backward(self, index: torch.Tensor, share: float) -> None:
        self.sizes.append(len(index))
        (share * (self.x[index] @ self.w - 1).square().mean()).backward()
        if len(index) > self.limit:  # after some of the gradient has been written
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def drop(self) -> None:
        self.w.grad = None


def run(guard: Microbatches, step: Step, windows: int = 10) -> torch.Tensor:
    step.drop()
    guard.run(torch.arange(windows), step.backward, drop_gradients=step.drop, where="epoch 3, step 7")
    assert step.w.grad is not None
    return step.w.grad


@pytest.mark.parametrize("windows", [10, 7, 1])
def test_out_of_memory_once_goes_on_in_halves_with_the_same_gradient(windows: int) -> None:
    whole = run(Microbatches(), Step(limit=10), windows)
    guard, step = Microbatches(), Step(limit=max(1, windows - 1))
    assert torch.allclose(run(guard, step, windows), whole, atol=1e-6)
    assert guard.parts == (2 if windows > 1 else 1)


def test_after_it_every_step_runs_in_halves() -> None:
    guard, step = Microbatches(), Step(limit=5)
    run(guard, step)
    run(guard, step)
    assert step.sizes == [10, 5, 5, 5, 5]


def test_out_of_memory_in_halves_ends_the_run_with_place_and_advice() -> None:
    with pytest.raises(
        TrainingFailed, match=r"epoch 3, step 7.*5 windows.*batch_size.*d_model.*checkpointing"
    ):
        run(Microbatches(), Step(limit=2))


def test_other_errors_pass_through() -> None:
    def broken(index: torch.Tensor, share: float) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    guard = Microbatches()
    with pytest.raises(RuntimeError, match="mat1"):
        guard.run(torch.arange(4), broken, drop_gradients=lambda: None, where="")
    assert guard.parts == 1


def test_a_real_failed_allocation_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("shapes"))
