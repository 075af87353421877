"""Plans of diffusion groups and lesions: what is shared, what is left out, and what a change does to the keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bids_app.inputs.series import Diffusion, Header, LesionMask, Series, Session
from bids_app.outputs.manifest import InputRecord, Manifest
from bids_app.outputs.tree import OutputSpace
from bids_app.settings import STEPS, Settings
from bids_app.workflow.context import AtlasSpace, Extraction, RunContext
from bids_app.workflow.interfaces import interface_of
from bids_app.workflow.plan import SessionPlan, plan_session

B0, TRACE, ADC, COMPUTED = "sub-01_S0map", "sub-01_trace", "sub-01_ADC", "sub-01_rec-computed_ADC"
LESION = "sub-01/dwi/sub-01_label-lesion_mask.nii.gz"


def _image(name: str, part: Diffusion | None = None, relative: str | None = None) -> Series:
    *pairs, suffix = name.split("_")
    entities = tuple((key, value) for key, _, value in (pair.partition("-") for pair in pairs))
    folder = "dwi" if part else "anat"
    header = Header((72, 72, 40), (3.0, 3.0, 3.0), "LAS", "axial", (216.0, 216.0, 120.0), "int16")
    path = Path("/d/sub-01") / folder / f"{name}.nii.gz"
    place = relative or f"sub-01/{folder}/{name}.nii.gz"
    return Series(path, place, entities, suffix, folder, ".nii.gz", header=header, title=name, diffusion=part)


def _plan(
    t1w: bool = True, lesion: bool = False, b_value: float = 1000.0, broken: str = "", **changes: object
) -> SessionPlan:
    b0, trace = _image(B0, Diffusion("b0", B0)), _image(TRACE, Diffusion("trace", B0, b_value))
    computed = _image(COMPUTED, Diffusion("adc", B0, b_value, made_of=(b0, trace)), trace.relative)
    series = [b0, trace, _image(ADC, Diffusion("adc", B0)), computed]
    series += [_image("sub-01_T1w")] if t1w else []
    lesions = (LesionMask(Path("/d") / LESION, LESION, TRACE),) if lesion else ()
    session = Session("01", None, tuple(series), (), lesions)
    inputs = {one.relative: InputRecord("s", f"hash of {one.relative}") for one in series}
    inputs[LESION] = InputRecord("s", "hash of the lesion")
    if broken:
        inputs[broken] = InputRecord("s", "x", "it is broken")
    settings = replace(Settings(Path("/d"), Path("/nowhere")), **changes)  # type: ignore[arg-type]
    atlas = AtlasSpace("MNI", None, None, OutputSpace("atlas", "MNI", "1", None, "1 mm"), "atlas hash")  # type: ignore[arg-type]
    method = Extraction("template", version="1")
    context = RunContext(settings, dict.fromkeys(STEPS, "1"), method, method, {}, (atlas,))
    return plan_session(session, inputs, Manifest(), context)


def test_the_group_shares_mask_face_field_and_transform() -> None:
    plan = _plan()
    assert plan.reference is not None
    assert plan.reference.series.name == "sub-01_T1w"
    assert [name for name in plan.tasks if name.startswith("coregister/")] == [f"coregister/{B0}"]
    for name in (TRACE, ADC, COMPUTED):
        assert plan.tasks[f"mask/{name}"].files["leader_mask"].task == f"mask/{B0}"
        assert plan.tasks[f"deface/{name}"].files["leader_face"].task == f"deface/{B0}"
        moved = plan.tasks[f"resample/{name}/MNI_res-1/preproc"]
        assert moved.files["to_reference"].task == f"coregister/{B0}"
        assert moved.files["to_atlas"].task == "atlas/sub-01_T1w/MNI"
        assert interface_of(plan.tasks[f"mask/{name}"]).__name__ == "SharedMask"
    assert plan.tasks[f"bias/{TRACE}"].files["leader_field"].task == f"bias/{B0}"
    assert "leader_field" not in plan.tasks[f"bias/{ADC}"].files


def test_a_map_is_never_normalised_and_a_computed_one_is_held_against_the_scanners() -> None:
    plan = _plan()
    assert not [name for name in plan.tasks if name.startswith("normalize/") and "ADC" in name]
    assert f"resample/{COMPUTED}/MNI_res-1/brain" in plan.tasks
    assert plan.tasks[f"measure/{COMPUTED}"].files["scanner_map"].task == f"bias/{ADC}"


def test_files_lie_in_dwi_and_have_names_of_their_own() -> None:
    plan = _plan(lesion=True)
    paths = [target.path for task in plan.tasks.values() for target in task.targets.values()]
    assert len(paths) == len(set(paths))
    assert {path.parent.name for path in paths if "S0map" in path.name and "from-T1w" not in path.name} == {"dwi"}
    sources = plan.tasks[f"deface/{COMPUTED}"].targets["defaced"].sidecar["Sources"]
    assert sources[:2] == [f"bids:raw:sub-01/dwi/{B0}.nii.gz", f"bids:raw:sub-01/dwi/{TRACE}.nii.gz"]
    assert plan.tasks[f"bias/{ADC}"].targets["preproc"].sidecar["Units"] == "mm^2/s"


def test_without_another_series_the_b0_image_is_the_reference() -> None:
    plan = _plan(t1w=False)
    assert plan.reference is not None
    assert plan.reference.series.name == B0
    assert not [name for name in plan.tasks if name.startswith("coregister/")]
    assert "to_reference" not in plan.tasks[f"resample/{TRACE}/reference/preproc"].files


def test_a_lesion_is_left_out_and_carried_everywhere() -> None:
    plan = _plan(lesion=True)
    lesion = f"lesion/{TRACE}"
    assert plan.tasks[f"bias/{B0}"].files["lesion"].task == lesion
    assert plan.tasks[f"coregister/{B0}"].files["lesion"].task == lesion
    atlas = plan.tasks["atlas/sub-01_T1w/MNI"].files
    assert (atlas["lesion"].task, atlas["lesion_to_drawn_on"].task) == (lesion, f"coregister/{B0}")
    assert "lesion_from_series" not in atlas
    t1w = plan.tasks["normalize/sub-01_T1w/brainzscore"].files
    assert (t1w["lesion"].task, t1w["lesion_to_drawn_on"].task) == (lesion, f"coregister/{B0}")
    assert "lesion" not in plan.tasks["bias/sub-01_T1w"].files  # where it is there is not known yet
    assert {name for name in plan.tasks if name.endswith("/lesion")} == {
        f"resample/{TRACE}/reference/lesion",
        f"resample/{TRACE}/MNI_res-1/lesion",
    }
    order = list(plan.tasks)
    for name, task in plan.tasks.items():
        assert all(order.index(file.task) < order.index(name) for file in task.files.values())


def test_a_lesion_that_cannot_be_used_costs_nothing_else() -> None:
    with_it, without = _plan(lesion=True, broken=LESION), _plan()
    assert {name: task.key for name, task in with_it.tasks.items()} == {
        name: task.key for name, task in without.tasks.items()
    }


def test_another_b_value_makes_the_adc_anew_and_nothing_of_the_b0_image() -> None:
    before, after = _plan().tasks, _plan(b_value=1500.0).tasks
    changed = {name for name in before if before[name].key != after[name].key}
    assert f"deface/{COMPUTED}" in changed
    assert not [name for name in changed if B0 in name or "T1w" in name]


def test_a_broken_b0_image_leaves_the_trace_to_lead() -> None:
    plan = _plan(broken=f"sub-01/dwi/{B0}.nii.gz")
    assert plan.tasks[f"mask/{ADC}"].files["leader_mask"].task == f"mask/{TRACE}"
    assert {one.name for one in plan.session.rejected} == {B0, COMPUTED}


def test_images_of_a_diffusion_group_are_never_denoised() -> None:
    plan = _plan(denoise=True, steps=STEPS)
    assert [name for name in plan.tasks if name.startswith("denoise/")] == ["denoise/sub-01_T1w"]
    assert plan.tasks[f"bias/{B0}"].files["image"].task == f"deface/{B0}"
