"""The quality numbers of a small session, from the images to the tables of the session and of the group."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app, series_table

NAME = "sub-02_ses-1"
ONE = ("--participant-label", "02", "--session-label", "1", "--nprocs", "1")


def _masks(demo: Path) -> tuple[str, str]:
    return "--masks", str(demo / "derivatives" / "truth")


@pytest.fixture(scope="module")
def run(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A reference and a thick FLAIR, true masks given."""
    steps = ("--steps", "mask", "deface", "bias", "coregister", "atlas", "measure")
    output = tmp_path_factory.mktemp("measures") / "out"
    return bids_app(small_demo, output, *ONE, *_masks(small_demo), *steps)


def _tasks(run: Run) -> dict[str, Any]:
    return json.loads((run.output / "logs" / "sub-02" / "ses-1" / "manifest.json").read_text())["tasks"]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_each_series_has_its_numbers_finite_and_in_the_dictionary(run: Run) -> None:
    from bids_app.outputs.measures import load_measures

    assert run.code == 0, run.text
    tasks = _tasks(run)
    names = set()
    for suffix in ("T1w", "FLAIR"):
        task = tasks[f"measure/{NAME}_{suffix}"]
        assert task["files"] == []
        numbers = {name: value for name, value in task["facts"].items() if name != "not_measured"}
        assert all(value is None or math.isfinite(value) for value in numbers.values())
        assert {name for name, value in numbers.items() if value is None} == set(task["facts"].get("not_measured", {}))
        names |= set(numbers)
    assert names <= set(load_measures())
    elsewhere = {f"{step}_{fact}" for step in ("coregister", "atlas") for fact in tasks[_first(tasks, step)]["facts"]}
    of_native = {name for step in ("mask", "deface", "bias") for name in tasks[f"{step}/{NAME}_T1w"]["facts"]}
    missing = set(load_measures()) - names - elsewhere - of_native
    others = {name for name in load_measures() if name.startswith(("adc_", "template_"))}  # of diffusion images
    others |= {"gaussianmixture_fallback", "intracranial_ml"}  # another normalisation, synth's own masks
    others |= {name for name, measure in load_measures().items() if measure.group == "tissue"}  # --steps segment
    assert missing == others


def _first(tasks: dict[str, Any], step: str) -> str:
    return next(name for name in tasks if name.startswith(f"{step}/"))


def test_numbers_are_those_of_the_images(run: Run) -> None:
    """A few of them computed anew from the files, on other ways."""
    facts = {suffix: _tasks(run)[f"measure/{NAME}_{suffix}"]["facts"] for suffix in ("T1w", "FLAIR")}
    for suffix, numbers in facts.items():
        raw = nib.load(run.source / "sub-02" / "ses-1" / "anat" / f"{NAME}_{suffix}.nii.gz")
        brain = run.image(f"{NAME}_label-brain_desc-{suffix}_mask.nii.gz").get_fdata() > 0
        preproc = run.image(f"{NAME}_desc-preproc_{suffix}.nii.gz").get_fdata()[brain]
        assert numbers["slice_thickness_mm"] == pytest.approx(max(raw.header.get_zooms()), rel=1e-3)
        assert numbers["brain_mean"] == pytest.approx(preproc.mean(), rel=1e-3)
        assert numbers["bias_cv_after"] == pytest.approx(preproc.std() / preproc.mean(), rel=1e-3)
        before = raw.get_fdata()[brain]
        assert numbers["bias_cv_before"] == pytest.approx(before.std() / before.mean(), rel=1e-3)
        assert numbers["bias_cv_before"] > numbers["bias_cv_after"]
        assert numbers["normalized_mean"] == pytest.approx(0, abs=1e-5)
        assert numbers["normalized_sd"] == pytest.approx(1, rel=1e-4)
        assert sum(numbers[f"fov_cut_{side}_cm2"] for side in ("left", "right", "anterior", "posterior")) == 0
    assert facts["FLAIR"]["mask_reference_dice"] > 0.93  # two true masks, in thick slices
    assert facts["T1w"]["atlas_volume_change_percent"] == pytest.approx(0, abs=1)
    assert "coregister_nmi" not in facts["T1w"]  # it is the reference
    assert "atlas_nmi" not in facts["FLAIR"]


