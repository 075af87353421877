"""From the words of the command line, a TOML file and the environment to `Settings`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_app.cli.config_file import read_config
from bids_app.cli.errors import UsageError
from bids_app.cli.export import export_settings
from bids_app.cli.machine import available_cpus, available_memory_gb
from bids_app.cli.together import check_together
from bids_app.exit_codes import NO_INPUT
from bids_app.exports.options import EXPORT_OPTIONS, ExportSettings
from bids_app.inputs.places import named_folder
from bids_app.inputs.reference import check_rule
from bids_app.settings import DEFAULT_STEPS, GIVEN, GIVEN_PATHS, STEPS, Settings

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
_NOT_SETTINGS = (
    "level", "preset", "vbm", "thickness", "config_file", "dry_run", "json", "nodes", "plan_sessions", "cost_model",
    "verbose",    *EXPORT_OPTIONS,
)  # fmt: skip
#: Options of which each says something of what the other says.
_OPPOSITES = (("normalize", "variants"), ("fast", "mirroring"))
#: Paths that a level has a use for, and asks for where a file says that the run that wrote it was given one.
_ASKED_FOR = {"participant": GIVEN_PATHS, "export": ("date_key",)}
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?")


@dataclass(frozen=True)
class Command:
    """What the words, the file and the environment ask for: the settings, and what is told instead of or beside."""

    settings: Settings
    dry_run: bool = False
    json: bool = False
    nodes: tuple[int, ...] = ()
    plan_sessions: int | None = None
    cost_model: Path | None = None
    export: ExportSettings | None = None
    verbose: int = 0


def command_from(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Command:
    """The command; the command line wins over the TOML file, that over the preset, that over the defaults.

    Every path is made absolute, without resolving links: the steps run in other folders.

    Raises
    ------
    UsageError
        A value that is none of the choices, values that contradict each other, an unknown name in the TOML file, a
        shard that does not exist (64), or a file of options that cannot be read (66).
    """
    words = vars(arguments)
    given = {**_from_file(words), **words}
    settings = _settings(given, environment)
    exports = given.get("level") == "export"
    check_together(words, given, settings)
    if exports and settings.shard != (1, 1):
        raise UsageError("--shard: an export is of all participants at once; --nprocs makes it parallel")
    return Command(
        settings,
        export=export_settings(given, settings.output_dir) if exports else None,
        dry_run=given.get("dry_run", False),
        json=given.get("json", False),
        nodes=_counts("--nodes", given["nodes"]) if "nodes" in given else (),
        plan_sessions=_counts("--plan-sessions", str(given["plan_sessions"]))[0] if "plan_sessions" in given else None,
        cost_model=given.get("cost_model"),
        verbose=given.get("verbose", 0),
    )


def _from_file(words: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the TOML file, but for those that the command line has the opposite of.

    Raises
    ------
    UsageError
        The file says that a run was given a path, and the command line does not give one.
    """
    if "config_file" not in words:
        return {}
    file = read_config(words["config_file"])
    for one, other in _OPPOSITES:
        for here, there in ((one, other), (other, one)):
            if here in words:
                file.pop(there, None)
    for name in [name for name in GIVEN_PATHS if file.get(name) == Path(GIVEN)]:
        if name in _ASKED_FOR.get(words.get("level", ""), ()) and name not in words:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{words['config_file']}: the run that wrote it had {option}, and paths are not written; give {option} "
                f"too, or take the line {name} out of a copy of the file"
            )
        del file[name]
    return file


