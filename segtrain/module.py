"""The LightningModule: a net, a loss, metrics, and an optimizer; no step makes the host wait.

Sums are accumulated on the device and read once an epoch (and at each log interval). Epoch values go through
torchmetrics objects, so they are exact on any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from segtrain.checkpoint import FORMAT, KEY
from segtrain.losses import Combo
from segtrain.metrics import CalibrationProbe, Mean, SeenClasses, SegmentationMetrics, Threshold
from segtrain.models.scales import Scales, as_scales, at_scale, scale_weights
from segtrain.optim import Mode, Optim
from segtrain.task import Batch, Second, Task, valid_mask

Step = dict[str, Tensor]
STAGES = ("val", "test")


class SegmentationModule(LightningModule):
    """Trains and scores a segmentation net.

    Args:
        net: images to logits, in training perhaps to Scales, see SegmentationNet.
        loss: logits and target to a scalar.
        task: what is being segmented.
        optim: makes the optimizer and its schedule.
        monitor: the score that plateau schedules follow, such as "val/iou".
        monitor_mode: "max" or "min".
        record: plain containers kept in each checkpoint (the resolved configuration and the data's properties).
        include_background: whether class 0 takes part in mean scores (multiclass).
        empty_score: see SegmentationMetrics.
        threshold: see SegmentationMetrics.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        task: Task,
        optim: Optim,
        monitor: str = "val/iou",
        monitor_mode: Mode = "max",
        record: dict[str, Any] | None = None,
        include_background: bool = True,
        empty_score: float | None = None,
        threshold: Threshold = 0.5,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.task = task
        self.optim = optim
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self.record = record or {}
        self.scores = nn.ModuleDict(
            {stage: SegmentationMetrics(task, include_background, empty_score, threshold) for stage in STAGES}
        )
        self.probes = nn.ModuleDict({stage: CalibrationProbe(task) for stage in STAGES})
        self.seen = SeenClasses(task)
        means = {"train_loss": Mean(), "val_loss": Mean(), "test_loss": Mean()}
        parts = {f"part_{name}": Mean() for name in loss.terms} if isinstance(loss, Combo) else {}
        self.means = nn.ModuleDict(means | parts)
        self.training_net: tuple[Callable[[Tensor], Tensor], ...] = ()  # the compiled net, beside the state
        self._plateau: Any = None
        self._plateau_state: dict[str, Any] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Logits [N, C, H, W] of images [N, channels, H, W], uint8 or in [0, 1]; in training of the finest grid."""
        made: Tensor | Scales = self.net(image)
        return as_scales(made).logits[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Step:
        """Loss of one batch."""
        net = self.training_net[0] if self.training_net else self.net
        if isinstance(self.loss, Combo):
            self.loss.epoch = self.current_epoch
        loss, parts = self.loss_of_scales(as_scales(net(batch["image"])), batch)
        self.seen.update(batch["mask"], batch["forced"])
        self._mean("train_loss").update(loss.detach())
        for name, value in parts.items():
            self._mean(f"part_{name}").update(value.detach())
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> Step:
        """Loss and counts of one batch; returns its logits and ids for the pictures."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Step:
        """As validation_step, on the test split."""
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, stage: str) -> Step:
        logits = self.net(batch["image"])
        if isinstance(self.loss, Combo):  # the test scores a finished training
            self.loss.epoch = self.current_epoch if stage == "val" else None
        loss, _ = self.loss_and_parts(logits, batch["mask"])
        labelled = valid_mask(batch["mask"], self.task).sum().clamp(min=1)  # what a mean over pixels is a mean of
        self._mean(f"{stage}_loss").update(loss, labelled)
        predicted = self.counts(stage).predict(logits)
        self.counts(stage).update(logits, batch["mask"], predicted, batch["tiles"])
        self.probe(stage).update(logits, batch["mask"], predicted)
        return {"logits": logits, "predicted": predicted}

    def loss_of_scales(self, scales: Scales, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the scales, each half as heavy as the next finer; terms of the finest."""
        found = [
            self.loss_of_batch(logits, _batch_at_scale(batch, factor))
            for logits, factor in zip(scales.logits, scales.factors, strict=True)
        ]
        (finest, parts), *coarser = found
        if not coarser:  # as of most nets, whose steps may be short
            return finest, parts
        own, *others = scale_weights(len(found))
        total = own * finest
        for weight, (loss, _) in zip(others, coarser, strict=True):
            total = total + weight * loss
        return total, parts

    def loss_of_batch(self, logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """As loss_and_parts; of blended images lam L(z, a) + (1 - lam) L(z, b), each term likewise."""
        loss, parts = self.loss_and_parts(logits, batch["mask"])
        if "second" not in batch:
            return loss, parts
        mask, lam = batch["second"]
        other, others = self.loss_and_parts(logits, mask)
        blended = {name: lam * value + (1 - lam) * others[name] for name, value in parts.items()}
        return lam * loss + (1 - lam) * other, blended

    def loss_and_parts(self, logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and, for a combination, the value of each term; in float32 whatever the net computed in."""
        with torch.autocast(logits.device.type, enabled=False):
            if not isinstance(self.loss, Combo):
                return self.loss(logits, target), {}
            parts = self.loss.parts(logits, target)
            return self.loss.total(parts), parts

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean losses and classes; a plateau schedule steps here, before the checkpoint is written."""
        values: dict[str, Any] = {"train/loss": self._take("train_loss")}
        if isinstance(self.loss, Combo):
            values |= {f"train_parts/{name}": self._take(f"part_{name}") for name in self.loss.active()}
            values |= {f"train_weights/{name}": self.loss.weight(name) for name in self.loss.ramps}
        values |= {f"train_{key}": float(share) for key, share in self.seen.compute().items()}
        self.seen.reset()
        values["optim/lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(values, logger=False)
        if self._plateau is not None and self.monitor in self.trainer.callback_metrics:
            self._plateau.step(float(self.trainer.callback_metrics[self.monitor]))

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        values = {f"{stage}/loss": self._take(f"{stage}_loss")}
        values |= {score_tag(stage, key): float(score) for key, score in self.counts(stage).compute().items()}
        values |= {f"{stage}_probe/{key}": float(score) for key, score in self.probe(stage).compute().items()}
        self.log_dict(values, logger=False)

    def on_validation_epoch_start(self) -> None:
        """Begin counting anew."""
        self._reset("val")

    def on_test_epoch_start(self) -> None:
        """Begin counting anew."""
        self._reset("test")

    def _reset(self, stage: str) -> None:
        self.counts(stage).reset()
        self.probe(stage).reset()
        self._mean(f"{stage}_loss").reset()

    def _take(self, key: str) -> float:
        """Read a mean and begin it anew."""
        mean = self._mean(key)
        value = float(mean.compute())
        mean.reset()
        return value

    def _mean(self, key: str) -> Mean:
        return cast(Mean, self.means[key])

    def counts(self, stage: str) -> SegmentationMetrics:
        """The counts of a stage: "val" or "test"."""
        return cast(SegmentationMetrics, self.scores[stage])

    def probe(self, stage: str) -> CalibrationProbe:
        """The probabilities of a stage, see counts."""
        return cast(CalibrationProbe, self.probes[stage])

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule; the plateau is stepped by this module, since Lightning does it after saving."""
        trainer: Any = self.trainer
        images = trainer.datamodule.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        optimizer = self.optim.optimizer(self.net, images)
        scheduler, self._plateau = self.optim.scheduler(optimizer, self._total_steps(), self.monitor_mode)
        if self._plateau is not None and self._plateau_state is not None:
            self._plateau.load_state_dict(self._plateau_state)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm; Lightning refuses to where fused optimizers meet bfloat16, which scales no gradients."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _total_steps(self) -> int:
        """Optimizer steps of the whole run.

        Lightning's estimated_stepping_batches would make the loader before the progress is restored, and a resumed
        epoch would begin at its start.
        """
        trainer: Any = self.trainer
        batches = int(trainer.datamodule.train_batches())
        if isinstance(trainer.limit_train_batches, int):
            batches = min(batches, trainer.limit_train_batches)
        return math.ceil(batches / int(trainer.accumulate_grad_batches)) * int(trainer.max_epochs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to build the net again and to know what made it."""
        checkpoint[KEY] = {"format": FORMAT, "processes": self.trainer.world_size, **self.record}
        if self._plateau is not None:
            checkpoint[KEY]["plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau's state until the optimizer exists; refuse numbers of other kinds.

        Raises:
            ValueError: torchmetrics would take over what it finds, and fail when it adds to it.
        """
        own = self.state_dict()
        for key, value in checkpoint["state_dict"].items():
            if key in own and own[key].dtype != value.dtype:
                raise ValueError(f"{key} holds {value.dtype}, not {own[key].dtype}")
        self._plateau_state = checkpoint.get(KEY, {}).get("plateau")


def _batch_at_scale(batch: Batch, factor: int) -> Batch:
    """A batch with the ids of a coarser grid; images stay as they are."""
    coarse: Batch = {**batch, "mask": at_scale(batch["mask"], factor)}
    if "second" in batch:
        mask, lam = batch["second"]
        coarse["second"] = Second(at_scale(mask, factor), lam)
    return coarse


def score_tag(stage: str, key: str) -> str:
    """TensorBoard tag of a score: iou -> val/iou, micro/iou -> val_micro/iou, class/iou_x -> val_class/iou_x."""
    group, _, rest = key.partition("/")
    return f"{stage}_{group}/{rest}" if rest else f"{stage}/{key}"
