"""Stops a run at the first number that is not finite, without waiting for the device at each step.

Its numbers stay on the device and are looked at each log interval, before validation and before every checkpoint; so
no file ever holds non-finite weights, and NaN is never the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from segtrain import checks
from segtrain.errors import UserError

PLACES = ("image", "loss", "gradient")
IMAGE, LOSS, GRADIENT = PLACES
FEW = 2**17  # numbers that a CPU copies faster than it begins an operation for each tensor
MOST = 1000  # steps between two looks, however long a log interval is
SHOWN = 8  # samples named in the error


class NonFiniteGuard(Callback):
    """Watches input, loss and gradient norm; logs the mean norm of an epoch as optim/grad_norm.

    A step leaves its values on the device, which are looked at together: the host waits once.

    Args:
        check: "log" looks at each log interval, "step" at each step (slower, names the step's files).
        log_every: steps of a log interval.

    Raises:
        UserError: at construction for another word; in training, when a number was not finite: it names the step,
            where it appeared, the learning rate and the samples since the last look.
    """

    def __init__(self, check: str = "log", log_every: int = 50) -> None:
        self.check = checks.choice("trainer.check", check, ("log", "step"))
        every = checks.whole("trainer.log_every", log_every, 1)
        self.interval = 1 if check == "step" else min(every, MOST)
        self._sum, self._steps = 0.0, 0  # of the norms in this epoch
        self._parameters: list[torch.nn.Parameter] = []
        self._few = False
        self._step = 0  # that is being made
        self._values: list[tuple[int, str, Tensor]] = []  # (step, place, value) since the last look
        self._bad: list[tuple[int, str]] = []
        self._seen: list[Sequence[str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parameters once."""
        self._parameters = list(pl_module.parameters())
        self._few = pl_module.device.type == "cpu" and sum(each.numel() for each in self._parameters) <= FEW

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember which samples were seen since the last look, and the step that they are for."""
        self._seen.append(batch["id"])
        self._step = trainer.global_step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Keep the norm of the gradient; torch.nn.utils.get_total_norm takes three times as long for a small net."""
        found = [gradient for each in self._parameters if (gradient := each.grad) is not None]
        whole: Tensor = _flatten_dense_tensors(found) if self._few else torch.stack(torch._foreach_norm(found))  # type: ignore[no-untyped-call]
        self._values.append((self._step, GRADIENT, torch.linalg.vector_norm(whole)))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss and the sum of the images (uint8 is always finite); look at all where it is time."""
        self._values.append((self._step, LOSS, outputs["loss"]))
        if (image := batch["image"]).is_floating_point():
            self._values.append((self._step, IMAGE, image.sum()))
        if (batch_idx + 1) % self.interval == 0:
            self.read(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the mean gradient norm."""
        self.read(trainer)
        pl_module.log("optim/grad_norm", self._sum / max(1, self._steps), logger=False)
        self._sum, self._steps = 0.0, 0

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
        """The sum of the norms, so that a resumed epoch logs what an uninterrupted one does."""
        self._look()
        return {"sum": self._sum, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sum."""
        self._sum, self._steps = float(state_dict["sum"]), int(state_dict["steps"])

    def read(self, trainer: Trainer) -> None:
        """Wait for the device, and stop the run where something was not finite.

        Raises:
            UserError: something was not finite.
        """
        self._look()
        seen, self._seen = [name for names in self._seen for name in names], []
        if not self._bad:
            return
        step = min(step for step, _ in self._bad)
        where = " and ".join(place for place in PLACES if (step, place) in self._bad)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        samples = ", ".join(seen[:SHOWN]) + (f" ... ({len(seen)} in all)" if len(seen) > SHOWN else "")
        raise UserError(
            f"training stopped: the {where} of step {step} (epoch {trainer.current_epoch + 1}) is not finite; "
            f"learning rate {rate:.3g}, samples since the last check: {samples}. Lower lr, look at these images, "
            "or find the step with trainer.check=step; the checkpoints hold finite weights"
        )

    def _look(self) -> None:
        """Wait for the device; one number after the other, so that a sum is the same whenever it is looked at."""
        if not self._values:
            return
        numbers = torch.stack([value for _, _, value in self._values]).tolist()
        for (step, place, _), number in zip(self._values, numbers, strict=True):
            if place == GRADIENT:
                self._sum += number
                self._steps += 1
            if not math.isfinite(number):
                self._bad.append((step, place))
        self._values = []
