"""Where the configuration files are, and what can be read from them without loading Hydra."""

from __future__ import annotations

from pathlib import Path

import segtrain

_PACKAGE = Path(segtrain.__file__).resolve().parent
# in a wheel the files lie in the package; in a checkout beside it
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def groups() -> list[str]:
    """Names of the groups that hold options."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and any(folder.glob("*.yaml")))


def options(group: str) -> list[str]:
    """Options of a group; a file whose name begins with _ is the base of others."""
    return sorted(file.stem for file in (CONF / group).glob("[!_]*.yaml"))


def top_keys(group: str, option: str) -> list[str]:
    """Keys that an option's file sets at its top, and the base that it begins with."""
    lines = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    bases = [line.strip(" -") for line in lines if line.startswith("  - _") and line.strip(" -") != "_self_"]
    own = [line.partition(":")[0] for line in lines if line[:1].isalpha() and ":" in line and line != "defaults:"]
    return [*own, *(key for base in bases for key in top_keys(group, base))]


def purpose(file: Path) -> str:
    """The first comment of a configuration file: what it is and when to use it."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ").rstrip()
    return ""


def summary_of(command: str) -> list[str]:
    """The settings of a command's own file: its lines after the defaults list, without Hydra's."""
    lines = (CONF / f"{command}.yaml").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if not line and i > 0)
    end = next((i for i, line in enumerate(lines) if line.startswith("hydra:")), len(lines))
    return [line for line in lines[start:end] if line]
