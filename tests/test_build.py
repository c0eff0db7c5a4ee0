"""What a configuration may name: our builders, known kinds of library classes, and what the user allows."""

from __future__ import annotations

import lightning.pytorch.callbacks
import pytest
from torch import nn

from segtrain.build import build, check_target
from segtrain.errors import UserError

REFUSED = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "torch.load",
    "pathlib.Path.unlink",
    "torch.nn.os.system",
    "lightning.pytorch.callbacks.model_checkpoint.os.system",
    "segtrain.checkpoint.Path",
    "segtrain.runs.os.system",
    "segtrain.checkpoint.load_checkpoint",
    "segtrain.run.train",
    "torch.nn.init.ones_",
    "torch.optim.lr_scheduler.partial",
    "hydra.utils.call",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.loggers.WandbLogger",
]


@pytest.mark.parametrize("target", REFUSED)
def test_refused(target: str) -> None:
    with pytest.raises(UserError, match=r"is not allowed to run|has no|no module"):
        check_target("callbacks.x", target)


@pytest.mark.parametrize(
    "target",
    [
        "segtrain.losses.build_loss",
        "torch.nn.BCEWithLogitsLoss",
        "lightning.pytorch.callbacks.EarlyStopping",
        "torchmetrics.MeanMetric",
        "segtrain.losses.region.DiceLoss",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.StepLR",
        "albumentations.HorizontalFlip",
    ],
)
def test_allowed(target: str) -> None:
    check_target("x", target)


def test_a_class_is_of_a_kind_by_what_it_is_not_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    false = type("Callback", (), {"__module__": "lightning.pytorch.callbacks"})
    monkeypatch.setattr(lightning.pytorch.callbacks, "Callback", false)
    with pytest.raises(UserError, match="not allowed"):
        check_target("callbacks.x", "lightning.pytorch.callbacks.Callback")


def test_code_of_the_users_own_is_allowed_by_hand_alone() -> None:
    with pytest.raises(UserError, match="--allow tests"):
        check_target("loss", "tests.own.SquaredError")
    check_target("loss", "tests.own.SquaredError", ("tests",))
    with pytest.raises(UserError, match="not allowed"):
        check_target("loss", "tests.own.torch.load", ("tests",))


def test_a_refused_target_is_found_at_any_depth() -> None:
    node = {"_target_": "torch.nn.Sequential", "_args_": [{"a": {"_target_": "os.system", "command": "true"}}]}
    with pytest.raises(UserError, match=r"x\._args_\[0\]\.a\._target_=os\.system"):
        build(node, "x")


def test_build_makes_the_object_and_passes_errors_on() -> None:
    assert isinstance(build({"_target_": "torch.nn.ReLU"}, "x"), nn.ReLU)
    with pytest.raises(UserError, match=r"x: .*surprise"):
        build({"_target_": "torch.nn.ReLU", "surprise": 1}, "x")
