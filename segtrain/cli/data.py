"""`segtrain check`: what is in a data set, what is wrong with it, what to train it with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from segtrain import checks
from segtrain.cli import Arguments
from segtrain.cli.compose import compose, show
from segtrain.cli.conf import groups
from segtrain.cli.remedies import can_go_on, next_steps, replaced
from segtrain.cli.words import ADDING_UP, parse_overrides, quoted
from segtrain.errors import UserError, shown
from segtrain.runs import clean_name, write_text

if TYPE_CHECKING:
    from segtrain.audit.check import Report
    from segtrain.audit.diagnose import Advice

OWN = ("exclude", "write")  # settings of check, which a training does not have
PATHS = ("data.root", "data.exclude")


def check(arguments: Arguments) -> int:
    """Look through a data set and print one screen; 1 where something must be mended before training."""
    if arguments.hydra:
        return show("check", arguments.overrides, arguments.hydra, arguments.config_dir)
    config, choices = compose("check", arguments.overrides, arguments.config_dir)
    from segtrain.audit.diagnose import diagnose
    from segtrain.cli.screen import screen
    from segtrain.console import set_up_logging

    set_up_logging()
    report = look_through(config, arguments.allow)
    words = [word for word in arguments.overrides if word.partition("=")[0] not in OWN]
    advice = [each for each in diagnose(report.facts) if is_offered(each, config)] if report.facts else []
    print(shown(screen(report, advice)), end="\n\n")
    if report.errors:
        print("\n".join(next_steps(report, config, words)))
        if config.exclude is not None and report.faulty:
            file = write_faulty(report, config)
            config.data.exclude = str(file)
            words = replaced(words, f"data.exclude={shlex.quote(str(file))}")
    if not report.errors or (config.exclude is not None and can_go_on(report)):
        print(f"to train: {shlex.join(training(config, choices, words, advice, arguments, report.name))}")
    elif config.write is not None:
        print(f"{config.write}: nothing is written there while there are errors")
    return int(bool(report.errors))


def training(
    config: DictConfig,
    choices: Mapping[str, str],
    words: Sequence[str],
    advice: Sequence[Advice],
    arguments: Arguments,
    name: str,
) -> list[str]:
    """The command that trains with what is recommended, which is written to a file where asked for.

    Args:
        config: composed.
        choices: option chosen in each group.
        words: of a training, as typed.
        advice: what is recommended.
        arguments: as typed.
        name: of the data set.
    """
    typed = {word.partition("=")[0] for word in words}
    new = [each for each in advice if not _is_typed(each, typed)]
    if config.write is None or not advice:
        flags = [] if arguments.config_dir is None else ["--config-dir", arguments.config_dir]
        return ["segtrain", "train", *flags, *words, *(word for each in new for word in each.words)]
    rest, text = written(config, choices, words, new)
    file = write_experiment(Path(str(config.write)).expanduser(), name, text)
    print(f"{file} holds what is recommended, and your own settings")
    return ["segtrain", "train", "--config-dir", str(config.write), f"experiment={file.stem}", *rest]


def look_through(config: DictConfig, allow: Sequence[str]) -> Report:
    """The report on the data of a configuration, with a bar on a terminal."""
    from segtrain.audit.check import check_files, check_source
    from segtrain.build import build, plain
    from segtrain.console import progress_bars
    from segtrain.data.files import FileData

    request = {key: value for key, value in plain(config.task).items() if key != "_target_"}
    crop, data = checks.size("crop", plain(config)["crop"]), build(config.data, "data", allow, "open")
    with progress_bars() as bar:
        if isinstance(data, FileData):
            return check_files(data, request, crop, bar)
        return check_source(data.open(request), crop, bar)


def is_offered(advice: Advice, config: DictConfig) -> bool:
    """Whether this data has the settings that are recommended."""
    keys = [key.rpartition(".") for key in advice.settings if not key.startswith("loss.")]
    return all(name in (OmegaConf.select(config, group) if group else config) for group, _, name in keys)


def _is_typed(advice: Advice, typed: set[str]) -> bool:
    """Whether the user has decided on it already."""
    keys = {key if not key.startswith("loss.") else "loss" for key in advice.settings}
    return bool(typed & (keys | ({"loss"} if advice.loss else set())))


def write_faulty(report: Report, config: DictConfig) -> Path:
    """Write the list of faulty files, and of those that are left out already; where it is.

    Raises:
        UserError: it cannot be written.
    """
    from segtrain.data.exclude import read_excluded, write_excluded

    root, file = Path(str(config.data.root)).expanduser(), Path(str(config.exclude)).expanduser()
    before = config.data.get("exclude")
    known = [] if before is None else [root / name for name in read_excluded(Path(str(before)).expanduser())]
    write_excluded(file, root, dict.fromkeys(known, "") | report.faulty)
    return file


def written(
    config: DictConfig, choices: Mapping[str, str], words: Sequence[str], advice: Sequence[Advice]
) -> tuple[list[str], str]:
    """Words and recommendations as a file of the group `experiment`.

    Args:
        config: composed.
        choices: option chosen in each group.
        words: as typed.
        advice: what to add.

    Returns:
        The words that no file can hold (+ and ~), and the text of the file.
    """
    chosen: dict[str, str | list[str]] = {}
    rest, settings = [], OmegaConf.create({})
    for word, override in zip(words, parse_overrides([quoted(word) for word in words]), strict=True):
        key = override.key_or_group
        if override.is_add() or override.is_delete() or override.package is not None:
            rest.append(word)
        elif key in groups():
            several = choices[key].split("+") if key in ADDING_UP else []
            chosen[key] = several if len(several) > 1 else choices[key]
        else:
            value = OmegaConf.select(config, key)
            absolute = key in PATHS and value is not None
            OmegaConf.update(settings, key, str(Path(value).expanduser().resolve()) if absolute else value)
    for each in advice:
        chosen |= {"loss": each.loss} if each.loss else {}
        for key, value in each.settings.items():
            OmegaConf.update(settings, key, value)
    reasons = [f"# {each.value}: {each.reason}" for each in advice if each.settings or each.loss]
    defaults: Any = {"defaults": [{f"override /{group}": option} for group, option in chosen.items()]}
    lines = [
        "# @package _global_",
        *reasons,
        OmegaConf.to_yaml(OmegaConf.create(defaults)) + OmegaConf.to_yaml(settings),
    ]
    return rest, "\n".join(lines)


def write_experiment(folder: Path, name: str, text: str) -> Path:
    """Write experiment/<name>.yaml in a folder of the user's own configurations.

    Raises:
        UserError: it is there already, or cannot be written.
    """
    file = folder / "experiment" / f"{clean_name(name)}.yaml"
    if file.exists():
        raise UserError(f"{file} is there already; remove it, or choose another folder with write=")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, f"{text.rstrip()}\n")
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}); choose another folder with write=") from error
    return file
