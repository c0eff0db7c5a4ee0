"""A secret that a run is given stands in no file of the run and in nothing that it says."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from segtrain.checkpoint import KEY
from segtrain.cli import main
from segtrain.console import log
from segtrain.errors import UserError
from segtrain.resume import Resume, check_continuation
from segtrain.secrets import MASK, masked
from tests import tiny

TOKEN, WORD, QUERY = "canary-tk-4711", "canary-pw-4712", "canary-q-4713"
URL = f"https://me:{WORD}@host.invalid/x?access_token={QUERY}"
GIVEN = [f"+callbacks.notify={{_target_:tests.faults.test_secrets.Notify,token:{TOKEN},url:'{URL}'}}"]
ONE_BY_ONE = [
    "+callbacks.notify._target_=tests.faults.test_secrets.Notify",
    f"+callbacks.notify.token={TOKEN}",
    f"+callbacks.notify.url='{URL}'",
]
AGAIN = [f"callbacks.notify.token={TOKEN}", f"callbacks.notify.url='{URL}'"]
ALLOW = ["--allow", "tests"]
ROW = pytest.mark.fault(
    "Security",
    "secrets in saved configurations and logs",
    "values of keys like token, key, secret and password, and what stands before the @ of a URL, are masked in every "
    "file of the run and in every message; a run that is continued asks for them again",
)
received: list[tuple[str, str]] = []


class Notify(Callback):
    """As one that tells a server about the training; it is careless about what it says."""

    def __init__(self, token: str, url: str) -> None:
        self.token, self.url = token, url
        received.append((token, url))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        log.info(f"telling {self.url} with {self.token}")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if "fail" in self.url:
            raise RuntimeError(f"401 for {self.url} with {self.token}")


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was said since it was last asked for, which must hold no secret."""

    def read() -> str:
        text = "".join(capfd.readouterr())
        assert found_in(text.encode()) == []
        return text

    return read


@pytest.fixture(autouse=True)
def _nothing_said(said: Callable[[], str]) -> Iterator[None]:
    """Whatever a test lets segtrain say is searched too."""
    received.clear()
    yield
    said()


def found_in(content: bytes) -> list[str]:
    return [secret for secret in (TOKEN, WORD, QUERY) if secret.encode() in content]


def holding(folder: Path) -> dict[str, list[str]]:
    """The files that hold a secret, and those that a checkpoint is made of."""
    contents: dict[str, bytes] = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        contents[str(path)] = path.read_bytes()
        if path.suffix == ".ckpt":
            with zipfile.ZipFile(path) as archive:
                contents |= {f"{path}/{name}": archive.read(name) for name in archive.namelist()}
    assert len(contents) > 10
    contents["the names"] = "\n".join(contents).encode()
    return {name: found for name, content in contents.items() if (found := found_in(content))}


def words(output: Path, *more: str) -> list[str]:
    return ["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={output}", *more, *ALLOW]


@ROW
def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = words(tmp_path, *GIVEN)
    monkeypatch.setattr("sys.argv", ["segtrain", *command])
    assert main(command) == 0
    assert received[-1] == (TOKEN, URL)
    assert holding(tmp_path) == {}
    run = tiny.read_run(tiny.find_latest(tmp_path))
    for name in ("env.json", "overrides.yaml", "config.yaml", "summary.json", "train.log"):
        assert MASK in (run.folder / name).read_text(), name


