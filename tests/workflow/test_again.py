"""Running again: what is finished stays, what changed is redone, what is damaged is mended, bad input costs itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app, series_table

#: One session; its masks are given, since how they are made is not the matter here.
ONE = ("--participant-label", "02", "--session-label", "1", "--masks", "derivatives/truth")


def _app(source: Path, output: Path, *words: str, level: str = "participant") -> Run:
    return bids_app(source, output, *(str(source / w) if w == "derivatives/truth" else w for w in words), level=level)


def _hashes(folder: Path, logs: bool = False) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (logs or "logs" not in path.parts)
    }


def _times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent.name == "anat"}


@pytest.fixture(scope="module")
def first(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One session, processed with the defaults."""
    before = _hashes(small_demo)
    run = _app(small_demo, tmp_path_factory.mktemp("first") / "out", *ONE)
    assert run.code == 0, run.text
    assert _hashes(small_demo) == before, "the dataset was written to"
    return run


@pytest.fixture
def again(first: Run, tmp_path: Path) -> Run:
    """A copy of the finished output, to be run on again."""
    output = tmp_path / "out"
    shutil.copytree(first.output, output)
    return Run(first.source, output, 0, "")


def test_a_second_run_does_nothing_and_says_so(again: Run) -> None:
    before = _times(again.output)
    run = _app(again.source, again.output, *ONE)
    assert run.code == 0
    assert "unchanged" in run.text
    assert _times(again.output) == before


def test_another_normaliser_is_all_that_is_made(again: Run) -> None:
    before = _times(again.output)
    run = _app(again.source, again.output, *ONE, "--normalize", "minmax")
    assert run.code == 0, run.text
    after = _times(again.output)
    assert {name: after[name] for name in before} == before
    new = {name for name in after if name not in before}
    assert new
    assert all("_desc-brainminmax_" in name for name in new)
    back = _app(again.source, again.output, *ONE)
    assert "unchanged" in back.text


def test_what_is_damaged_is_mended_to_the_same_bytes(again: Run) -> None:
    whole = _hashes(again.output)
    (again.output / "sub-02/ses-1/anat/sub-02_ses-1_desc-preproc_T1w.nii.gz").write_bytes(b"half")
    (again.output / "sub-02/ses-1/anat/sub-02_ses-1_space-T1w_desc-preproc_FLAIR.nii.gz").unlink()
    run = _app(again.source, again.output, *ONE)
    assert run.code == 0, run.text
    assert _hashes(again.output) == whole


def test_a_changed_raw_file_makes_everything_of_it_anew(again: Run, tmp_path: Path) -> None:
    source = tmp_path / "data"
    shutil.copytree(again.source, source)
    path = source / "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz"
    image = nib.load(path)
    array = np.asanyarray(image.dataobj).copy()
    array[0, 0, 0] += 1
    nib.Nifti1Image(array, image.affine, image.header).to_filename(path)
    before = _times(again.output)
    run = _app(source, again.output, *ONE)
    assert run.code == 0, run.text
    after = _times(again.output)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if "FLAIR" in name}


def test_what_the_table_lacks_is_put_there_without_work(again: Run) -> None:
    table = again.output / "sub-02" / "ses-1" / "sub-02_ses-1_series.tsv"
    content = table.read_bytes()
    table.unlink()
    run = _app(again.source, again.output, *ONE)
    assert run.code == 0
    assert table.read_bytes() == content


def test_a_series_that_is_gone_takes_its_outputs_with_it(again: Run, tmp_path: Path) -> None:
    source = tmp_path / "data"
    shutil.copytree(again.source, source)
    for path in (source / "sub-02" / "ses-1" / "anat").glob("*FLAIR*"):
        path.unlink()
    run = _app(source, again.output, *ONE)
    assert run.code == 0, run.text
    assert not list((again.output / "sub-02" / "ses-1" / "anat").glob("*FLAIR*"))
    assert list((again.output / "sub-02" / "ses-1" / "anat").glob("*space-T1w*"))


def test_a_filter_leaves_what_is_finished_alone(again: Run, tmp_path: Path) -> None:
    before = _times(again.output)
    query = tmp_path / "filter.json"
    query.write_text('{"t1w": {"suffix": "T1w", "acquisition": "none"}}')
    run = _app(again.source, again.output, *ONE, "--bids-filter-file", str(query))
    assert run.code == 0, run.text
    after = _times(again.output)
    assert {name for name in before if "T1w." in name or "desc-T1w" in name} <= set(after)


def test_damage_that_may_not_be_mended_is_told(again: Run) -> None:
    path = again.output / "sub-02/ses-1/anat/sub-02_ses-1_desc-preproc_FLAIR.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    run = _app(again.source, again.output, *ONE, "--steps", "normalize", "--normalize", "minmax")
    assert run.code == 1
    assert "add bias to --steps" in run.text


def test_a_broken_series_is_told_every_time(again: Run, tmp_path: Path) -> None:
    source = tmp_path / "data"
    shutil.copytree(again.source, source)
    path = source / "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz"
    path.write_bytes(path.read_bytes()[:5000])
    for _ in range(2):
        run = _app(source, again.output, *ONE)
        assert run.code == 1
        assert "ends early" in run.text


