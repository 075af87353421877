"""Plans: which tasks there are, what each stands on, and what a change of a setting does to their keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from bids_app.inputs.series import Header, Series, Session
from bids_app.outputs.manifest import FileRecord, InputRecord, Manifest, TaskRecord
from bids_app.outputs.tree import OutputSpace
from bids_app.settings import Settings
from bids_app.workflow.context import AtlasSpace, Extraction, IndividualSpace, RunContext
from bids_app.workflow.graph import node_name, workers
from bids_app.workflow.interfaces import interface_of
from bids_app.workflow.plan import SessionPlan, Task, plan_session

STEPS = ("mask", "deface", "bias", "coregister", "atlas", "resample", "normalize", "measure")


def _series(suffix: str, **entities: str) -> Series:
    pairs = (("sub", "01"), *entities.items())
    name = "_".join(f"{key}-{value}" for key, value in pairs) + f"_{suffix}.nii.gz"
    header = Header((192, 192, 192), (1.0, 1.0, 1.0), "RAS", "axial", (192.0, 192.0, 192.0), "int16")
    return Series(Path("/d/sub-01/anat") / name, f"sub-01/anat/{name}", pairs, suffix, "anat", ".nii.gz", header=header)


def _context(**changes: object) -> RunContext:
    settings = replace(Settings(Path("/d"), Path("/nowhere")), **changes)  # type: ignore[arg-type]
    space = OutputSpace("atlas", "MNI", "1", None, "1 mm")
    atlas = AtlasSpace("MNI", None, None, space, "atlas hash")  # type: ignore[arg-type]
    method = Extraction("template", version="1")
    return RunContext(settings, dict.fromkeys((*STEPS, "segment"), "1"), method, method, {}, (atlas,))


def _plan(context: RunContext, manifest: Manifest | None = None, **kwargs: object) -> SessionPlan:
    series = (_series("FLAIR"), _series("T1w"), _series("T1w", ce="gd"))
    session = Session("01", None, series, ())
    inputs = {each.relative: InputRecord("s", f"hash of {each.name}") for each in series}
    return plan_session(session, inputs, manifest or Manifest(), context, **kwargs)  # type: ignore[arg-type]


def _keys(plan: SessionPlan) -> dict[str, str]:
    return {name: task.key for name, task in plan.tasks.items()}


def _changed(**changes: object) -> set[str]:
    before, after = _keys(_plan(_context())), _keys(_plan(_context(**changes)))
    return {name.split("/")[0] for name in after if after[name] != before.get(name)}


def test_every_product_is_made_once_and_nodes_have_names_of_their_own() -> None:
    plan = _plan(_context())
    paths = [target.path for task in plan.tasks.values() for target in task.targets.values()]
    assert len(paths) == len(set(paths))
    assert len({node_name(name) for name in plan.tasks}) == len(plan.tasks)
    assert plan.reference is not None
    assert plan.reference.series.name == "sub-01_T1w"
    assert sorted(name for name in plan.tasks if name.startswith("coregister")) == [
        "coregister/sub-01_FLAIR", "coregister/sub-01_ce-gd_T1w",
    ]  # fmt: skip


def test_tasks_come_after_what_they_read() -> None:
    plan = _plan(_context())
    order = list(plan.tasks)
    for name, task in plan.tasks.items():
        for file in task.files.values():
            assert order.index(file.task) < order.index(name)
            assert plan.tasks[file.task].targets[file.role].path == file.path


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"interpolation": "bspline"}, {"resample", "normalize"}),
        ({"atlas_registration": "syn"}, {"atlas", "resample", "normalize", "measure"}),
        ({"normalize": ("minmax",)}, {"normalize", "measure"}),
        ({"variants": ("brain",)}, {"resample", "measure"}),  # nothing normalised to measure
        ({"random_seed": 3}, set(STEPS)),
        ({"nprocs": 7}, set()),
        ({"work_dir": Path("/w"), "mem_gb": 3.0, "stop_on_first_crash": True}, set()),
    ],
)
def test_a_setting_changes_the_keys_of_what_depends_on_it(changes: dict[str, object], steps: set[str]) -> None:
    assert _changed(**changes) == steps


def test_as_many_sessions_side_by_side_as_the_memory_holds_of_the_steps_asked_for() -> None:
    room = {"nprocs": 16, "mem_gb": 12.0}
    assert workers(_context(**room)) == 6
    assert workers(_context(**room, steps=("bias", "resample"))) == 8
    assert workers(_context(**room, steps=("mask", "segment", "thickness"))) == 4
    assert workers(_context(nprocs=16, mem_gb=0.5)) == 1


def test_a_changed_sidecar_is_a_change() -> None:
    """What the output's sidecars pass on from the raw one is part of the result."""
    context = _context()
    before = _plan(context)
    series = replace(_series("T1w"), metadata={"EchoTime": 0.003})
    session = Session("01", None, (series,), ())
    inputs = {series.relative: InputRecord("s", f"hash of {series.name}")}
    after = plan_session(session, inputs, Manifest(), context)
    assert after.tasks["deface/sub-01_T1w"].key != before.tasks["deface/sub-01_T1w"].key


