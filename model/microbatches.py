"""Out of memory in a training step: tries again in two halves with the same effective batch."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from tuner.base.errors import TrainingFailed

# in the order of the tuning guide
ADVICE = "try a smaller batch_size, a smaller d_model, gradient_checkpointing=true, or device=cpu"


class Microbatches:
    """Runs forward and backward pass of a step on the whole batch or in two halves.

    Steps start with the whole batch. If one runs out of memory, its gradients are dropped. This step and all
    later ones then run in two halves, whose gradients add up: the optimiser sees the same batch. If a half
    does not fit either, the run ends.
    """

    def __init__(self) -> None:
        self.parts = 1

    def run(
        self,
        index: Tensor,
        backward: Callable[[Tensor, float], None],
        *,
        drop_gradients: Callable[[], None],
        where: str,
    ) -> None:
        """Calls `backward(windows, share of the batch)` for the batch or for each half.

        Args:
            index: (batch,) the windows of the step.
            backward: computes the mean loss of its windows times the share, and adds the gradient.
            drop_gradients: zeroes the gradients, before the second try.
            where: "epoch 3, step 7", for the error.

        Raises:
            TrainingFailed: out of memory with half batches too; the message says what to change.
        """
        if self.parts == 1:
            if self._fits(index, backward, parts=1):
                return
            self.parts = 2
            drop_gradients()
            _free()
        if not self._fits(index, backward, parts=self.parts):
            drop_gradients()
            _free()
            half = -(-len(index) // 2)
            raise TrainingFailed(
                f"out of memory at {where}, with half batches ({half} windows) as well: {ADVICE}"
            )

    def _fits(self, index: Tensor, backward: Callable[[Tensor, float], None], *, parts: int) -> bool:
        try:
            for part in index.chunk(parts):
                backward(part, len(part) / len(index))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is a failed allocation, on any device (only CUDA has its own exception)."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
