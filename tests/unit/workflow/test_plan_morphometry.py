"""Plans with modulated grey matter, regions and thickness: file names, what each stands on, what makes it anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bids_app.assets.parcellations import Parcellation
from bids_app.cli.parser import build_parser
from bids_app.cli.settings import command_from
from bids_app.settings import DEFAULT_STEPS
from bids_app.steps.regions import Region
from bids_app.workflow.plan import SessionPlan
from tests.unit.workflow.test_plan import _context, _keys, _plan

MORE = ("segment", "vbm", "regions", "thickness")


def _planned(parcellated: bool = True, **changes: object) -> SessionPlan:
    context = _context(steps=(*DEFAULT_STEPS, *MORE), atlas_registration="syn", **changes)
    context = replace(context, versions={**context.versions, **dict.fromkeys(MORE, "1")})
    if parcellated:
        found = Parcellation("DKT", Path("/x.nii.gz"), (Region(1, "A", "left"),), None, "hash", "x.nii.gz")
        context = replace(context, parcellation=found, parcellation_space=context.spaces[0])
    return _plan(context)


def _names(plan: SessionPlan, task: str) -> set[str]:
    return {target.path.name for target in plan.tasks[task].targets.values()}


def test_names_follow_the_options() -> None:
    plan = _planned(smoothing_fwhm=6.5)
    assert _names(plan, "vbm/sub-01_T1w/MNI_res-1") == {
        "sub-01_space-MNI_res-1_label-GM_desc-modulated_probseg.nii.gz",
        "sub-01_space-MNI_res-1_label-GM_desc-smoothed6p5_probseg.nii.gz",
    }
    assert _names(plan, "regions/sub-01_T1w") == {
        "sub-01_seg-DKT_desc-T1w_dseg.nii.gz", "sub-01_seg-DKT_desc-T1w_dseg.tsv",
        "sub-01_seg-DKT_desc-regions_stats.tsv",
    }  # fmt: skip
    assert _names(plan, "thickness/sub-01_T1w") == {
        "sub-01_desc-T1w_thickness.nii.gz", "sub-01_desc-thickness_stats.tsv",
    }  # fmt: skip
    assert "SkullStripped" not in plan.tasks["vbm/sub-01_T1w/MNI_res-1"].targets["smoothed"].sidecar
    assert len(_names(_planned(smoothing_fwhm=0.0), "vbm/sub-01_T1w/MNI_res-1")) == 1


def test_only_the_reference_has_them_and_thickness_needs_no_parcellation() -> None:
    plan = _planned(parcellated=False)
    made = {name for name in plan.tasks if name.split("/")[0] in MORE[1:]}
    assert made == {"vbm/sub-01_T1w/MNI_res-1", "thickness/sub-01_T1w"}
    assert "parcellation" not in plan.tasks["thickness/sub-01_T1w"].files
    assert _planned().tasks["thickness/sub-01_T1w"].files["parcellation"].task == "regions/sub-01_T1w"


def test_options_of_one_make_that_one_anew() -> None:
    before = _keys(_planned())
    for changes in ({"modulation": "nonlinear"}, {"smoothing_fwhm": 6.0}):
        after = _keys(_planned(**changes))
        assert {name.split("/")[0] for name in after if after[name] != before[name]} == {"vbm"}


def test_options_turn_on_what_they_need() -> None:
    def steps(*words: str) -> set[str]:
        arguments = build_parser().parse_args(["/d", "/o", "participant", *words])
        return set(command_from(arguments, {}).settings.steps) - set(DEFAULT_STEPS)

    assert steps() == set()
    assert steps("--vbm") == {"segment", "vbm"}
    assert steps("--parcellation", "x.nii.gz") == {"segment", "regions"}
    assert steps("--thickness", "--steps", "mask") == {"segment", "thickness"}
