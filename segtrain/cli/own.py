"""The user's own configuration files, of --config-dir: looked at before Hydra reads them, and found before ours.

What Hydra says of a damaged file names no file, and one of a few lines can stand for a billion values.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from segtrain.errors import UserError

DEEPEST = 30  # levels of values within values
MOST = 100_000  # values of a file, those that aliases repeat included
LONGEST = 200  # characters of an option's name
SCHEME = "own"


class OwnFiles(FileConfigSource):
    """Hydra's reader of files, which checks them first."""

    @staticmethod
    def scheme() -> str:
        """What the addresses of such files begin with."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Called by Hydra for each file that a command needs.

        Raises:
            UserError: the file cannot be used; the sentence names it.
        """
        file = Path(self.path) / self._normalize_file_name(config_path)
        if file.is_file():
            check_file(file)
        return super().load_config(config_path)


class OwnFolder(SearchPathPlugin):
    """Puts the user's --config-dir before our files (Hydra's own flag appends it: edited copies would lose)."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra whenever it makes its search path."""
        if OwnFolder.folder is not None:
            search_path.prepend("--config-dir", f"{SCHEME}://{OwnFolder.folder}")


def use_folder(config_dir: str | Path | None) -> None:
    """Look for configuration files in this folder first, from now on.

    Raises:
        UserError: no such folder.
    """
    folder = None if config_dir is None else Path(config_dir).expanduser().resolve()
    if folder is not None and not folder.is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    OwnFolder.folder = folder
    plugins = Plugins.instance()
    if OwnFolder not in plugins.discover(SearchPathPlugin):
        plugins.register(OwnFolder)
    if OwnFiles not in plugins.discover(ConfigSource):
        plugins.register(OwnFiles)


def check_file(file: Path) -> None:
    """Refuse a file that is no configuration.

    Raises:
        UserError: no text, no YAML, too deep, too many values, no mapping, or a list of defaults of another form.
    """
    content = read_yaml(file)
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{file}: holds {_kind(content)}, not settings; write each as `key: value`")
    for key in content or {}:
        if not isinstance(key, str) or not key.isprintable() or not key.strip():
            raise UserError(f"{file}: {key!r} is no name of a setting; names are words, as in `gamma: 2`")
    defaults = [] if content is None else content.get("defaults", [])
    if not isinstance(defaults, list):
        raise UserError(f"{file}: its defaults are {_kind(defaults)}, not a list; write `  - group: option` lines")
    for entry in defaults:
        if not _is_default(entry):
            raise UserError(f"{file}: defaults holds {entry!r}; an entry is an option, or `group: option`")


def read_yaml(file: Path) -> Any:
    """What stands in a YAML file of bounded depth and size, as Hydra reads it.

    Raises:
        UserError: no text in UTF-8, no YAML, too deep, or too many values.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if trouble := _trouble(text):
            raise UserError(f"{file}: {trouble}")
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text in UTF-8; save it as one") from error
    except (OSError, OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from error


def _trouble(text: str) -> str:
    """What makes a text too deep or too large, aliases included; "" where nothing does. Reads no further than needed.

    Raises:
        YAMLError: it is no YAML.
    """
    open_sizes, anchors, names = [0], dict[str, int](), list[str | None]()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_sizes.append(1)
            names.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, name = open_sizes.pop(), names.pop()
            anchors |= {} if name is None else {name: size}
        elif isinstance(event, yaml.AliasEvent):
            size = anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
        open_sizes[-1] += size
        if len(open_sizes) > DEEPEST:
            return f"values within values, more than {DEEPEST} levels deep; no setting is"
        if open_sizes[-1] > MOST:
            return f"its aliases (*name) make more than {MOST:,} values of it; write out what is needed"
    return ""


def _is_default(entry: Any) -> bool:
    """Whether an entry of a list of defaults has a form that Hydra reads."""
    if isinstance(entry, dict):
        names, values = list(entry), [each for value in entry.values() for each in _several(value)]
        return len(names) == 1 and all(map(_is_name, names)) and all(v is None or _is_name(v) for v in values)
    return _is_name(entry)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable() and len(value) <= LONGEST


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "a text", type(None): "nothing"}.get(type(value), repr(value))