def test_two_blocks_of_steps_give_what_one_run_gives(first: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    late = _app(first.source, output, *ONE, "--steps", "atlas", "resample")
    assert late.code == 1
    assert "no run has made" in late.text
    early = _app(first.source, output, *ONE, "--steps", "mask", "deface", "bias")
    assert early.code == 0, early.text
    assert not list(output.rglob("*space-*"))
    late = _app(first.source, output, *ONE, "--steps", "coregister", "atlas", "resample", "normalize")
    assert late.code == 0, late.text
    ours, theirs = _hashes(output), _hashes(first.output)
    assert {name: ours[name] for name in ours if "/anat/" in name} == {
        name: theirs[name] for name in theirs if "/anat/" in name
    }


def test_bytes_do_not_depend_on_how_many_processes_work(first: Run, tmp_path: Path) -> None:
    run = _app(first.source, tmp_path / "out", *ONE, "--nprocs", "3")
    assert run.code == 0, run.text
    assert _hashes(tmp_path / "out") == _hashes(first.output)


def test_a_bad_series_costs_itself_alone(small_demo: Path, tmp_path: Path) -> None:
    """The best reference is truncated, another image is constant: the rest is done, both are named, exit 1."""
    source, output = tmp_path / "data", tmp_path / "out"
    shutil.copytree(small_demo, source)
    anat = source / "sub-01" / "anat"
    whole = (anat / "sub-01_T1w.nii.gz").read_bytes()
    (anat / "sub-01_T1w.nii.gz").write_bytes(whole[: len(whole) // 2])
    image = nib.load(anat / "sub-01_ce-gadolinium_T1w.nii.gz")
    empty = np.zeros(image.shape, np.int16)
    nib.Nifti1Image(empty, image.affine).to_filename(anat / "sub-01_ce-gadolinium_T1w.nii.gz")
    run = _app(source, output, "--participant-label", "01", "--masks", "derivatives/truth")
    assert run.code == 1
    assert "Traceback" not in run.text
    table = {row["series"]: row for row in series_table(output / "sub-01" / "sub-01_series.tsv")}
    assert {name: row["status"] for name, row in table.items()} == {
        "sub-01_FLAIR": "done", "sub-01_T1w": "failed", "sub-01_T2w": "done", "sub-01_ce-gadolinium_T1w": "failed",
    }  # fmt: skip
    assert "ends early" in table["sub-01_T1w"]["reason"]
    assert "same value" in table["sub-01_ce-gadolinium_T1w"]["reason"]
    assert table["sub-01_T2w"]["reference"] == "1"
    assert (output / "sub-01/anat/sub-01_space-T2w_desc-brainzscore_FLAIR.nii.gz").exists()


def test_a_single_series_is_its_own_reference(small_demo: Path, tmp_path: Path) -> None:
    source = tmp_path / "data"
    shutil.copytree(small_demo, source)
    for path in (source / "sub-02" / "ses-1" / "anat").glob("*T1w*"):
        path.unlink()
    run = _app(source, tmp_path / "out", *ONE)
    assert run.code == 0, run.text
    names = {path.name for path in (tmp_path / "out").rglob("*.nii.gz")}
    assert "sub-02_ses-1_space-FLAIR_desc-preproc_FLAIR.nii.gz" in names
    assert "sub-02_ses-1_space-MNI152NLin2009aSym_res-1_desc-brainzscore_FLAIR.nii.gz" in names


def test_given_masks_are_used_as_they_are(first: Run, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    made = first.output / "sub-02/ses-1/anat/sub-02_ses-1_label-brain_desc-T1w_mask.nii.gz"
    image = nib.load(made)
    array = np.asarray(image.dataobj).copy()
    array[tuple(np.argwhere(array)[0])] = 0
    nib.Nifti1Image(array, image.affine).to_filename(masks / "sub-02_ses-1_desc-brain_mask.nii.gz")
    run = bids_app(first.source, tmp_path / "out", *ONE[:4], "--masks", str(masks), "--steps", "mask")
    assert run.code == 0, run.text
    name = "sub-02_ses-1_label-brain_desc-T1w_mask"
    used = nib.load(tmp_path / "out/sub-02/ses-1/anat" / f"{name}.nii.gz")
    assert np.array_equal(np.asarray(used.dataobj), array)
    sidecar = json.loads((tmp_path / "out/sub-02/ses-1/anat" / f"{name}.json").read_text())
    assert sidecar["Method"]["Name"] == "precomputed"


def test_group_gathers_every_row(again: Run) -> None:
    run = _app(again.source, again.output, level="group")
    assert run.code == 0, run.text
    rows = (again.output / "group_series.tsv").read_text().splitlines()
    assert [row.split("\t")[2] for row in rows] == ["series", "sub-02_ses-1_FLAIR", "sub-02_ses-1_T1w"]


def test_verify_finds_what_is_wrong(again: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from bids_app.cli.main import run

    assert run(["verify", str(again.output)], {}) == 0
    anat = again.output / "sub-02/ses-1/anat"
    (anat / "sub-02_ses-1_desc-preproc_T1w.json").write_text("{}")
    (anat / "sub-02_ses-1_desc-preproc_FLAIR.nii.gz").unlink()
    (anat / "stranger.nii.gz").write_bytes(b"x")
    assert run(["verify", str(again.output)], {}) == 1
    said = capsys.readouterr().out
    assert "desc-preproc_T1w.json: size changed" in said
    assert "desc-preproc_FLAIR.nii.gz: missing" in said
    assert "stranger.nii.gz: in no manifest" in said
