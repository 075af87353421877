"""What an output has of images that the dataset no longer has, or has otherwise: real runs of trivial steps."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import series_table
from trees import Nifti, write_tree
from trivial_steps import FAILING

from bids_app.cli.main import run
from bids_app.outputs.names import FOLDERS

TESTS = Path(__file__).parents[2]
WORDS = ("--nprocs", "1", "--brain-extraction", "template", "--steps", "mask", "deface", "lesion", "bias", "coregister")
T1W, FLAIR = "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_FLAIR.nii.gz"
LESION = "sub-01/anat/sub-01_label-lesion_mask.nii.gz"


def _run(root: Path, output: Path, *words: str) -> int:
    return _done(root, output, *words).returncode


def _told(root: Path, output: Path, *words: str) -> str:
    done = _done(root, output, *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _done(root: Path, output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys, os, trivial_steps; trivial_steps.take_over(); from bids_app.cli.main import run; "
    code += "sys.exit(run(sys.argv[1:], os.environ))"
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, str(root), str(output), "participant", *WORDS, *words]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip


def _of(output: Path, word: str) -> list[str]:
    return sorted(path.name for path in output.glob(f"sub-*/**/*{word}*"))


def _series(output: Path) -> dict[str, dict[str, str]]:
    return {row["series"]: row for row in series_table(output / "sub-01/sub-01_series.tsv")}


def _tree(root: Path, *names: str) -> Path:
    images: dict[str, Any] = {name: Nifti(fill=1) if "mask" in name else Nifti() for name in names}
    return write_tree(root, images)


def test_a_lesion_that_is_drawn_on_another_series_now_is_not_counted_twice(tmp_path: Path) -> None:
    root, output = _tree(tmp_path / "data", T1W, LESION), tmp_path / "out"
    assert _run(root, output) == 0
    assert _of(output, "label-lesion_desc-T1w")
    _tree(root, FLAIR)  # on the same grid: a lesion is likelier to be drawn on it
    assert _run(root, output) == 0
    assert _of(output, "label-lesion_desc-FLAIR")
    assert not _of(output, "label-lesion_desc-T1w")


def test_what_was_made_of_an_image_goes_when_a_refused_one_takes_its_place(tmp_path: Path) -> None:
    root, output = _tree(tmp_path / "data", T1W, FLAIR), tmp_path / "out"
    assert _run(root, output) == 0
    Nifti(shape=(32, 32, 3)).write(root / FLAIR)
    assert _run(root, output) == 0
    assert not _of(output, "FLAIR.nii.gz")
    assert _of(output, "T1w.nii.gz")
    Nifti(shape=(32, 32, 3)).write(root / T1W)  # the last one
    _run(root, output)
    assert not _of(output, "T1w.nii.gz")


def test_what_cannot_be_read_now_keeps_what_was_made_of_it(tmp_path: Path) -> None:
    root, output = _tree(tmp_path / "data", T1W), tmp_path / "out"
    assert _run(root, output) == 0
    made = _of(output, "T1w.nii.gz")
    (root / T1W).unlink()
    (root / T1W).symlink_to("not-fetched")
    assert _run(root, output) == 1
    assert _of(output, "T1w.nii.gz") == made


def test_a_broken_image_is_told_wherever_a_failed_step_is(tmp_path: Path) -> None:
    t2w = "sub-01/anat/sub-01_T2w.nii.gz"
    root, output = _tree(tmp_path / "data", T1W, t2w, FLAIR), tmp_path / "out"
    (root / t2w).write_bytes((root / t2w).read_bytes()[:-40])  # ends early
    (root / FLAIR).write_bytes(b"")  # has no header
    for _ in range(2):  # the second one has nothing to do
        assert _run(root, output, "report") == 1
        rows = _series(output)
        assert rows["sub-01_T1w"]["status"] == "done"
        for name in ("sub-01_T2w", "sub-01_FLAIR"):
            assert rows[name]["status"] == "failed"
            assert rows[name]["reason"].startswith("read: ")
            assert f"read/{name}: " in (output / "logs/sub-01/errors.txt").read_text()
            assert f'<li class="is-failed"><a href="#{name}">' in (output / "sub-01.html").read_text()
    (root / t2w).unlink()
    _run(root, output, "report")
    assert "T2w" not in (output / "logs/sub-01/errors.txt").read_text()
    (root / FLAIR).unlink()
    assert _run(root, output, "report") == 0
    assert not (output / "logs/sub-01/errors.txt").exists()
    assert "Nothing failed" in (output / "sub-01.html").read_text()


def test_a_broken_lesion_mask_is_told_of_the_series_that_it_was_drawn_on(tmp_path: Path) -> None:
    root, output = _tree(tmp_path / "data", T1W, LESION), tmp_path / "out"
    (root / LESION).write_bytes((root / LESION).read_bytes()[:-40])
    assert _run(root, output, "report") == 1
    row = _series(output)["sub-01_T1w"]
    assert row["status"] == "failed"
    assert row["reason"].startswith("lesion: the lesion mask sub-01_label-lesion_mask.nii.gz cannot be")
    assert "lesion/sub-01_T1w: " in (output / "logs/sub-01/errors.txt").read_text()
    assert "Look at the lesion mask" in (output / "sub-01.html").read_text()
    assert _of(output, "desc-preproc_T1w.nii.gz")


def test_what_was_made_with_other_options_is_told_as_such(tmp_path: Path) -> None:
    root, output = _tree(tmp_path / "data", T1W), tmp_path / "out"
    steps = ("--steps", "mask", "deface", "bias", "atlas")
    assert _run(root, output, *steps) == 0
    rest = ("--steps", "resample", "--atlas-registration", "syn")
    told = _done(root, output, *rest).stdout
    assert "which was made with other options; give the same ones, for instance --atlas-registration, or add" in told
    for path in output.rglob("*_xfm.*"):
        path.unlink()
    assert "which no run has made or which is damaged; add atlas to --steps" in _done(root, output, *rest).stdout


def test_a_filter_does_not_take_what_is_finished_from_the_series_table(tmp_path: Path) -> None:
    t2w = "sub-01/anat/sub-01_T2w.nii.gz"
    root, output = _tree(tmp_path / "data", T1W, FLAIR), tmp_path / "out"
    assert _run(root, output) == 0
    before = _series(output)
    _tree(root, t2w)
    (tmp_path / "filter.json").write_text('{"t1w": {"run": 9}, "t2w": {"run": 9}}')
    words = ("--bids-filter-file", str(tmp_path / "filter.json"))
    for _ in range(2):
        assert _run(root, output, *words) == 0
        rows = _series(output)
        assert rows["sub-01_T1w"] == before["sub-01_T1w"] | {"reference": "0"}
        assert (rows["sub-01_FLAIR"]["status"], rows["sub-01_FLAIR"]["reference"]) == ("done", "1")
        assert rows["sub-01_T2w"]["status"] == "rejected"
    Nifti(shape=(20, 22, 21)).write(root / T1W)  # what was made of it does not stand any more
    assert _run(root, output, *words) == 0
    assert _series(output)["sub-01_T1w"]["status"] == "rejected"


def test_a_run_that_ends_at_the_first_failure_leaves_nothing_half_written(tmp_path: Path) -> None:
    names = [f"sub-{n:02d}/anat/sub-{n:02d}_T1w.nii.gz" for n in range(1, 4)]
    root, output = _tree(tmp_path / "data", *names), tmp_path / "out"
    (root / names[0]).write_bytes((root / names[0]).read_bytes()[:-40])  # ends early
    assert _run(root, output, "--stop-on-first-crash", "--nprocs", "2") == 1
    assert not [path for path in output.rglob("*") if ".partial" in path.name]
    assert run(["verify", str(output)], os.environ) == 0


def test_what_shows_a_face_does_not_outlive_a_run_that_cannot_deface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, output = _tree(tmp_path / "data", T1W, FLAIR), tmp_path / "out"
    assert _run(root, output, "--no-deface") == 0
    assert _of(output, "preproc_T1w.nii.gz")
    monkeypatch.setenv(FAILING, "deface/sub-01_T1w")
    assert _run(root, output) == 1
    assert not _of(output, "preproc_T1w.nii.gz")
    assert _of(output, "preproc_FLAIR.nii.gz")
    assert run(["verify", str(output)], os.environ) == 0


def test_who_left_the_dataset_is_named_and_can_be_removed(tmp_path: Path) -> None:
    visits = [f"sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in (1, 2)]
    root, output = _tree(tmp_path / "data", *visits, "sub-02/anat/sub-02_T1w.nii.gz"), tmp_path / "out"
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    assert "Note: in the output" not in _told(root, output)
    shutil.rmtree(root / "sub-01/ses-2")
    shutil.rmtree(root / "sub-02")
    assert "the dataset (any more): sub-01_ses-2, sub-02;" in _told(root, output)
    assert "Note: in the output" not in _told(root, output, "--participant-label", "01", "--session-label", "1")
    for name in ("sub-01/ses-2", "logs/sub-01/ses-2", "sub-02", "logs/sub-02"):
        shutil.rmtree(output / name)
    (output / "sub-02.html").unlink(missing_ok=True)
    assert "Note: in the output" not in _told(root, output)
    assert (output / "participants.tsv").read_text() == "participant_id\tage\nsub-01\t30\n"
    assert run(["verify", str(output)], os.environ) == 0


def test_images_that_moved_into_a_session_leave_what_was_made_without_one(tmp_path: Path) -> None:
    root, output = _tree(tmp_path / "data", T1W), tmp_path / "out"
    assert _run(root, output) == 0
    (root / "sub-01/ses-1/anat").mkdir(parents=True)
    (root / T1W).rename(root / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    shutil.rmtree(root / "sub-01/anat")
    assert "the dataset (any more): sub-01 (without a session);" in _told(root, output)
    for name in FOLDERS:  # as docs/robustness.md has it
        shutil.rmtree(output / "sub-01" / name, ignore_errors=True)
    for path in (output / "sub-01").glob("sub-01_*"):
        path.unlink()
    (output / "logs/sub-01/manifest.json").unlink()
    assert "Note: in the output" not in _told(root, output)
    assert run(["verify", str(output)], os.environ) == 0
    assert _of(output, "ses-1_desc-preproc_T1w.nii.gz")


def test_given_masks_of_no_image_are_named_at_the_end(tmp_path: Path) -> None:
    root = _tree(tmp_path / "data", T1W)
    names = [f"sub-{label}_label-lesion_mask.nii.gz" for label in ("01", "1")]
    given = write_tree(tmp_path / "given", {name: Nifti(fill=1) for name in names})
    told = _told(root, tmp_path / "out", "--lesions", str(given))
    assert "Note: of --lesions, by their names of no image in the dataset and not used: sub-1_label-lesion_mask" in told
    assert "sub-01_label-lesion_mask" not in told


def test_ratings_are_held_against_what_the_run_leaves(tmp_path: Path) -> None:
    (tmp_path / "ratings.tsv").write_text("series\trating\nsub-01_T1w\tpass\nsub-1_T1w\tpass\n")
    told = _told(_tree(tmp_path / "data", T1W), tmp_path / "out", "--qc-ratings", str(tmp_path / "ratings.tsv"))
    assert "--qc-ratings: the output has no such series: sub-1_T1w\n" in told


def test_a_lesion_masks_own_name_stays_where_it_is(tmp_path: Path) -> None:
    root = _tree(tmp_path / "data", T1W, "sub-01/anat/sub-01_JohnDoe19450312_lesion.nii.gz")
    (root / "sub-01/anat/sub-01_MaryRoe_msk.nii.gz").write_bytes(b"none")
    given = write_tree(tmp_path / "given", {"Smith_John/sub-01_label-lesion_desc-T1w_mask.nii.gz": Nifti(fill=1)})
    output = tmp_path / "out"
    _run(root, output, "--lesions", str(given))
    written = {path: path.read_bytes() + str(path.relative_to(output)).encode() for path in output.rglob("*.*")
               if path.is_file()}  # fmt: skip
    for name in (b"JohnDoe", b"MaryRoe", b"Smith", b"19450312"):
        assert [path for path, content in written.items() if name in content] == []


def test_quotes_in_a_table_of_participants_concern_their_own_rows(tmp_path: Path) -> None:
    names = [f"sub-{n:02d}/anat/sub-{n:02d}_T1w.nii.gz" for n in range(1, 4)]
    root, output = _tree(tmp_path / "data", *names), tmp_path / "out"
    table = 'participant_id\tnote\tAge\tsex\nsub-01\t"left\t30\tM\n02\tb\t40\tF\nsub-03\tc"\t"10"\tF\n'
    (root / "participants.tsv").write_text(table, encoding="utf-16")
    assert _run(root, output) == 0
    with (output / "participants.tsv").open(encoding="utf-8") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file, delimiter="\t")]
    assert rows == [("sub-01", "30", "M"), ("sub-02", "40", "F"), ("sub-03", "10", "F")]
    assert json.loads((output / "participants.json").read_text())["age"]
