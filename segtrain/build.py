"""The one place where a configuration becomes objects, and the check of what it may name.

`_target_` in a yaml names code to run. What it *resolves to* is checked, not its text: it must be one of our
builders, or a class of a known library of a known kind. Code of the user's own is allowed by hand, on the
command line: `--allow my_pkg`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from segtrain.audit.diagnose import Choice, choose_loss
from segtrain.decode.reading import reading_of
from segtrain.errors import UserError
from segtrain.secrets import masked
from segtrain.task import ClassStats, Task

if TYPE_CHECKING:
    from segtrain.augment import Augmentation
    from segtrain.data import DataSource
    from segtrain.mixing import Mixing

BUILDERS = {
    "segtrain.augment.build_augmentation",
    "segtrain.mixing.build_mixing",
    "segtrain.layouts.cityscapes.CityscapesLayout",
    "segtrain.layouts.coco.CocoLayout",
    "segtrain.data.files.FileData",
    "segtrain.layouts.folder.FolderLayout",
    "segtrain.layouts.labelme.LabelmeLayout",
    "segtrain.layouts.objects.ObjectsLayout",
    "segtrain.layouts.pet.PetLayout",
    "segtrain.layouts.stack.StackLayout",
    "segtrain.data.synthetic.SyntheticData",
    "segtrain.layouts.table.TableLayout",
    "segtrain.layouts.voc.VocLayout",
    "segtrain.layouts.yolo.YoloLayout",
    "segtrain.losses.build_loss",
    "segtrain.losses.combo.Combo",
    "segtrain.models.build_model",
    "segtrain.optim.Optim",
    "segtrain.task.ClassStats",
    "segtrain.task.Task",
}
LIBRARIES = (
    "segtrain",
    "torch.nn",
    "torch.optim",
    "lightning.pytorch",
    "torchmetrics",
    "segmentation_models_pytorch",
    "albumentations",
)
# classes whose subclasses in those libraries may be named; imported when one is asked for
KINDS = (
    "torch.nn.Module",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
    "lightning.pytorch.Callback",
    "torchmetrics.Metric",
    "albumentations.BasicTransform",
)


def plain(config: Any) -> Any:
    """A configuration as plain containers, resolved."""
    return OmegaConf.to_container(config, resolve=True)


def shown(config: Any) -> str:
    """A configuration as yaml for files and people: resolved, without secrets."""
    return OmegaConf.to_yaml(OmegaConf.create(masked(plain(config))))


def build(node: Any, key: str, allow: Iterable[str] = (), needs: str = "") -> Any:
    """Build what a configuration node describes, all nodes below it first.

    Args:
        node: with `_target_`; None gives None.
        key: of the node, for error messages.
        allow: packages of the user whose code may be named.
        needs: attribute that whoever asked will use; "" for none.

    Raises:
        UserError: no target, one that is not allowed or makes something else, or whatever the target refuses.
    """
    if node is None:
        return None
    if "_target_" not in node:
        raise UserError(f"{key} has no _target_, so there is nothing to build; conf/loss/focal.yaml is an example")
    for where, target in targets(node, key):
        check_target(where, target, tuple(allow))
    try:
        made = hydra.utils.instantiate(node, _convert_="all")
        if needs and made is not None and not hasattr(made, needs):  # mix=none makes nothing
            raise UserError(f"{key}._target_={node['_target_']} makes a {type(made).__name__}, which is no {key}")
        return made
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(f"{key}: {' '.join(str(cause or error).split())[:400]}") from error


def open_source(config: DictConfig, allow: Iterable[str] = ()) -> DataSource:
    """Look through the data of a training.

    Raises:
        UserError: whatever is wrong with it, or no images to train or to validate with.
    """
    wanted = {key: value for key, value in plain(config.task).items() if key != "_target_"}
    source: DataSource = build(config.data, "data", allow, "open").open(wanted)
    for split in ("train", "val"):
        if split not in source.splits:
            raise UserError(
                f"data {source.name} has no {split} images, and training needs them: data.split=random divides those "
                f"that are there, and of data=synthetic there are as many as data.{split} says"
            )
    return source


def build_augmentation_of(config: DictConfig, source: DataSource, allow: Iterable[str] = ()) -> Augmentation:
    """Build the augmentation of a configuration.

    Args:
        config: with the task filled in.
        source: whose images it is for.
        allow: see build.

    Raises:
        UserError: whatever `build` refuses, or ops that cannot work on the images.
    """
    augmentation: Augmentation = build(config.aug, "aug", allow, "check")
    augmentation.check(source.channels, source.dtype, reading_of(plain(config.data), source.channels))
    return augmentation


def build_mixing_of(config: DictConfig, allow: Iterable[str] = ()) -> Mixing | None:
    """Build the mixing of a configuration.

    Raises:
        UserError: whatever `build` refuses, or batches of too few images.
    """
    mixing: Mixing | None = build(config.mix, "mix", allow, "off_epochs")
    if mixing is not None and config.batch_size < mixing.kind.least:
        raise UserError(
            f"mix={config.mix.kind} needs batches of {mixing.kind.least} or more images, and batch_size is "
            f"{config.batch_size}; raise it, or choose mix=none or mix=copy_paste"
        )
    return mixing


def settle_loss(config: DictConfig, task: Task, stats: ClassStats) -> Choice | None:
    """With loss=auto, put the loss that the training set calls for into the configuration.

    Args:
        config: whose `loss` is replaced.
        task: what is segmented.
        stats: of the training set.

    Returns:
        What was chosen; None where a loss was given.
    """
    if "choices" not in config.loss:
        return None
    choice = choose_loss(task, stats)
    if choice.loss not in (config.loss.choices or {}):
        raise UserError(f"loss.choices has no {choice.loss}, which loss=auto takes here; see conf/loss/auto.yaml")
    with open_dict(config):
        config.loss = config.loss.choices[choice.loss]
        for key, value in choice.settings.items():
            OmegaConf.update(config.loss, key, value)
    return choice


def build_loss_of(config: DictConfig, allow: Iterable[str] = ()) -> Any:
    """Build the loss of a configuration.

    Raises:
        UserError: it names no code to run, or whatever `build` refuses.
    """
    return build(config.loss, "loss", allow, "forward")


def with_task(config: DictConfig, task: Task, stats: ClassStats) -> DictConfig:
    """A configuration with this task and these statistics of a training set filled in."""
    config = config.copy()
    with open_dict(config):
        for key, value in (("task", task), ("stats", stats)):
            config[key] = {"_target_": f"segtrain.task.{type(value).__name__}", **plain_fields(value)}
    return config


def plain_fields(instance: Task | ClassStats) -> dict[str, Any]:
    """Fields of a dataclass as lists and numbers, for yaml and checkpoints."""
    fields = asdict(instance)
    return {
        k: [list(v) if isinstance(v, tuple) else v for v in x] if isinstance(x, tuple) else x for k, x in fields.items()
    }


def targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, target) of every `_target_` in a node and below."""
    if isinstance(node, (DictConfig, dict)):
        for name in node:
            if name == "_target_":
                yield key, str(node[name])
            else:
                yield from targets(node[name], f"{key}.{name!s}")
    elif isinstance(node, (ListConfig, list)):
        for index, item in enumerate(node):
            yield from targets(item, f"{key}[{index}]")


def check_target(key: str, target: str, allow: tuple[str, ...] = ()) -> None:
    """Refuse a target that is not one of the builders, known kinds of classes, or allowed packages.

    Raises:
        UserError: naming the key, the target and how to allow it.
    """
    if target in BUILDERS:
        return
    if _below(target, (*LIBRARIES, *allow)):
        found = _locate(key, target)
        name = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        if _below(name, allow):
            return
        if inspect.isclass(found) and _below(name, LIBRARIES) and issubclass(found, _kinds()):
            return
    package = target.split(".")[0]
    raise UserError(
        f"{key}._target_={target} is not allowed to run; if the code is yours and you trust it, add --allow {package}"
    )


@functools.cache
def _kinds() -> tuple[type, ...]:
    return tuple(_locate("segtrain.build.KINDS", kind) for kind in KINDS)


def _below(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _locate(key: str, target: str) -> Any:
    """The object that a dotted name means; modules are imported from left to right as far as they go."""
    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            if not hasattr(found, name):
                raise UserError(f"{key}._target_={target}: {found.__name__} has no {name}")
            found = getattr(found, name)
        return found
    raise UserError(f"{key}._target_={target}: no module of that name can be imported")
