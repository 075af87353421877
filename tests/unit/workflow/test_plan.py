"""Plans: which tasks there are, what each stands on, and what a change of a setting does to their keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bids_app.inputs.series import Header, Series, Session
from bids_app.outputs.manifest import FileRecord, InputRecord, Manifest, TaskRecord
from bids_app.outputs.tree import OutputSpace
from bids_app.settings import Settings
from bids_app.workflow.context import AtlasSpace, Extraction, RunContext
from bids_app.workflow.graph import node_name
from bids_app.workflow.plan import SessionPlan, plan_session

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
