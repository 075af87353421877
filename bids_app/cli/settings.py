"""From the words of the command line, a TOML file and the environment to `Settings`."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bids_app.cli.machine import available_cpus, available_memory_gb
from bids_app.cli.parser import build_parser
from bids_app.settings import NORMALIZERS, STEPS, Settings, known_variants

USAGE, NO_INPUT = 64, 66

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "mr-rate": {
        "acceptance": "mr-rate",
        "reference": "mr-rate",
        "output_spaces": ("MNI152NLin2009cSym",),
        "atlas_registration": "rigid",
        "variants": ("preproc",),
    }
}

#: Options that steer the command and are no part of `Settings`.
_NOT_SETTINGS = ("level", "preset", "config_file", "dry_run", "json", "verbose")


class UsageError(Exception):
    """Words that cannot be understood; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def settings_from(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Settings of a run; the command line wins over the TOML file, that over the preset, that over the defaults.

    Raises
    ------
    UsageError
        A value that is none of the choices, an unknown name in the TOML file, a shard that does not exist.
    """
    given = vars(arguments)
    from_file = _read_config(given["config_file"]) if "config_file" in given else {}
    preset = given.get("preset", from_file.pop("preset", None))
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"preset {preset}: no such preset; there is {', '.join(PRESETS)}")
    merged: dict[str, Any] = {
        "nprocs": available_cpus(),
        "mem_gb": round(available_memory_gb(), 1),
        **_from_environment(environment),
        **(PRESETS[preset] if preset else {}),
        **from_file,
        **{name: value for name, value in given.items() if name not in _NOT_SETTINGS},
    }
    if "shard" in merged:
        merged["shard"] = _shard(merged["shard"])
    for name, value in merged.items():
        if isinstance(value, list):
            merged[name] = tuple(dict.fromkeys(value))
    merged["steps"] = tuple(step for step in STEPS if step in merged.get("steps", STEPS))
    settings = Settings(**merged)
    _check(settings)
    return settings


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    from bids_app.assets.fetching import home

    result: dict[str, Any] = {"app_home": home(environment)}
    if weights := environment.get("BIDS_APP_HD_BET_WEIGHTS"):
        result["hd_bet_weights"] = Path(weights)
    if templates := environment.get("TEMPLATEFLOW_HOME"):
        result["templateflow_home"] = Path(templates)
    elif cache := environment.get("XDG_CACHE_HOME"):
        result["templateflow_home"] = Path(cache) / "templateflow"
    return result


def _read_config(path: Path) -> dict[str, Any]:
    """A TOML file with options by their long names (dashes or underscores); types and choices are the options'."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", NO_INPUT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    actions = {action.dest: action for action in build_parser()._actions}
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in ("bids_dir", "output_dir", "level", "config_file", "help", "version") or name not in actions:
            raise UsageError(f"{path}: {key} is no option; --help lists them")
        result[name] = _converted(path, key, value, actions[name])
    return {name: value for name, value in result.items() if name == "preset" or name not in _NOT_SETTINGS}


def _converted(path: Path, key: str, value: Any, action: argparse.Action) -> Any:
    """A value of the TOML file with the type and among the choices of its option."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key} must be true or false")
        return value
    values = value if isinstance(value, list) else [value]
    for each in values:
        if action.choices is not None and each not in action.choices:
            raise UsageError(f"{path}: {key} = {each!r}; choose from {', '.join(map(str, action.choices))}")
    if action.type in (int, float):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise UsageError(f"{path}: {key} must be a number")
        return action.type(value)
    if not all(isinstance(each, str) for each in values):
        raise UsageError(f"{path}: {key} must be text")
    if action.nargs == "+":
        return tuple(values)
    return action.type(value) if callable(action.type) else value


def _shard(text: str | tuple[int, int]) -> tuple[int, int]:
    if isinstance(text, tuple):
        return text
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text}: write I/N with I from 1 to N, such as 3/100")
    return int(found[1]), int(found[2])


def _check(settings: Settings) -> None:
    for name in ("nprocs", "omp_nthreads"):
        if getattr(settings, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1")
    if settings.mem_gb is not None and settings.mem_gb <= 0:
        raise UsageError("--mem-gb must be more than 0")
    if settings.fast and settings.mirroring:
        raise UsageError("--fast is without mirroring: give it or --mirroring")
    for names, known, option in (
        (settings.normalize, NORMALIZERS, "--normalize"), (settings.variants, known_variants(), "--variants"),
    ):  # fmt: skip
        for name in names:
            if name not in known:
                raise UsageError(f"{option} {name}: choose from {', '.join(known)}")
    assert {field.name for field in fields(Settings)} >= {"steps"}