def test_the_series_table_names_thick_slices_and_warns_of_nothing(run: Run) -> None:
    rows = {row["suffix"]: row for row in series_table(run.output / "sub-02" / "ses-1" / f"{NAME}_series.tsv")}
    assert rows["FLAIR"]["anisotropy"] in ("mild", "high")
    assert rows["T1w"]["anisotropy"] == "isotropic"
    assert "disagrees" not in rows["FLAIR"]["warnings"]


def test_the_scans_table_is_valid_bids_and_says_what_the_manifest_says(run: Run) -> None:
    folder = run.output / "sub-02" / "ses-1"
    rows = _rows(folder / f"{NAME}_scans.tsv")
    assert [row["filename"] for row in rows] == [f"anat/{NAME}_desc-preproc_{one}.nii.gz" for one in ("FLAIR", "T1w")]
    assert set(json.loads((run.output / "scans.json").read_text())) == set(rows[0])
    for row, suffix in zip(rows, ("FLAIR", "T1w"), strict=True):
        facts = _tasks(run)[f"measure/{NAME}_{suffix}"]["facts"]
        for name, value in facts.items():
            if name != "not_measured":
                assert row[name] == ("n/a" if value is None else str(value))
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists() and shutil.which("bids-validator-deno") is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([str(validator), "--json", str(run.output)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_the_group_has_every_number_in_one_long_table(run: Run) -> None:
    from bids_app.outputs.manifest import manifest_path, read_manifest
    from bids_app.outputs.measures import measures_of

    group = bids_app(run.source, run.output, level="group")
    assert group.code == 0, group.text
    rows = _rows(run.output / "group_measures.tsv")
    assert {(row["participant_id"], row["session_id"]) for row in rows} == {("sub-02", "ses-1")}
    manifest = read_manifest(manifest_path(run.output, "02", "1"))
    for suffix in ("T1w", "FLAIR"):
        of_series = {row["measure"]: row["value"] for row in rows if row["series"] == f"{NAME}_{suffix}"}
        numbers = measures_of(f"{NAME}_{suffix}", manifest)
        assert of_series == {name: "n/a" if value is None else str(value) for name, value in numbers.items()}
    dictionary = json.loads((run.output / "group_measures.json").read_text())
    assert set(dictionary) == set(rows[0])
    assert {row["measure"] for row in rows} <= set(dictionary["measure"]["Levels"])


def test_a_failed_atlas_costs_only_the_numbers_that_need_it(run: Run, tmp_path: Path) -> None:
    plate = np.zeros((90, 90, 20), np.float32)  # a litre, but no brain
    plate[5:85, 5:85, 8:11] = 100
    nib.save(nib.Nifti1Image(plate, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "plate.nii.gz")
    before = _tasks(run)
    shutil.copytree(run.output, tmp_path / "out")
    words = (*ONE, *_masks(run.source), "--output-spaces", str(tmp_path / "plate.nii.gz"))
    again = bids_app(run.source, tmp_path / "out", *words, "--steps", "atlas", "measure")
    assert again.code == 1
    tasks = _tasks(again)
    assert not [name for name in tasks if "plate" in name]
    for suffix in ("T1w", "FLAIR"):
        old, new = (each[f"measure/{NAME}_{suffix}"]["facts"] for each in (before, tasks))
        assert old["snr_gm"] is not None
        assert new["snr_gm"] is None
        assert "no segmentation and no registration" in new["not_measured"]["snr_gm"]
        for kept in ("bias_cv_after", "efc", "mask_smoothness", "brain_mean", "coregister_nmi"):
            assert new.get(kept) == old.get(kept)
    assert tasks[f"measure/{NAME}_T1w"]["facts"]["atlas_dice"] is None
    rows = {row["suffix"]: row for row in series_table(again.output / "sub-02" / "ses-1" / f"{NAME}_series.tsv")}
    assert rows["T1w"]["reason"].startswith("atlas: ")
    assert "measure" not in rows["T1w"]["reason"]
    assert rows["FLAIR"]["status"] == "done"
