"""Which options go with which level, and which with another option: one that would do nothing is told.

Only the words of the command line are judged, but for the dry run: a TOML file serves all levels and may hold what some
of them, or some runs, have no use for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bids_app.cli.errors import UsageError
from bids_app.exports.options import EXPORT_OPTIONS
from bids_app.settings import GROUP_ONLY, Settings

#: Options that choose participants, sessions and series; the group level takes all that the output has.
_CHOOSING = ("participant_label", "session_label", "shard", "bids_filter_file")
_OF_DRY_RUNS = ("json", "nodes", "plan_sessions", "cost_model")
#: Options of the group level that say something of processed images.
_OF_PROCESSED = ("maps", "densenet_weights")
_OF_VBM = ("smoothing_fwhm", "modulation")


def check_together(words: Mapping[str, Any], given: Mapping[str, Any], settings: Settings) -> None:
    """Whether every option of the command line has something to go with.

    Parameters
    ----------
    words, given
        The options of the command line, and those of the TOML file with them.

    Raises
    ------
    UsageError
        An option that belongs to another level, or to an option that is not there.
    """
    level, dry_run = given.get("level"), given.get("dry_run", False)
    if level == "group":
        if dry_run:
            raise UsageError("--dry-run goes with the levels participant and export: the group level has none")
        _none_of(_CHOOSING, words, "goes with the level participant: the group level takes all that the output has")
        if settings.profile_only:
            _none_of(_OF_PROCESSED, words, "goes with images that were processed, which --profile-only passes over")
    if level == "participant":
        _none_of(GROUP_ONLY, words, "goes with the level group")
    if level != "export":
        _none_of(EXPORT_OPTIONS, words, "goes with the level export")
    if level != "participant" or not dry_run:
        _none_of(_OF_DRY_RUNS, words, "goes with --dry-run of the level participant")
    if "vbm" not in settings.steps and "steps" not in given:  # chosen steps may be one block of several, told alike
        _none_of(_OF_VBM, words, "goes with --vbm")
    if settings.isotropic == "never":
        _none_of(("isotropic_mm",), words, "goes with --isotropic anisotropic or --isotropic always")


def _none_of(names: Iterable[str], words: Mapping[str, Any], why: str) -> None:
    for name in names:
        if name in words:
            raise UsageError(f"--{name.replace('_', '-')} {why}")