def test_finished_tasks_are_left_out_until_a_key_changes(tmp_path: Path) -> None:
    context = _context(output_dir=tmp_path)
    done = {name: TaskRecord(task.key, task.parents, ()) for name, task in _plan(context).tasks.items()}
    assert _plan(context, Manifest({}, done)).todo == frozenset()
    later = _plan(_context(output_dir=tmp_path, normalize=("minmax",)), Manifest({}, done))
    assert {name.split("/")[0] for name in later.todo} == {"normalize", "measure"}


def test_a_later_block_of_steps_needs_the_earlier_one(tmp_path: Path) -> None:
    steps = ("coregister", "atlas", "resample", "normalize", "measure")
    context = _context(output_dir=tmp_path, steps=steps)
    plan = _plan(context)
    assert plan.blocked["coregister/sub-01_FLAIR"].startswith(("mask/", "bias/"))
    early = _plan(_context(output_dir=tmp_path, steps=("mask", "deface", "bias")))
    done = {
        name: TaskRecord(
            task.key, task.parents, tuple(FileRecord(str(made.path), "", 0) for made in task.targets.values())
        )
        for name, task in early.tasks.items()
    }
    plan = _plan(context, Manifest({}, done))
    assert not plan.blocked
    whole = _plan(_context(output_dir=tmp_path))
    assert {name: task.key for name, task in plan.tasks.items()} == {
        name: key for name, key in _keys(whole).items() if name.split("/")[0] in steps
    }


def test_another_series_takes_over_a_reference_that_failed() -> None:
    plan = _plan(_context(), not_reference=frozenset({"sub-01_T1w"}))
    assert plan.reference is not None
    assert plan.reference.series.name == "sub-01_ce-gd_T1w"


def test_without_a_usable_series_there_is_nothing_to_do() -> None:
    series = (_series("T1w"),)
    inputs = {series[0].relative: InputRecord("s", "h", "it ends early")}
    plan = plan_session(Session("01", None, series, ()), inputs, Manifest(), _context())
    assert plan.reference is None
    assert not plan.tasks
    assert [one.rejection for one in plan.session.rejected] == ["it ends early"]


def test_cubic_voxels_are_written_for_thick_slices_alone_with_the_series_own_mask() -> None:
    thick = _series("FLAIR")
    thick = replace(thick, header=replace(thick.header, spacing_mm=(0.9, 0.9, 5.0)))  # type: ignore[type-var]
    session = Session("01", None, (_series("T1w"), thick), ())
    inputs = {each.relative: InputRecord("s", f"hash of {each.name}") for each in session.series}
    for rule, wanted in (("never", set()), ("anisotropic", {"FLAIR"}), ("always", {"FLAIR", "T1w"})):
        plan = plan_session(session, inputs, Manifest(), _context(isotropic=rule, isotropic_mm=0.8))
        cubes = {name: task for name, task in plan.tasks.items() if task.space.kind == "isotropic"}
        assert {task.series.suffix for task in cubes.values()} == wanted
        assert len(cubes) == 3 * len(wanted)  # the image, its masks, the normalised brain
        for task in cubes.values():
            assert "reference" not in task.parents  # another reference changes nothing
            for target in task.targets.values():
                assert "_res-08_" in target.path.name
                assert "space-" not in target.path.name
                assert "0.8 mm isotropic" in target.sidecar["Resolution"]


