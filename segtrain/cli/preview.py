"""`segtrain preview`: what augmentation makes of the images that a training begins with, as a picture."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain import checks
from segtrain.cli import COMPARE, Arguments
from segtrain.cli.compose import show
from segtrain.cli.several import Combination, combinations, is_setting, read_values
from segtrain.errors import UserError
from segtrain.runs import clean_name
from segtrain.tuning.auto import AUTO

if TYPE_CHECKING:
    from segtrain.augment import Augmentation
    from segtrain.data import DataSource
    from segtrain.draw import Picture
    from segtrain.preview import Cell, Stages
    from segtrain.task import Batch

OWN = ("rows", "columns", "mask", "epoch", "output")  # settings of preview, which a training does not have
GROUPS = ("aug", "mix")  # what may be compared
MOST_ROWS, MOST_COLUMNS, MOST_PIPELINES = 32, 8, 8  # of a picture of at most a hundred million pixels
NOT_MIXED = "none"


@dataclass(frozen=True)
class Pipeline:
    """What a training does to its images.

    Args:
        config: with the data's task filled in.
        source: the data.
        augmentation: of crops.
        mix: (batch, step) -> batch; None: images are not mixed.
        kind: of mixing, in a word.
    """

    config: Any
    source: DataSource
    augmentation: Augmentation
    mix: Callable[[Batch, int], Batch] | None = None
    kind: str = ""

    def samples(self, number: int) -> Iterator[Stages]:
        """So many samples of the epoch, in the order of a training, at most as many as it has."""
        from segtrain.data import collate
        from segtrain.data.plan import plan_training
        from segtrain.data.training import training_batches, training_order, training_set
        from segtrain.preview import stages, trace_samples

        config = self.config
        dataset = training_set(self.source, self.augmentation, config.seed, self.augmentation.size)
        order = training_order(plan_training(self.source, config.passes), config.seed)
        order.set_epoch(config.epoch)
        for step, keys in enumerate(training_batches(order, config.batch_size)):
            left = number - step * config.batch_size
            if left <= 0:
                return
            # mixing needs all of a batch
            samples = trace_samples(dataset, keys if self.mix is not None else keys[:left])
            batch = collate(samples) if self.mix is None else self.mix(collate(samples), step)
            yield from stages(samples[:left], batch, self.kind)


def preview(arguments: Arguments) -> int:
    """Write a picture of training samples before and after augmentation, and say what was applied how often."""
    words = arguments.overrides
    if arguments.hydra:
        return show("preview", words, arguments.hydra, arguments.config_dir)
    chosen = _chosen(arguments)
    config = chosen[0].config
    output = None if config.output is None else Path(str(config.output)).expanduser()
    _check(config, output)
    from segtrain.build import open_source
    from segtrain.console import set_up_logging

    set_up_logging()
    source = open_source(looking_for_all([one.config for one in chosen]), arguments.allow)
    pipelines = {_label(one, chosen): build_pipeline(one, source, arguments.allow) for one in chosen}
    output = output or Path(f"{clean_name(f'preview_{source.name}_{_file_name(chosen)}')}.png")
    picture, cells = _compared(pipelines, _shared(chosen)) if arguments.compare else _grid(pipelines)
    _save(picture, output)
    for label, drawn in cells.items():
        print(_applied(label, drawn))
    print(f"picture: {output}")
    if not arguments.compare:
        print(f"to train: {shlex.join(_training(arguments))}")
    return 0


def _chosen(arguments: Arguments) -> list[Combination]:
    """What is shown: one pipeline, or several of them.

    Raises:
        UserError: several without --compare, one with it, or too many.
    """
    from segtrain.cli.words import parse_overrides, quoted

    words = arguments.overrides
    for word, override in zip(words, parse_overrides([quoted(word) for word in words]), strict=True):
        if override.is_sweep_override() and not arguments.compare:
            raise UserError(f"{word}: several values need {COMPARE}, which puts them side by side; a list is [a,b]")
    found = combinations("preview", read_values(words, GROUPS), GROUPS, arguments.config_dir)
    chosen = list(islice(found, MOST_PIPELINES + 1))
    if len(chosen) > MOST_PIPELINES:
        raise UserError(f"{COMPARE} puts at most {MOST_PIPELINES} pipelines side by side; these are more")
    if arguments.compare and len(chosen) == 1:
        raise UserError(f"{COMPARE} needs several values of a setting, as in aug=light,heavy")
    if arguments.compare and any(word.startswith("columns=") for word in words):
        raise UserError(f"columns has no use with {COMPARE}, where each column is a pipeline; rows=N shows more images")
    return chosen


def looking_for_all(configs: Sequence[Any]) -> Any:
    """The first configuration, whose data also knows what the others want to know of it."""
    first = configs[0].copy()
    if "bank" in first.data:
        first.data.bank = max(int(config.data.bank) for config in configs)
    return first


def _check(config: Any, output: Path | None) -> None:
    """Values that would be found wrong only after the data was looked through."""
    checks.whole("seed", config.seed, 0, math.inf)
    if config.batch_size != AUTO:
        checks.whole("batch_size", config.batch_size, 1)
    checks.whole("rows", config.rows, 1, MOST_ROWS)
    checks.whole("columns", config.columns, 1, MOST_COLUMNS)
    checks.flag("mask", config.mask)
    checks.whole("epoch", config.epoch, 0, checks.whole("epochs", config.epochs, 1) - 1)
    if output is not None:
        checks.choice("output: the ending", output.suffix, (".png",))


def build_pipeline(chosen: Combination, source: DataSource, allow: Sequence[str]) -> Pipeline:
    """What a training with these words does.

    Raises:
        UserError: whatever augmentation or mixing refuses.
    """
    from segtrain.build import build_augmentation_of, build_mixing_of, with_task
    from segtrain.mixed import make_bank, mix_step
    from segtrain.tuning.auto import stand_in

    config = with_task(stand_in(chosen.config), source.task, source.stats)
    augmentation = build_augmentation_of(config, source, allow)
    mixing = build_mixing_of(config, allow)
    if mixing is None:
        return Pipeline(config, source, augmentation)
    bank = make_bank(mixing, source, augmentation, config.seed, augmentation.size)

    def mix(batch: Batch, step: int) -> Batch:
        return mix_step(mixing, batch, bank, config.seed, (config.epoch, step, 0), config.epochs)

    return Pipeline(config, source, augmentation, mix, chosen.choices["mix"])


def _label(one: Combination, chosen: Sequence[Combination]) -> str:
    """A pipeline by what the others do not share."""
    if len(chosen) == 1:
        return _named(one)
    shared = set(chosen[0].words).intersection(*(other.words for other in chosen))
    return " ".join(word for word in one.words if word not in shared) or _named(one)


def _shared(chosen: Sequence[Combination]) -> list[str]:
    """The words on augmentation and mixing that all pipelines have in common."""
    words = [word for word in chosen[0].words if all(word in other.words for other in chosen)]
    return [word for word in words if word.lstrip("+~").partition("=")[0].partition(".")[0] in GROUPS]


def _named(one: Combination) -> str:
    """A pipeline by its options and what was typed of their settings."""
    mix = one.choices["mix"]
    options = [f"aug={one.choices['aug']}", *([] if mix == NOT_MIXED else [f"mix={mix}"])]
    return " ".join([*options, *(word for word in one.words if is_setting(word, GROUPS))])


def _file_name(chosen: Sequence[Combination]) -> str:
    """The options, in short."""
    names = [(one.choices["aug"], one.choices["mix"]) for one in chosen]
    options = dict.fromkeys(aug if mix == NOT_MIXED else f"{aug}-{mix}" for aug, mix in names)
    return ",".join(options) + ("_compared" if len(chosen) > 1 else "")


def _grid(pipelines: Mapping[str, Pipeline]) -> tuple[Picture, dict[str, list[Cell]]]:
    """Samples of one pipeline."""
    from segtrain.preview import sample_cell, sample_sheet, side_of

    ((label, pipeline),) = pipelines.items()
    config, task = pipeline.config, pipeline.source.task
    side = side_of(3 * config.columns)
    cells = [sample_cell(s, task, side, config.mask) for s in pipeline.samples(config.rows * config.columns)]
    title = f"{pipeline.source.name}: {label}, {_what(pipeline)}"
    return sample_sheet(cells, config.columns, task, title, side), {label: cells}


def _compared(pipelines: Mapping[str, Pipeline], shared: Sequence[str]) -> tuple[Picture, dict[str, list[Cell]]]:
    """The same samples through several pipelines, which have some words in common."""
    from segtrain.preview import compare_sheet, image_cell, overlay_cell, side_of

    first = next(iter(pipelines.values()))
    rows, task, side = first.config.rows, first.source.task, side_of(1 + len(pipelines))
    originals = [image_cell(sample, task, side) for sample in first.samples(rows)]
    over = first.config.mask
    cells = {name: [overlay_cell(s, task, side, over) for s in one.samples(rows)] for name, one in pipelines.items()}
    title = ", ".join([f"{first.source.name}: {_what(first)}", *shared])
    return compare_sheet(originals, cells, task, title, side), cells


def _what(pipeline: Pipeline) -> str:
    height, width = pipeline.augmentation.size
    config = pipeline.config
    return f"crops of {width} x {height} pixels, epoch {config.epoch}, seed {config.seed}"


def _applied(label: str, cells: Sequence[Cell]) -> str:
    """How often each op was applied, the most frequent first."""
    times = Counter(op for cell in cells for op in {word.partition(" ")[0] for word in cell.words})
    listed = ", ".join(f"{op} {number}" for op, number in times.most_common())
    return f"{label}, of {len(cells)} samples: {listed}"


def _training(arguments: Arguments) -> list[str]:
    """The command that trains with what is shown."""
    flags = [] if arguments.config_dir is None else ["--config-dir", arguments.config_dir]
    flags += [word for package in arguments.allow for word in ("--allow", package)]
    return ["segtrain", "train", *flags, *(w for w in arguments.overrides if w.partition("=")[0] not in OWN)]


def _save(picture: Picture, path: Path) -> None:
    """Write a picture, making its folder.

    Raises:
        UserError: it cannot be written.
    """
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    except OSError as error:
        raise UserError(f"output={path} cannot be written: {error.strerror}; give another path") from error
