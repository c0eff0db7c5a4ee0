"""From a checkpoint to masks: `segtrain.load(path)(image) -> mask`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segtrain.checkpoint import KEY, load_checkpoint, load_net, understood
from segtrain.decode.reading import Reading, reading_of
from segtrain.errors import UserError
from segtrain.metrics import Threshold, logit_cuts, predict_ids
from segtrain.models import SegmentationNet, build_model
from segtrain.task import Task
from segtrain.windows import MARGIN, SIDE, Size, Tiling, Window

Image = npt.NDArray[np.generic]
Ids = npt.NDArray[np.uint8]


class Predictor:
    """A trained net with its task.

    Args:
        net: images to logits.
        task: what it segments.
        device: where it runs.
        precision: "32-true", "bf16-mixed" or "16-mixed", as the trainer's.
        threshold: binary and multilabel: the probability above which a pixel is a yes; one, or one per class.
        reading: how the images that it was trained on were read.
        tiling: which images go through the net in tiles; it should know the net's stride.
    """

    def __init__(
        self,
        net: SegmentationNet,
        task: Task,
        device: str | torch.device = "cpu",
        precision: str = "32-true",
        threshold: Threshold = 0.5,
        reading: Reading | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        self.task = task
        self.reading = reading or Reading()
        self.tiling = tiling or Tiling(stride=net.stride)
        self.device = torch.device(device)
        self.cuts = logit_cuts(threshold, task).to(self.device)
        self.net = net.eval().to(memory_format=torch.channels_last).to(self.device)
        self.dtype = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}[precision]

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return int(self.net.mean.shape[1])

    def __call__(self, image: Image) -> Ids:
        """Class ids of one image of any size.

        Args:
            image: [H, W, C], or [H, W] for one channel; uint8 in [0, 255] or float in [0, 1].

        Returns:
            uint8 [H, W]: 0 or 1 in binary, the class in multiclass; [K, H, W] of 0 or 1 in multilabel.

        Raises:
            UserError: another number of channels than the net was trained with, or another dtype.
        """
        if image.ndim not in (2, 3):
            raise UserError(f"the image must be [H, W, {self.channels}], got shape {list(image.shape)}")
        return self.read_and_predict((image.shape[0], image.shape[1]), lambda window: image[window.slices])

    def read_and_predict(self, size: Size, read: Callable[[Window], Image]) -> Ids:
        """Class ids of one image that is read in parts: in one where it goes through the net as a whole.

        Args:
            size: its (height, width).
            read: a part of it, as __call__ takes images.

        Returns:
            See __call__.

        Raises:
            UserError: see __call__, or whatever `read` raises.
        """
        ids = np.empty((*((self.task.num_classes,) if self.task.mode == "multilabel" else ()), *size), np.uint8)
        for tile in self.tiling.tiles(size):
            found = predict_ids(self.logits(read(tile.window)), self.task, self.cuts)[0]
            ids[(..., *tile.core.slices)] = found[(..., *tile.inner.slices)].to(torch.uint8).cpu().numpy()
        return ids

    def logits(self, image: Image) -> Tensor:
        """Logits of one image, which goes through the net as a whole; float32 [1, C, H, W], on the device."""
        pixels = torch.from_numpy(np.require(self._checked(image), requirements=["C", "W"])).permute(2, 0, 1)[None]
        enabled = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype if enabled else None, enabled=enabled):
            logits: Tensor = self.net(pixels.to(self.device))
        return logits.float()

    def _checked(self, image: Image) -> Image:
        image = image[..., None] if image.ndim == 2 else image
        if image.ndim != 3 or image.shape[2] != self.channels:
            raise UserError(f"the image must be [H, W, {self.channels}], got shape {list(image.shape)}")
        if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
            raise UserError(f"the image must be uint8 in [0, 255] or float in [0, 1], got {image.dtype}")
        if image.dtype == np.uint8:
            return image
        low, high = float(image.min(initial=0)), float(image.max(initial=0))
        if not (low >= 0 and high <= 1):  # also where there is a NaN
            raise UserError(
                f"a float image must be in [0, 1], this one has {low:g} .. {high:g}; divide it by its range"
            )
        return image.astype(np.float32)


def load_predictor(
    path: str | Path, device: str | torch.device = "cpu", precision: str = "32-true", threshold: Threshold = 0.5
) -> Predictor:
    """Load a checkpoint for prediction; nothing in the file can run.

    Args:
        path: a .ckpt file of segtrain.
        device: where to run.
        precision: see Predictor.
        threshold: see Predictor.

    Raises:
        UserError: no such file, damaged, or not from segtrain.
    """
    checkpoint = load_checkpoint(path)
    stored = checkpoint[KEY]
    with understood(path):
        task = Task(**stored["task"])
        net = rebuild_net(stored, task)
        load_net(net, checkpoint, path)
        tiling = stored_tiling(stored, net.stride)
        reading = reading_of(stored["config"]["data"], int(stored["channels"]))
    return Predictor(net, task, device, precision, threshold, reading, tiling)


def stored_tiling(stored: dict[str, Any], stride: int) -> Tiling:
    """Which images a checkpoint's training evaluated in tiles; runs of before there were any have the default."""
    config = stored["config"]
    return Tiling(config.get("tile", SIDE), config.get("tile_margin", MARGIN), stride)


def rebuild_net(stored: dict[str, Any], task: Task) -> SegmentationNet:
    """The net of a checkpoint, by name and without weights of its own: those follow from the checkpoint."""
    config = {k: v for k, v in stored["config"]["model"].items() if not k.startswith("_")}
    channels = int(stored["channels"])
    config["encoder_weights"] = None
    config = {k: v for k, v in config.items() if v is not None}
    return build_model(task, channels, [0.0] * channels, [1.0] * channels, **config)
