"""The group level as a whole: tables, page and messages, also where there is little or bad input."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from finished_output import Finished
from rich.console import Console
from simulated_collection import add_participant, raw_dataset, two_scanners
from trees import Nifti, write_tree

from bids_app.cli.main import run
from bids_app.group.run import run_group
from bids_app.outputs.verify import verify_output
from bids_app.reports.collection_page import Collection, collection_page
from bids_app.settings import Settings

HOSTILE = "</script><script>alert(1)</script>"


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _run(settings: Settings) -> str:
    said = StringIO()
    assert run_group(settings, Console(file=said, width=300)) == 0
    return said.getvalue()


def test_a_processed_collection_of_two_scanners(tmp_path: Path) -> None:
    raw, output = two_scanners(tmp_path, count=6), tmp_path / "out"
    before = sorted((path, path.stat().st_mtime_ns) for path in raw.rglob("*"))
    settings = Settings(raw, output, compare="scanner", learn_nyul=True)
    said = _run(settings)
    made = {path.name: path.read_bytes() for path in output.glob("group_*")}
    assert set(made) >= {
        "group_profile.tsv", "group_profile.json", "group_summary.tsv", "group_distributions.tsv", "group_tests.tsv",
        "group_change.tsv", "group_shift.tsv", "group_embedding.tsv", "group_nyul.json", "group_cards.yaml",
        "group_collection.html", "group_series.tsv",
    } - {"group_change.tsv"}  # fmt: skip
    rows = _table(output / "group_shift.tsv")
    assert [(row["variant"], row["a"], row["b"]) for row in rows if not row["a"].startswith("half")] == [
        ("preproc", "A", "B"), ("percentile", "A", "B"), ("zscore", "A", "B"),
    ]  # fmt: skip
    significant = {row["variant"]: int(row["welch_bonferroni"]) for row in rows if row["a"] == "A"}
    assert significant["preproc"] > significant["zscore"]
    profile = _table(output / "group_profile.tsv")
    assert {row["scanner"] for row in profile} == {"A", "B"}
    assert sum(float(row["sampling_weight"]) for row in profile) == pytest.approx(12, abs=1e-4)
    page = made["group_collection.html"].decode()
    assert page.count("<svg") > 5
    assert "data:image" not in page  # tables and plots of them: no image, and so no face
    assert "http" not in re.sub(r'http://www.w3.org/\S+"', "", page).replace('http-equiv="', "")
    assert not [path for path, _ in verify_output(output)[1] if path.startswith("logs/group")]
    (output / "logs" / "group" / ".partial-x").write_text("left by a killed run")
    assert _run(settings) == said
    assert not (output / "logs" / "group" / ".partial-x").exists()
    assert {path.name: path.read_bytes() for path in output.glob("group_*")} == made
    assert sorted((path, path.stat().st_mtime_ns) for path in raw.rglob("*")) == before


def test_a_page_does_not_tell_where_an_unreadable_image_lies(tmp_path: Path) -> None:
    folder = tmp_path / "of Jane Doe"
    raw, output = two_scanners(folder, count=3), folder / "out"
    next(output.glob("sub-001/anat/*_desc-preproc_T1w.nii.gz")).unlink()
    damaged = next(output.glob("sub-004/anat/*_desc-preproc_T1w.nii.gz"))
    damaged.write_bytes(b"no image")
    said = _run(Settings(raw, output, compare="scanner", learn_nyul=True))
    page = (output / "group_collection.html").read_text()
    assert "sub-001_T1w: no landmarks" in page
    assert "sub-001_desc-preproc_T1w.nii.gz: it cannot be read" in page
    notes = "".join(line for line in said.splitlines() if line.startswith("Note:"))
    assert str(tmp_path) not in page + notes
    assert "Jane" not in page + notes


def test_a_measure_that_is_no_number_is_not_drawn(tmp_path: Path) -> None:
    raw = write_tree(tmp_path / "raw", {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()})
    for value in ("nan", "inf"):
        made = Finished(tmp_path / value)
        measures = {name: float(value) for name in ("bias_cv_before", "brain_p50", "brain_mean", "intracranial_ml")}
        add_participant(made, "01", 1, measures={**measures, "bias_cv_after": 0.1, "atlas_volume_change_percent": 1.0})
        _run(Settings(raw, tmp_path / value))
        for path in sorted((tmp_path / value).glob("group_*.tsv")):
            assert not re.search(rf"\b{value}\b", path.read_text()), path.name


def test_several_raw_datasets_are_compared_by_their_headers(tmp_path: Path) -> None:
    first, second = raw_dataset(tmp_path / "first"), raw_dataset(tmp_path / "second")
    words = [str(first), str(tmp_path / "out"), "group", "--profile-only", "--dataset-name", "one", "--also",
             f"two={second}"]  # fmt: skip
    assert run(words, {}) == 0
    profile = _table(tmp_path / "out" / "group_profile.tsv")
    assert [row["dataset"] for row in profile] == ["one"] * 10 + ["two"] * 10
    tests = {(row["measure"], row["contrast"]): row for row in _table(tmp_path / "out" / "group_tests.tsv")}
    assert tests["spacing_largest_mm", "T1w"]["note"] == "all values are equal"
    assert tests["spacing_largest_mm", "T1w with contrast agent"]["note"].startswith("fewer than two groups")
    assert (tmp_path / "out" / "group_cards.yaml").read_text().count("dataset_id:") == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--compare", "scanner"], 64, "no participants.tsv has the column scanner"),
        (["--balance", "color"], 64, "no participants.tsv has the column color"),
        (["--also", "nowhere"], 66, "no such folder"),
        (["--maps-by", "site"], 64, "--maps-by without --maps"),
        (["--maps-by", "site", "--maps-where", "site=A"], 64, "--maps-by and --maps-where without --maps"),
        (["--dataset-name", "a b"], 64, "cannot name a dataset"),
    ],
)
def test_words_that_cannot_be_done_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    root = raw_dataset(tmp_path / "raw")
    assert run([str(root), str(tmp_path / "out"), "group", "--profile-only", *words], {}) == code
    assert message in capsys.readouterr().err


def test_an_output_in_the_dataset_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = raw_dataset(tmp_path / "raw")
    assert run([str(root), str(root / "derivatives"), "group", "--profile-only"], {}) == 73
    assert "never written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "files",
    [
        {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()},  # one participant, no participants.tsv
        {"sub-01/anat/sub-01_T1w.nii.gz": b"broken"},  # nothing that can be used
        {"sub-01/func/sub-01_task-rest_bold.nii.gz": b""},  # no structural image at all
        {"sub-01/anat/sub-01_T1w.nii.gz": Nifti(), "sub-01/anat/sub-01_T1w.json":
         {"EchoTime": "a", "MagneticFieldStrength": [3, 1.5], "FlipAngle": None, "Manufacturer": 7},
         "participants.tsv": "participant_id\tage\tsex\tsite\nsub-01\told\t3\t\n"},  # mixed types, empty cells
        {"sub-01/anat/sub-01_T1w.nii.gz": Nifti(), "participants.tsv": "age\tsite\n3\tx\n"},  # nobody's rows
    ],
)  # fmt: skip
def test_little_and_bad_input_is_said_and_not_crashed(
    tmp_path: Path, files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tree(tmp_path / "raw", files)
    words = [str(root), str(tmp_path / "out"), "group", "--profile-only", "--read-voxels", "--learn-nyul"]
    compare = ["--compare", "site"] if "participants.tsv" in files else []
    assert run([*words, *compare], {}) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "group_collection.html").read_bytes().startswith(b"<!doctype html>")
    _table(tmp_path / "out" / "group_profile.tsv")


def test_read_voxels_brings_intensities_of_what_is_not_processed(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()})
    _run(Settings(root, tmp_path / "out", profile_only=True, read_voxels=True))
    (row,) = _table(tmp_path / "out" / "group_profile.tsv")
    assert row["intensity_of"] == "foreground"
    assert 100 < float(row["intensity_p50"]) < 200  # uniform noise from 0 to 199, the upper half of it


def test_hostile_text_stays_text() -> None:
    count = {"table": "contrast", "dataset": HOSTILE, "row": HOSTILE, "column": "series", "count": 3, "share": 1.0}
    together = {**count, "table": "contrasts of a session", "column": HOSTILE}
    cohort = {**count, "table": f"participants by {HOSTILE}"}
    collection = Collection(
        (HOSTILE,), 3, 3, 3, 3, counts=[count, together, cohort], compared=HOSTILE, notes=[HOSTILE],
        distributions=[("intensity_p50", HOSTILE, [1.0, 2.0])], files=[(HOSTILE, HOSTILE)],
        shares={HOSTILE: {HOSTILE: 1.0}},
    )  # fmt: skip
    page = collection_page(collection, True).decode()
    assert HOSTILE not in page
    assert "<script>" not in page.replace("<script></script>", "")
    assert json.dumps(HOSTILE) not in page


def test_a_profile_alone_has_no_tables_of_an_earlier_run(tmp_path: Path) -> None:
    raw, output = two_scanners(tmp_path, count=3), tmp_path / "out"
    _run(Settings(raw, output, compare="scanner"))
    assert (output / "group_shift.tsv").is_file()
    (output / "group_volumes.tsv").write_text("of an earlier run")
    (output / "group_regions.tsv").write_text("of an earlier run")
    _run(Settings(raw, output, profile_only=True))
    page = (output / "group_collection.html").read_text()
    for table in ("change", "shift", "embedding", "volumes", "regions"):
        assert not (output / f"group_{table}.tsv").exists()
        assert f"group_{table}.tsv" not in page
    assert (output / "group_series.tsv").is_file()  # the participants', not the collection's