@ROW
def test_a_run_that_fails_is_continued_with_its_secrets_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    failing = [word.replace("host.invalid", "host.fails") for word in GIVEN]
    command = words(tmp_path, *failing, "checkpoint.every_steps=1", *tiny.stop_at(1))
    monkeypatch.setattr("sys.argv", ["segtrain", *command])
    assert main(command) == 1  # at its first step, by Notify
    assert f"RuntimeError: 401 for https://{MASK}@host.fails/x?access_token={MASK} with {MASK}" in said()
    command = words(tmp_path, *GIVEN, "checkpoint.every_steps=1", *tiny.stop_at(3))
    assert main(command) == 1
    assert holding(tmp_path) == {}

    again = ["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop", *ALLOW]
    assert main(again) == 1
    asked = said()
    assert "callbacks.notify.token and callbacks.notify.url were not stored, since they are secrets; add" in asked
    assert "add callbacks.notify.token=... callbacks.notify.url=... to the command" in asked
    monkeypatch.setattr("sys.argv", ["segtrain", *again, *AGAIN])
    assert main([*again, *AGAIN]) == 0
    assert received[-1] == (TOKEN, URL)
    assert holding(tmp_path) == {}
    # nothing of the callbacks is needed to evaluate
    assert main(["evaluate", f"output_dir={tmp_path}", *ALLOW]) == 0
    assert holding(tmp_path) == {}


@ROW
def test_a_renewed_secret_makes_no_other_run(tmp_path: Path, said: Callable[[], str]) -> None:
    first = words(tmp_path, *ONE_BY_ONE, "checkpoint.every_steps=1", "resume=auto", *tiny.stop_at(3))
    assert main(first) == 1
    renewed = [word.replace(TOKEN, "renewed-4714") for word in first]
    assert main(renewed) == 1
    text = said()
    assert "continues at step 3" in text
    assert "renewed-4714" not in text
    # typed again with its +, the word stands for the one that was stored
    typed = ["train", *ONE_BY_ONE, "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop", *ALLOW]
    assert main(typed) == 0


@ROW
def test_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]) -> None:
    command = words(tmp_path, "-m", "seed=1,2", "epochs=1", *GIVEN)
    monkeypatch.setattr("sys.argv", ["segtrain", *command])
    assert main(command) == 0
    assert len(received) == 4  # each run builds its trainer twice
    assert holding(tmp_path) == {}
    # with a renewed secret it is the same sweep
    assert main([word.replace(TOKEN, "renewed-4714") for word in command]) == 0
    assert said().count("is done already") == 2
    assert main(words(tmp_path, "-m", f"+callbacks.x.token={TOKEN},{WORD}")) == 1
    assert "a secret cannot have several values" in said()


@ROW
@pytest.mark.parametrize("word", tiny.every(2, [f"callbacks.x.tokn.token={TOKEN}", f"los.url=https://me:{WORD}@host"]))
def test_a_message_about_a_word_does_not_repeat_its_secret(word: str, tmp_path: Path, said: Callable[[], str]) -> None:
    assert main(words(tmp_path, word)) == 1
    assert MASK in said()


@ROW
def test_a_secret_of_a_file_of_the_users_own(tmp_path: Path) -> None:
    own = tmp_path / "conf" / "callbacks"
    own.mkdir(parents=True)
    notify = f"notify:\n  _target_: tests.faults.test_secrets.Notify\n  token: {TOKEN}\n  url: {URL}\n"
    (own / "mine.yaml").write_text(f"defaults: [default, _self_]\n{notify}")
    output = tmp_path / "out"
    flags = ["callbacks=mine", "--config-dir", str(tmp_path / "conf"), "optim.schedule=constant"]
    assert main(words(output, *flags, "epochs=1")) == 0
    # the file is read again, so nothing is asked
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={output}", *ALLOW]) == 0
    assert received[-1] == (TOKEN, URL)
    assert holding(output) == {}


def test_settings_that_are_compared_differ_not_by_a_renewed_secret(tmp_path: Path) -> None:
    config = {"model": {"hub_token": "one", "width": 2}, "epochs": 1}
    loops = {"fit_loop": {"epoch_progress": {"current": {"ready": 1, "processed": 1}}}}
    stored = {KEY: {"config": masked(config)}, "loops": loops, "callbacks": {}, "global_step": 1}
    resume = Resume(tmp_path, tmp_path, stored)
    check_continuation(resume, {"model": {"hub_token": "two", "width": 2}, "epochs": 1}, 1, print)
    with pytest.raises(UserError, match=r"model\.width: 2 then, 3 now") as refused:
        check_continuation(resume, {"model": {"hub_token": "two", "width": 3}, "epochs": 1}, 1, print)
    assert "hub_token" not in str(refused.value)