def test_segmentation_is_made_when_asked_for_and_stands_on_the_raw_image_alone() -> None:
    assert "segment" not in {task.step for task in _plan(_context()).tasks.values()}
    plan = _plan(_context(steps=(*STEPS, "segment")))
    tasks = [task for task in plan.tasks.values() if task.step == "segment" and task.variant != "tissue"]
    assert len(tasks) == 3
    for task in tasks:
        assert set(task.parents) == {f"raw:{task.series.relative}"}
        assert {target.path.name.rsplit("_", 1)[1] for target in task.targets.values()} == {
            "dseg.nii.gz", "dseg.tsv", "mask.nii.gz",
        }  # fmt: skip


def _measured(plan: SessionPlan) -> dict[str, set[str]]:
    """What the measuring of each series reads."""
    return {task.series.name: set(task.files) for task in plan.tasks.values() if task.step == "measure"}


def test_every_series_is_measured_once_from_what_there_is_of_it() -> None:
    """The atlas is reached through the reference; what a step that was not chosen would have made is not waited for."""
    own, aligned = {"brain_mask", "biasfield"}, {"to_reference", "reference_image", "reference_brain_mask"}
    others = ("sub-01_FLAIR", "sub-01_ce-gd_T1w")
    whole = _measured(_plan(_context()))
    assert whole == {"sub-01_T1w": {*own, "to_atlas"}, **{one: {*own, *aligned, "to_atlas"} for one in others}}
    warped = _measured(_plan(_context(atlas_registration="syn")))
    assert "from_atlas" in warped["sub-01_FLAIR"]
    with_tissue = _measured(_plan(_context(steps=(*STEPS, "segment"))))
    assert all("segmentation" in files for files in with_tissue.values())
    assert _measured(_plan(_context(deface=False))) == whole
    masks_alone = _measured(_plan(_context(steps=("mask", "measure"))))
    assert masks_alone == {one: {"brain_mask"} for one in ("sub-01_T1w", *others)}
    without_coregistration = _measured(_plan(_context(steps=("mask", "deface", "bias", "atlas", "measure"))))
    assert without_coregistration["sub-01_FLAIR"] == own  # no way to the atlas


def test_measuring_alone_needs_the_mask_and_says_so() -> None:
    plan = _plan(_context(steps=("measure",)))
    assert plan.blocked == {name: name.replace("measure", "mask") for name in plan.tasks}
    assert len(plan.blocked) == 3


def test_what_failed_is_done_without() -> None:
    failed = frozenset({"atlas/sub-01_T1w/MNI", "coregister/sub-01_FLAIR"})
    files = _measured(_plan(_context(), failed=failed))
    assert files["sub-01_T1w"] == files["sub-01_FLAIR"] == {"brain_mask", "biasfield"}
    assert "to_reference" in files["sub-01_ce-gd_T1w"]
    assert not any("to_atlas" in each for each in files.values())