def _settings(given: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    merged: dict[str, Any] = {
        "nprocs": available_cpus(),
        "mem_gb": round(available_memory_gb(), 1),
        **_from_environment(environment),
        **_preset(given),
        **{name: value for name, value in given.items() if name not in _NOT_SETTINGS},
    }
    if "shard" in merged:
        merged["shard"] = _shard(merged["shard"])
    steps = set(merged.get("steps", ("default",)))
    if "default" in steps:
        steps |= set(DEFAULT_STEPS) | ({"denoise"} if merged.get("denoise") else set())
        steps |= {"template"} if merged.get("reference") == "subject" else set()
    elif "denoise" in steps and not merged.get("denoise"):
        raise UsageError("--steps denoise goes with --denoise, which the later steps need to be told, too")
    if merged.get("reference") == "subject":
        if merged.get("session_label"):
            raise UsageError("--reference subject takes all sessions of a participant: leave out --session-label")
    elif "template" in steps:
        raise UsageError("--steps template goes with --reference subject, which the later steps need to be told, too")
    steps |= {"segment", "vbm"} if given.get("vbm") else set()
    steps |= {"segment", "thickness"} if given.get("thickness") else set()
    if merged.get("parcellation") is not None:
        merged["parcellation"] = _absolute_space(merged["parcellation"])
        steps |= {"segment", "regions"} if "default" in merged.get("steps", ("default",)) else set()
    merged["steps"] = tuple(step for step in STEPS if step in steps)
    merged["output_spaces"] = [_absolute_space(one) for one in merged.get("output_spaces", Settings.output_spaces)]
    merged["also"] = [_absolute_dataset(one) for one in merged.get("also", ())]
    for name, value in merged.items():
        if isinstance(value, list):
            merged[name] = tuple(dict.fromkeys(value))
        elif isinstance(value, Path):
            merged[name] = value.absolute()
    settings = Settings(**merged)
    _check(settings)
    if settings.variants:
        if "normalize" in given:
            _check_normalizers(settings)
        settings = replace(settings, normalize=settings.wanted_normalizers())
    return settings


def _preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the preset says, but for variants that would leave out the normalisers that were asked for."""
    preset = dict(PRESETS[given["preset"]]) if "preset" in given else {}
    if given.get("normalize"):
        preset.pop("variants", None)
    return preset


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


def _absolute_space(space: str) -> str:
    """An atlas by its name as it is, one by its path with the path made absolute."""
    is_path = os.sep in space or space.endswith((".nii", ".nii.gz"))
    return str(Path(space).absolute()) if is_path else space


def _counts(option: str, value: str) -> tuple[int, ...]:
    """One or several numbers from 1 on, with commas between them."""
    parts = value.split(",")
    if not all(re.fullmatch(r"0*[1-9][0-9]{0,8}", part) for part in parts):
        raise UsageError(f"{option} {value}: write a number from 1 on, or several with commas between them: 10,100")
    return tuple(int(part) for part in parts)


def _absolute_dataset(word: str) -> str:
    """`[NAME=]DIR` with the folder's path made absolute."""
    name, folder = named_folder(word)
    return f"{name}={folder.absolute()}" if name else str(folder.absolute())


def _shard(value: Any) -> tuple[int, int]:
    """A shard from `I/N` or, as settings are written to TOML, from a pair of integers."""
    numbers: list[Any] = []
    if isinstance(value, str) and (found := re.fullmatch(r"([0-9]+)/([0-9]+)", value)):
        numbers = [int(found[1]), int(found[2])]
    elif isinstance(value, list):
        numbers = value
    if len(numbers) != 2 or not all(type(one) is int for one in numbers) or not 1 <= numbers[0] <= numbers[1]:
        raise UsageError(f"--shard {value}: write I/N with I from 1 to N, such as 3/100")
    return numbers[0], numbers[1]


def _check(settings: Settings) -> None:
    for name in ("nprocs", "omp_nthreads"):
        if getattr(settings, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1")
    if not 0.2 <= settings.isotropic_mm <= 10:
        raise UsageError("--isotropic-mm must be between 0.2 and 10")
    if settings.b_value is not None and not 50 < settings.b_value <= 20_000:
        raise UsageError("--b-value is in s/mm^2: more than 50, and 20000 at the most")
    if not 0 <= settings.smoothing_fwhm <= 50:
        raise UsageError("--smoothing-fwhm is in mm: 0 (none) to 50")
    if "regions" in settings.steps and settings.parcellation is None:
        raise UsageError("the step regions needs a parcellation: give --parcellation")
    if settings.mem_gb is not None and not settings.mem_gb > 0:  # so that it is no NaN, either
        raise UsageError("--mem-gb must be more than 0")
    if "nyul" in settings.wanted_normalizers() and settings.nyul_landmarks is None:
        raise UsageError(
            "nyul needs the group's landmarks: learn them with the level group and --learn-nyul, then give "
            "--nyul-landmarks OUTPUT_DIR/group_nyul.json"
        )
    if settings.fast and settings.mirroring:
        raise UsageError("--fast is without mirroring: give it or --mirroring")
    if _DEVICE.fullmatch(settings.device) is None:
        raise UsageError(f"--device {settings.device}: choose auto, cpu, cuda or, for one GPU of several, cuda:N")
    check_rule(settings.reference)
    if settings.nipype_plugin_file is not None:
        _check_plugin_file(settings.nipype_plugin_file)


def _check_normalizers(settings: Settings) -> None:
    """Whether the variants have every normaliser that was asked for."""
    for method in settings.normalize:
        if method not in settings.wanted_normalizers():
            raise UsageError(
                f"--normalize {method} is in none of --variants {' '.join(settings.variants)}; "
                f"add {method} or brain{method} to them, or leave one of the two options out"
            )


def _check_plugin_file(path: Path) -> None:
    """Whether a file is YAML with the name of a Nipype plugin and perhaps its arguments."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--nipype-plugin-file {path}: {error.strerror}", NO_INPUT) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--nipype-plugin-file {path} is no YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise UsageError(f"--nipype-plugin-file {path}: it must name a plugin of Nipype, such as plugin: MultiProc")
    if not isinstance(content.get("plugin_args", {}), dict):
        raise UsageError(f"--nipype-plugin-file {path}: plugin_args must be names with values")
