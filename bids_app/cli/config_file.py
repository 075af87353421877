"""The TOML file of `--config-file`: options by their long names, with the types and choices that the options have."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from bids_app.cli.errors import UsageError
from bids_app.cli.parser import build_parser
from bids_app.exit_codes import NO_INPUT

#: Options that make no sense in the file.
_ONLY_WORDS = ("config_file", "help", "version")


def read_config(path: Path) -> dict[str, Any]:
    """The options of a TOML file, by the names that they have in the parser's namespace.

    A key is an option's long name, with dashes or underscores and without the leading ones (`no-deface = true`), or
    the name of the setting, as a run writes it to `logs/settings.toml` (`deface = false`).

    Raises
    ------
    UsageError
        The file cannot be read (66), is no TOML, or has a key or value that is no option's (64).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", NO_INPUT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    options = _options()
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in options:
            raise UsageError(f"{path}: {key} is no option; --help lists them")
        action = options[name]
        if action.dest in result:
            raise UsageError(f"{path}: {key} is there twice, by different names of the same option")
        result[action.dest] = _converted(f"{path}: {key}", value, action, negated=_negates(action, name))
    return result


def _options() -> dict[str, argparse.Action]:
    """The options by every name that the file may call them by, with underscores."""
    result = {}
    for action in build_parser()._actions:
        if action.option_strings and action.dest not in _ONLY_WORDS:
            names = {option.removeprefix("--") for option in action.option_strings if option.startswith("--")}
            result.update({name.replace("-", "_"): action for name in (*names, action.dest)})
    return result


def _negates(action: argparse.Action, name: str) -> bool:
    """Whether a name is the one of an option that switches something off, such as `no_deface`."""
    return action.const is False and name != action.dest


def _converted(key: str, value: Any, action: argparse.Action, negated: bool) -> Any:
    """A value of the file with the type and among the choices of its option."""
    if action.dest == "verbose":
        if not isinstance(value, int) or value < 0:
            raise UsageError(f"{key} must be true, false or how many times it is said")
        return int(value)
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{key} must be true or false")
        return value != negated
    if action.dest == "shard":  # text or a pair: what it may be is told with the rest about shards
        return value
    if isinstance(value, list) and action.nargs != "+":
        raise UsageError(f"{key} takes one value, not a list")
    values = value if isinstance(value, list) else [value]
    for each in values:
        if action.choices is not None and each not in action.choices:
            raise UsageError(f"{key} = {each!r}; choose from {', '.join(map(str, action.choices))}")
    if action.type in (int, float):
        numbers = [_number(key, each, whole=action.type is int) for each in values]
        return numbers if action.nargs == "+" else numbers[0]
    if not all(isinstance(each, str) for each in values):
        raise UsageError(f"{key} must be text")
    if action.nargs == "+":
        return values
    return action.type(value) if callable(action.type) else value


def _number(key: str, value: Any, whole: bool) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UsageError(f"{key} must be a number")
    if whole and not isinstance(value, int):
        raise UsageError(f"{key} must be a whole number")
    return value if whole else float(value)