def test_landmarks_of_a_group_are_part_of_what_depends_on_them() -> None:
    """A change of the file changes what is mapped by it, and of another contrast's landmarks nothing."""
    wanted = replace(_context(normalize=("zscore", "nyul")), nyul={"T1w": (0.0, 50.0, 100.0)})
    before = _keys(_plan(wanted))
    other = _keys(_plan(replace(wanted, nyul={"T1w": (0.0, 60.0, 100.0)})))
    changed = {name for name in before if before[name] != other[name]}
    assert changed
    assert all(name.startswith("normalize/sub-01_T1w") and name.endswith("nyul") for name in changed)
    with_more = _keys(_plan(replace(wanted, nyul={"T1w": (0.0, 50.0, 100.0), "T2w": (0.0, 1.0, 2.0)})))
    assert with_more == before
    alone = _plan(replace(_context(normalize=("nyul",)), nyul={"T1w": (0.0, 50.0, 100.0)}))
    assert alone.tasks["measure/sub-01_T1w"].parameters["standard"] == (0.0, 50.0, 100.0)
    assert alone.tasks["measure/sub-01_FLAIR"].parameters["standard"] is None


def _tissue(plan: SessionPlan) -> dict[str, Task]:
    return {name: task for name, task in plan.tasks.items() if task.variant == "tissue"}


def test_tissue_is_the_reference_s_and_stands_on_its_labels_its_skull_and_the_atlas() -> None:
    assert not _tissue(_plan(_context()))
    plan = _plan(_context(steps=(*STEPS, "segment")))
    found = _tissue(plan)
    reference = "sub-01_T1w"
    assert set(found) == {
        f"segment/{reference}/tissue", f"resample/{reference}/reference/tissue",
        f"resample/{reference}/MNI_res-1/tissue",
    }  # fmt: skip
    task = found[f"segment/{reference}/tissue"]
    assert set(task.files) == {"image", "brain_mask", "intracranial_mask", "segmentation", "to_atlas"}
    assert task.files["intracranial_mask"].task == f"segment/{reference}"  # a mask by template comes without
    names = {target.path.name for target in task.targets.values()}
    assert {f"sub-01_label-{tissue}_desc-T1w_probseg.nii.gz" for tissue in ("GM", "WM", "CSF")} <= names
    stack = task.targets["probseg"]
    assert stack.path.name == "sub-01_desc-T1w_probseg.nii.gz"
    assert stack.sidecar["LabelMap"] == ["GM", "WM", "CSF"]
    in_atlas = found[f"resample/{reference}/MNI_res-1/tissue"].targets["probseg_gm"]
    assert in_atlas.path.name == "sub-01_space-MNI_res-1_label-GM_desc-T1w_probseg.nii.gz"
    assert in_atlas.sidecar["Sources"][-1].endswith("from-T1w_to-MNI_mode-image_xfm.mat")
    measured = _measured(plan)
    assert all({"probseg_gm", "probseg_wm", "probseg_csf"} <= files for files in measured.values())


def test_tissue_is_planned_without_an_atlas_to_say_why_there_is_none_and_not_at_all_without_a_mask() -> None:
    without = _tissue(_plan(_context(steps=("mask", "deface", "bias", "segment"))))
    assert "to_atlas" not in without["segment/sub-01_T1w/tissue"].files
    failed = frozenset({"atlas/sub-01_T1w/MNI"})
    plan = _plan(_context(steps=(*STEPS, "segment")), failed=failed)
    assert "to_atlas" not in _tissue(plan)["segment/sub-01_T1w/tissue"].files
    assert not _tissue(_plan(_context(steps=("segment",))))
    lost = _plan(_context(steps=(*STEPS, "segment")), failed=frozenset({"segment/sub-01_T1w"}))
    assert not _tissue(lost)
    assert "probseg_gm" not in _measured(lost)["sub-01_T1w"]


def test_another_registration_to_the_atlas_is_another_tissue() -> None:
    kinds = ("rigid", "syn")
    plans = [_keys(_plan(_context(steps=(*STEPS, "segment"), atlas_registration=kind))) for kind in kinds]
    assert plans[0]["segment/sub-01_T1w/tissue"] != plans[1]["segment/sub-01_T1w/tissue"]
    assert plans[0]["segment/sub-01_T1w"] == plans[1]["segment/sub-01_T1w"]


