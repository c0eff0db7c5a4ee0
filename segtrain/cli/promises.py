"""`segtrain test-loss`: which promises a loss keeps.

    python -m segtrain.cli.promises ARGUMENTS FOLDER RANK

is one of the two processes of a promise that needs two; ARGUMENTS are those of the command, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain import checks
from segtrain.cli import Arguments
from segtrain.cli.compose import compose
from segtrain.cli.conf import options, top_keys
from segtrain.cli.own import use_folder
from segtrain.cli.words import parse_overrides
from segtrain.errors import UserError

if TYPE_CHECKING:
    from segtrain.contract.promise import Loss
    from segtrain.task import Task

USAGE = "segtrain test-loss my_pkg.MyLoss gamma=3"
ELSEWHERE = {
    "task": "a loss is tried in each mode; choose among them as in modes=binary,multilabel",
    "stats": "the class statistics are those of the examples; leave stats out",
    "loss": "the loss is the first word, without a key, and one at a time is tried",
}


@dataclass(frozen=True)
class Request:
    """What is to be tried.

    Args:
        name: of the loss.
        build: builds it for a task.
        params: of the loss; a combination's hold those of its terms.
        modes: those that were asked for.
    """

    name: str
    build: Callable[[Task], Loss]
    params: Mapping[str, Any]
    modes: Sequence[str]


def test_loss(arguments: Arguments) -> int:
    """Try a loss on everything that losses must do; 1 where it breaks a promise.

    The first word is a registered name, an option of the group `loss` or the dotted path of the user's own class,
    the others are its parameters. Who types the path of their own code wants it to run, so no --allow is asked for.
    """
    request = read(arguments)
    from segtrain.cli.verdicts import report
    from segtrain.contract.named import offered
    from segtrain.contract.processes import examine_processes
    from segtrain.contract.suite import examine

    refusals = offered(request.name, request.build, request.modes)
    verdicts = list(examine(request.build, [mode for mode in request.modes if not refusals[mode]], request.params))
    command = [sys.executable, "-m", __name__, json.dumps(asdict(arguments))]
    verdicts += examine_processes(command, request.build, verdicts)
    print(report(" ".join(arguments.overrides), verdicts, refusals))
    return int(any(verdict.must and verdict.breach for verdict in verdicts))


def read(arguments: Arguments) -> Request:
    """What the words ask for.

    Raises:
        UserError: a word that cannot be read, or no such loss.
    """
    words = arguments.overrides
    if not words or not words[0] or "=" in words[0]:
        raise UserError(f"test-loss takes the loss first, without a key, then its parameters, as in {USAGE}")
    use_folder(arguments.config_dir)
    name, rest = words[0], [word for word in words[1:] if not word.startswith("modes=")]
    if not name.isprintable():
        raise UserError(f"{name!r} is no loss; write its name alone, as in {USAGE}")
    modes = _modes([word for word in words[1:] if word.startswith("modes=")])
    for word in rest:
        key = word.partition("=")[0]
        if key in ELSEWHERE:
            raise UserError(f"{word}: {ELSEWHERE[key]}")
    if _is_composed(name, arguments.config_dir):
        return Request(name, *_composed(name, rest, arguments), modes)
    params = _params([word.removeprefix("loss.") for word in rest])
    from segtrain.contract.named import loss_builder
    from segtrain.losses import LOSSES

    if "." not in name and name not in LOSSES:
        known = [*options("loss"), *(file.stem for file in _own_folder(arguments.config_dir).glob("*.yaml"))]
        near = checks.did_you_mean(name, known)
        raise UserError(f"{name} is no loss{near}; give one of {', '.join(known)}, or a class as in my_pkg.MyLoss")
    return Request(name, loss_builder(name, params), params, modes)


def _params(words: Sequence[str]) -> dict[str, Any]:
    """Parameters of a constructor."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    params = OmegaConf.create()
    for word in words:
        if "=" not in word or word.startswith("="):
            raise UserError(f"cannot read {word!r}; parameters are written key=value, as in {USAGE}")
        try:
            params.merge_with_dotlist([word])
        except YAMLError as error:
            raise UserError(f"cannot read {word!r}: its value is no YAML; lists are written [a,b]") from error
    found: Any = OmegaConf.to_container(params)
    return dict(found)


def _modes(words: Sequence[str]) -> list[str]:
    from segtrain.task import MODES

    if not words:
        return list(MODES)
    modes = words[-1].partition("=")[2].strip("[]").replace(" ", "").replace("'", "").split(",")
    return [checks.choice("modes: each", mode, MODES) for mode in modes]


def _is_composed(name: str, config_dir: str | None) -> bool:
    """Whether a configuration says what the loss is: a combination, or a file of the user's own."""
    if (_own_folder(config_dir) / f"{name}.yaml").is_file():
        return True
    return name in options("loss") and "name" not in top_keys("loss", name)


def _own_folder(config_dir: str | None) -> Path:
    """Where the user's own losses are; nowhere without --config-dir."""
    return Path(config_dir).expanduser() / "loss" if config_dir is not None else Path("/nowhere")


def _composed(name: str, words: Sequence[str], arguments: Arguments) -> tuple[Callable[[Task], Loss], Any]:
    """What builds the loss of a configuration, as for a training, and its parameters."""
    settings = [_in_loss(word) for word in words]
    for word, override in zip(words, parse_overrides(settings), strict=True):
        if override.is_sweep_override():
            raise UserError(f"{word}: test-loss tries one loss at a time; a list is written [a,b]")
    config, _ = compose("explain", [f"loss={name}", *settings], arguments.config_dir)
    from omegaconf import OmegaConf

    from segtrain.build import build_loss_of, with_task
    from segtrain.contract.examples import STATS

    def made(task: Task) -> Loss:
        loss: Loss = build_loss_of(with_task(config, task, STATS[task.mode]), arguments.allow)
        return loss

    return made, OmegaConf.to_container(config.loss)


def _in_loss(word: str) -> str:
    """A parameter as an override of the configuration; also taken as train takes it, with loss. before it."""
    key = word.lstrip("+~")
    sign = word.removesuffix(key)
    if "=" not in word and sign != "~":
        raise UserError(f"cannot read {word!r}; parameters are written key=value, as in weights.dice=2")
    return word if key.startswith(("loss.", "loss@")) else f"{sign}loss.{key}"


if __name__ == "__main__":
    from segtrain.contract.processes import work

    work(Path(sys.argv[2]), int(sys.argv[3]), read(Arguments(**json.loads(sys.argv[1]))).build)
