"""Before the first minute of work: is everything there that the settings ask for? What is missing is said at once."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.assets import Space, find_hd_bet_weights, find_space, load_space
from bids_app.assets.parcellations import find_parcellation
from bids_app.exit_codes import CANNOT_CREATE, NO_INPUT, USAGE
from bids_app.inputs.content import file_sha256
from bids_app.inputs.lesions import lesions_in
from bids_app.outputs.anonymise import read_date_key
from bids_app.outputs.landmarks import read_landmarks
from bids_app.reports.ratings import read_ratings
from bids_app.settings import Settings
from bids_app.steps.images import mask_of
from bids_app.workflow.context import AtlasSpace, Extraction, RunContext, atlas_space, step_versions

log = logging.getLogger("bids_app")


class SetupError(Exception):
    """A run that cannot start; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def check_folders(settings: Settings) -> None:
    """The output is a place of its own that can be written; the work folder lies in neither.

    Raises
    ------
    SetupError
        Code 73, with what to do.
    """
    source, output = settings.bids_dir.resolve(), settings.output_dir.resolve()
    if output == source or source in output.parents:
        raise SetupError(
            f"the output {settings.output_dir} lies in the dataset {settings.bids_dir}, which is never written to; "
            "give a folder outside it",
            CANNOT_CREATE,
        )
    place = settings.work_dir or Path(tempfile.gettempdir())  # TMPDIR may lie there, too
    if any(place.resolve().is_relative_to(folder) for folder in (source, output)):
        raise SetupError(
            f"the work folder {place} must lie outside the dataset and the output; give another one with -w",
            CANNOT_CREATE,
        )
    if output.exists() and not output.is_dir():
        raise SetupError(f"the output {settings.output_dir} is a file; give a folder", CANNOT_CREATE)
    _check_owner(settings.output_dir)
    for option, folder in (("--masks", settings.masks), ("--lesions", settings.lesions)):
        if folder is not None and not folder.is_dir():
            raise SetupError(f"{option} {folder}: no such folder", NO_INPUT)


