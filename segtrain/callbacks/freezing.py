"""An encoder that is left as it is for some epochs, so that a new decoder does not spoil pretrained weights."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from segtrain import checks
from segtrain.models.normalize import require_encoder

ALWAYS = "always"


class FreezeEncoder(Callback):
    """Keeps weights and batch-norm statistics of the encoder for the first epochs of a training.

    Args:
        epochs: how many, or "always".

    Raises:
        UserError: another value; at the start of a training: the net has no encoder of its own.
    """

    def __init__(self, epochs: int | str) -> None:
        self.epochs = epochs if epochs == ALWAYS else checks.whole("freeze_encoder", epochs, 0, word=ALWAYS)
        self._encoder: nn.Module | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or not, also within an epoch that is continued."""
        net = pl_module.net
        assert isinstance(net, nn.Module)
        self._encoder = require_encoder(net, f"freeze_encoder={self.epochs}")
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or let go."""
        assert self._encoder is not None
        frozen = self._is_frozen(trainer)
        self._encoder.train(not frozen)
        if trainer.world_size == 1:  # several processes wait for all gradients
            self._encoder.requires_grad_(not frozen)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Drop gradients that were computed all the same; weight decay passes over weights without one."""
        assert self._encoder is not None
        if trainer.world_size > 1 and self._is_frozen(trainer):
            for parameter in self._encoder.parameters():
                parameter.grad = None

    def _is_frozen(self, trainer: Trainer) -> bool:
        return isinstance(self.epochs, str) or trainer.current_epoch < self.epochs