def test_denoising_comes_between_the_face_and_the_bias_field_and_costs_nothing_where_it_is_not_asked_for() -> None:
    steps = (*STEPS, "denoise")
    with_step = _context(steps=steps)
    with_step.versions["denoise"] = "1"  # type: ignore[index]
    assert _keys(_plan(with_step)) == _keys(_plan(_context(steps=STEPS))), "without --denoise nothing is changed"
    asked = _context(steps=steps, denoise=True)
    asked.versions["denoise"] = "1"  # type: ignore[index]
    plan = _plan(asked)
    assert plan.tasks["denoise/sub-01_T1w"].files["image"].task == "deface/sub-01_T1w"
    bias = plan.tasks["bias/sub-01_T1w"]
    assert bias.files["image"].task == "denoise/sub-01_T1w"
    assert bias.targets["preproc"].sidecar["Sources"] == [
        "bids::sub-01/anat/sub-01_desc-denoised_T1w.nii.gz", "bids::sub-01/anat/sub-01_desc-biasfield_T1w.nii.gz",
    ]  # fmt: skip
    before = _keys(_plan(_context(steps=STEPS)))
    same = {name.split("/")[0] for name, task in plan.tasks.items() if before.get(name) == task.key}
    assert same == {"mask", "deface"}


def _individual(**changes: object) -> IndividualSpace:
    image = PurePosixPath("sub-01/anat/sub-01_space-individual_desc-template_T1w.nii.gz")
    to_template = {"sub-01": PurePosixPath("sub-01/anat/sub-01_from-T1w_to-individual_mode-image_xfm.mat")}
    to_atlas = {"MNI": {"to_atlas": PurePosixPath("sub-01/anat/sub-01_from-individual_to-MNI_mode-image_xfm.mat")}}
    return replace(IndividualSpace("key", image, to_template, to_atlas, {}), **changes)  # type: ignore[arg-type]


def test_sessions_meet_in_the_template_and_reach_the_atlas_through_it() -> None:
    plain, plan = _plan(_context()), _plan(replace(_context(), individual=_individual()))
    moved = plan.tasks["resample/sub-01_FLAIR/reference/preproc"]
    assert moved.targets["preproc"].path.name == "sub-01_space-individual_desc-preproc_FLAIR.nii.gz"
    assert {"template", "to_template", "to_reference"} <= set(moved.files)
    atlas = plan.tasks["atlas/sub-01_T1w/MNI"]
    assert set(atlas.files) == {"to_template", "template_to_atlas"}
    assert interface_of(atlas).__name__ == "AtlasThroughTemplate"
    changed = {name.split("/")[0] for name, key in _keys(plan).items() if _keys(plain)[name] != key}
    assert not changed & {"mask", "deface", "bias", "coregister"}, "what is native is what it was"
    other = _plan(replace(_context(), individual=_individual(key="of another template")))
    redone = {name.split("/")[0] for name, key in _keys(other).items() if _keys(plan)[name] != key}
    assert {"resample", "normalize", "atlas"} <= redone, "a new session changes the template, and all behind it"


def test_structures_over_sessions_are_found_in_one_pose_without_the_bias_field() -> None:
    context = replace(_context(steps=(*STEPS, "segment")), individual=_individual())
    reference, other = (_plan(context).tasks[f"segment/sub-01_{name}"] for name in ("T1w", "FLAIR"))
    assert set(reference.files) == {"template", "to_template", "image"}
    assert reference.files["image"].role == "preproc"
    assert (
        "bids::sub-01/anat/sub-01_from-T1w_to-individual_mode-image_xfm.mat"
        in (reference.targets["segmentation"].sidecar["Sources"])
    )
    assert not other.files
    moved = replace(context, individual=_individual(key="of another template"))
    assert _plan(moved).tasks["segment/sub-01_T1w"].key != reference.key


def test_a_session_that_is_no_part_of_the_template_has_its_native_outputs_only() -> None:
    alone = _individual(transforms={}, problems={"sub-01": "it cannot be aligned"})
    plan = _plan(replace(_context(), individual=alone))
    assert not plan.blocked
    assert {task.space.kind for task in plan.tasks.values()} == {"native"}
