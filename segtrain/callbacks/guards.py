"""Stops a run at the first number that is not finite, without waiting for the device at each step.

The first bad step is kept on the device and read at each log interval, before validation and before every
checkpoint; so no file ever holds non-finite weights, and NaN is never the best.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from segtrain import checks
from segtrain.errors import UserError

NEVER = torch.iinfo(torch.int64).max
PLACES = ("image", "loss", "gradient")
SHOWN = 8  # samples named in the error


class NonFiniteGuard(Callback):
    """Watches input, loss and gradient norm; logs the mean norm of an epoch as optim/grad_norm.

    Args:
        check: "log" reads the flag at each log interval, "step" at each step (slower, names the step's files).
        log_every: steps of a log interval.

    Raises:
        UserError: at construction for another word; in training, when a number was not finite: it names the step,
            where it appeared, the learning rate and the samples since the last reading.
    """

    def __init__(self, check: str = "log", log_every: int = 50) -> None:
        self.check = checks.choice("trainer.check", check, ("log", "step"))
        self.interval = 1 if check == "step" else checks.whole("trainer.log_every", log_every, 1)
        self._first = torch.full((len(PLACES),), NEVER)
        self._sum, self._steps = torch.tensor(0.0), 0
        self._zero = self._gradient = torch.tensor(0.0)
        self._parameters: list[torch.nn.Parameter] = []
        self._seen: list[str] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the flag to the device."""
        self._first = self._first.to(pl_module.device)
        self._sum = self._sum.to(pl_module.device)
        self._zero = self._gradient = self._gradient.to(pl_module.device)
        self._parameters = list(pl_module.parameters())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember which samples were seen since the last reading."""
        self._seen += batch["id"]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Look at the gradient."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        # as torch.nn.utils.get_total_norm, which sorts the gradients by device and type each time: half as long
        self._gradient = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self._sum += self._gradient
        self._steps += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at loss and images (uint8 is always finite); read the flag where it is time."""
        # the counter stands behind the step already, unless gradients are still being accumulated
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        self._mark(batch["image"], outputs["loss"].detach(), trainer.global_step - int(stepped))
        if (batch_idx + 1) % self.interval == 0:
            self.read(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the mean gradient norm."""
        pl_module.log("optim/grad_norm", float(self._sum) / max(1, self._steps), logger=False)
        self._sum.zero_()
        self._steps = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Never score a net that is broken."""
        self.read(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop where the validation loss, which the module has read already, is not finite.

        Raises:
            UserError: it is not.
        """
        loss = float(trainer.callback_metrics.get("val/loss", 0.0))
        if not math.isfinite(loss):
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            raise UserError(
                f"training stopped: the validation loss of epoch {trainer.current_epoch + 1} is not finite ({loss}); "
                f"learning rate {rate:.3g}. Lower lr, or look at the validation images; the checkpoints are those of "
                "earlier epochs"
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Never write a net that is broken."""
        self.read(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The running mean of the norm, so that a resumed epoch logs what an uninterrupted one does."""
        return {"sum": self._sum.clone(), "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the running mean."""
        self._sum, self._steps = state_dict["sum"].clone(), state_dict["steps"]

    def read(self, trainer: Trainer) -> None:
        """Wait for the device, and stop the run where something was not finite.

        Raises:
            UserError: something was not finite.
        """
        first = self._first.tolist()
        if min(first) == NEVER:
            self._seen = []
            return
        step = min(first)
        where = " and ".join(place for place, at in zip(PLACES, first, strict=True) if at == step)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        samples = ", ".join(self._seen[:SHOWN]) + (
            f" ... ({len(self._seen)} in all)" if len(self._seen) > SHOWN else ""
        )
        raise UserError(
            f"training stopped: the {where} of step {step} (epoch {trainer.current_epoch + 1}) is not finite; "
            f"learning rate {rate:.3g}, samples since the last check: {samples}. Lower lr, look at these images, "
            "or find the step with trainer.check=step; the checkpoints hold finite weights"
        )

    def _mark(self, image: Tensor, loss: Tensor, step: int) -> None:
        """Few operations, whatever the places: each costs the host some microseconds, and this comes at each step."""
        image = image.sum() if image.is_floating_point() else self._zero
        # between two optimizer steps the gradient is still that of the one before, which is known to be finite or not
        values = torch.stack([image.float(), loss.float(), self._gradient.float()])
        self._first = self._first.minimum(torch.where(values.isfinite(), NEVER, step))