def _check_owner(output: Path) -> None:
    """Refuse an output that holds a raw dataset or the work of another pipeline: files of ours have the same names."""
    try:
        description = json.loads((output / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        description = None
    if isinstance(description, dict) and description.get("DatasetType", "raw") != "derivative":
        raise SetupError(f"the output {output} holds a raw dataset; were the two folders swapped?", CANNOT_CREATE)
    makers = _makers(description)
    if "bids_app" in makers or (not makers and (output / "logs" / "manifest.json").is_file()):
        return
    if makers:
        raise SetupError(
            f"the output {output} was made by {', '.join(makers)} (dataset_description.json), whose files would be "
            "overwritten; give another folder",
            CANNOT_CREATE,
        )
    if output.is_dir() and any(path.is_dir() for path in output.glob("sub-*")):
        raise SetupError(
            f"the output {output} holds participants' folders that bids_app did not make (it has no "
            "logs/manifest.json), which would be overwritten; give another folder",
            CANNOT_CREATE,
        )


def _makers(description: Any) -> list[str]:
    """The names of the pipelines that made a dataset, as its description has them."""
    entries = description.get("GeneratedBy") if isinstance(description, dict) else None
    named = [entry.get("Name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in named if isinstance(name, str) and name]


def create_output(settings: Settings) -> None:
    """Make the output folder, and make sure that it can be written to."""
    output = folder = settings.output_dir
    try:
        output.mkdir(parents=True, exist_ok=True)
        for folder in (output, output / "logs", output / "logs" / ".locks"):  # these may be an earlier run's
            if folder.is_dir():
                with tempfile.TemporaryFile(dir=folder):
                    pass
    except OSError as error:
        where = "" if folder == output else f" (its folder {folder.relative_to(output)})"
        whose = ""
        if isinstance(error, PermissionError) and folder.exists() and folder.stat().st_uid != os.getuid():
            whose = f"it belongs to user {folder.stat().st_uid}, this run is user {os.getuid()}'s; "
        raise SetupError(
            f"the output {output}{where} cannot be written to: {error.strerror}; {whose}make it writable for this user",
            CANNOT_CREATE,
        ) from error


def prepare(settings: Settings) -> RunContext:
    """Find weights, masks and atlases, and fix the versions of the steps.

    Raises
    ------
    SetupError, AssetError, LandmarksError, DateKeyError, RatingsError
        Something is missing; the message names the remedies.
    """
    check_folders(settings)
    _check_given(settings)
    home = settings.app_home or Path("/nonexistent")
    default, other = _extractions(settings, home)
    wanted = _wanted_spaces(settings)
    spaces = tuple(_named(spec, home, settings.templateflow_home) for spec in wanted)
    _check_names(spaces)
    nyul = read_landmarks(settings.nyul_landmarks) if settings.nyul_landmarks is not None else {}
    context = RunContext(settings, step_versions(), default, other, _given_masks(settings.masks), spaces, nyul)
    return _with_parcellation(context, home) if "regions" in settings.steps else context


def _check_given(settings: Settings) -> None:
    """Files that a run needs later can be read, and the lesions' folder has some: a dry run is to say so, too."""
    read_date_key(settings.date_key, settings.output_dir)
    if settings.qc_ratings is not None:
        read_ratings(settings.qc_ratings)
    if settings.lesions is not None and not lesions_in(settings.lesions):
        raise SetupError(
            f"--lesions {settings.lesions}: no file in it is a lesion mask by its name; names are such as "
            "sub-01_label-lesion_mask.nii.gz, sub-01_ses-1_label-lesion_desc-FLAIR_mask.nii.gz, sub-01_lesion.nii.gz",
            NO_INPUT,
        )


def _with_parcellation(context: RunContext, home: Path) -> RunContext:
    """The parcellation that was asked for, and the atlas that it is drawn in: the one in its name, else the first."""
    settings, spaces = context.settings, context.spaces
    names = list(dict.fromkeys(space.space.name for space in spaces))
    found = find_parcellation(settings.parcellation or "", names, home, settings.templateflow_home)
    fitting = [space for space in spaces if found.space in (None, space.label)]
    if not fitting:
        raise SetupError(
            f"--parcellation {found.source}: by its name it is in {found.space}; the reference is brought to "
            f"{', '.join(names) or 'no atlas'}. Add {found.space} to --output-spaces",
            USAGE,
        )
    return replace(
        context, parcellation=found, parcellation_space=fitting[0], midline_mm=_midline_mm(fitting[0].finest)
    )


def _midline_mm(space: Space) -> float:
    """x of the midsagittal plane: 0 in a standard space, else the centre of the brain."""
    if space.standard:
        return 0.0
    _, mask = load_space(space)
    centre = np.argwhere(mask_of(mask)).mean(axis=0)
    return float((mask.affine @ [*centre, 1.0])[0])


def _wanted_spaces(settings: Settings) -> tuple[str, ...]:
    return (
        settings.output_spaces
        if {"atlas", "resample", "normalize", "segment", "vbm", "regions", "measure"} & set(settings.steps)
        else ()
    )


def _named(spec: str, home: Path, templateflow_home: Path | None) -> AtlasSpace:
    """An atlas: outputs on the grid that was asked for, registered to at the finest resolution at hand."""
    space = find_space(spec, home, templateflow_home)
    finest = space
    if space.standard:
        finest = find_space(re.sub(r":res-[^:]*", "", spec), home, templateflow_home)
    return atlas_space(Path(spec).name, space, finest)


def _check_names(spaces: tuple[AtlasSpace, ...]) -> None:
    """No two atlases may write files of the same names."""
    seen: dict[tuple[str, str | None], AtlasSpace] = {}
    for atlas in spaces:
        other = seen.setdefault((atlas.label, atlas.output.resolution), atlas)
        if other is not atlas:
            raise SetupError(f"--output-spaces: {other.spec} and {atlas.spec} would have the same file names", USAGE)


def _extractions(settings: Settings, home: Path) -> tuple[Extraction, Extraction]:
    """The run's way to brain masks, and that for contrasts which HD-BET was not trained on."""
    from bids_app.steps.brain_mask import hd_bet, synth, template

    choice = settings.brain_extraction
    said = f"--brain-extraction {choice}"
    by_template = Extraction("template", version=template.VERSION, reason=said)
    by_synth = Extraction("synth", synth.weights_sha256(), synth.VERSION, said)
    if settings.device.startswith("cuda") and "mask" in settings.steps:
        _device(settings.device)  # whatever the method turns out to be: a GPU was asked for
    if choice == "template":
        return by_template, by_template
    if choice == "synth" or "mask" not in settings.steps:
        return by_synth, by_synth
    weights = find_hd_bet_weights(settings.hd_bet_weights, home)
    if weights is None and choice == "auto":
        reason = "no HD-BET weights are at hand"
        log.info("brain masks: synth, the network that ships (%s; `bids_app fetch hd-bet` brings them)", reason)
        chosen = replace(by_synth, reason=reason)
        return chosen, chosen
    if weights is None:
        raise SetupError(
            "HD-BET's weights are not at hand: fetch them with `bids_app fetch hd-bet`, or name their folder with "
            "--hd-bet-weights (or the variable BIDS_APP_HD_BET_WEIGHTS); --brain-extraction synth needs none",
            NO_INPUT,
        )
    try:
        hd_bet.check_weights(weights)
    except hd_bet.HdBetError as error:
        raise SetupError(str(error), NO_INPUT) from error
    device = _device(settings.device)
    try:
        engine = hd_bet.choose_engine(device, settings.hd_bet_engine)
    except hd_bet.HdBetError as error:
        raise SetupError(str(error), USAGE) from error
    mirroring = (device != "cpu" if settings.mirroring is None else settings.mirroring) and not settings.fast
    log.info("brain masks: HD-BET on %s by %s, %s", device, engine, _mirroring_in_words(mirroring, device))
    content = "-".join(file_sha256(weights / name) for name in ("plans.json", "fold_all/checkpoint_final.pth"))
    reason = "its weights are at hand" if choice == "auto" else "--brain-extraction hd-bet"
    chosen = Extraction(
        "hd-bet", content, hd_bet.VERSION, reason, weights=weights, device=device, mirroring=mirroring, engine=engine
    )
    return chosen, replace(by_synth, reason="HD-BET was not trained on this contrast")


def _mirroring_in_words(mirroring: bool, device: str) -> str:
    if mirroring:
        return "averaged over eight mirrored views"
    return "without mirroring" + (" (--mirroring turns it on: eight times the time)" if device == "cpu" else "")


def _device(asked: str) -> str:
    """The device that HD-BET runs on; `auto` is a GPU where there is one, `cuda` all that there are."""
    from bids_app.steps.brain_mask.hd_bet_engines import check_device
    from bids_app.steps.brain_mask.hd_bet_model import HdBetError

    if asked != "auto":
        try:
            return check_device(asked)
        except HdBetError as error:
            raise SetupError(f"--device {error}", USAGE) from error
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


_MASK_NAME = re.compile(r"(?P<series>.+?)(_label-brain)?_desc-(?P<desc>[A-Za-z0-9]+)_mask\.nii(\.gz)?")


def _given_masks(folder: Path | None) -> Mapping[str, Path]:
    """The masks of `--masks`, by the name of the series that each belongs to.

    Two ways of naming are known: ours (`sub-01_label-brain_desc-FLAIR_mask`) and that of most tools
    (`sub-01_desc-brain_mask`, which belongs to the T1w image).

    Raises
    ------
    SetupError
        No file in the folder is a brain mask by its name.
    """
    result: dict[str, Path] = {}
    for path in sorted(folder.rglob("*_mask.nii*")) if folder else ():
        found = _MASK_NAME.fullmatch(path.name)
        if found is None or "_space-" in path.name or "_label-" in found["series"]:
            continue
        suffix = "T1w" if found["desc"] == "brain" else found["desc"]
        result[f"{found['series']}_{suffix}"] = path
    if folder and not result:
        raise SetupError(
            f"--masks {folder}: no file in it is a brain mask in native space by its name; names are such as "
            "sub-01_label-brain_desc-FLAIR_mask.nii.gz, and sub-01_desc-brain_mask.nii.gz for the T1w image",
            NO_INPUT,
        )
    if folder:
        log.info("brain masks: %d found by --masks", len(result))
    return result
