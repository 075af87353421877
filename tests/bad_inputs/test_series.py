"""Every row of the table, in one dataset: what the walk and the reading of the image make of it, in which words."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from bad_inputs.listing import shuffled_listings
from bad_inputs.rows import GOOD, Row
from bad_inputs.table import ROOT, ROWS
from trees import write_tree

from bids_app.cli.main import run
from bids_app.inputs.content import check_content
from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.series import Series, printable

#: What reading a row may allocate: the largest image that is read to its end is 5 MB, one stream is stopped at 64 MB.
MAX_MB = 100


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dataset with all rows and a good participant."""
    root = tmp_path_factory.mktemp("bad") / "data set ü"
    write_tree(root, {**ROOT, "sub-good/anat/sub-good_T1w.nii.gz": GOOD})
    for row in ROWS:
        row.write(root)
    return root


@pytest.fixture(scope="module")
def found(dataset: Path) -> dict[str, Series]:
    """Every series of the dataset by its path."""
    return {
        one.relative: one for session in walk(open_dataset(dataset)) for one in (*session.series, *session.rejected)
    }


def test_the_table_is_long_enough_and_has_no_row_twice() -> None:
    assert len(ROWS) >= 80
    assert len({row.subject for row in ROWS}) == len(ROWS)
    assert len({row.what for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what.replace(" ", "_"))
def test_row(row: Row, found: dict[str, Series]) -> None:
    image = found.get(printable(row.image))
    if row.fate == "ignored":
        assert image is None
        return
    assert image is not None, "lost"
    tracemalloc.start()
    reason = image.rejection or check_content(image)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fate = "processed" if reason is None else "failed" if image.accepted or image.unreadable else "rejected"
    text = " ".join(image.warnings) if reason is None else reason
    assert (fate, text) == (row.fate, text)
    assert any(one in text for one in row.says.split("|")), text
    assert text.isprintable()
    assert reason is None or 15 < len(text) < 300
    assert peak < MAX_MB * 2**20


@pytest.mark.parametrize("row", [row for row in ROWS if row.rest], ids=lambda row: row.what.replace(" ", "_"))
def test_the_rest_of_the_participant_is_processed(row: Row, found: dict[str, Series]) -> None:
    for key in row.rest:
        series = found[row.place(key)]
        assert series.accepted
        assert check_content(series)[1] is None


def test_what_is_not_ignored_is_told(dataset: Path, found: dict[str, Series]) -> None:
    images = {
        printable(path.relative_to(dataset).as_posix())
        for path in dataset.rglob("*")
        if path.name.lower().endswith((".nii.gz", ".nii", ".mgz", ".nrrd", ".nii.bz2"))
    }
    assert images - set(found) == {printable(row.image) for row in ROWS if row.fate == "ignored"} & images


def test_the_walk_does_not_depend_on_the_order_of_a_listing(dataset: Path, found: dict[str, Series]) -> None:
    with shuffled_listings(seed=0):
        again = [one for session in walk(open_dataset(dataset)) for one in (*session.series, *session.rejected)]
    assert again == list(found.values())


def test_a_warning_is_logged_with_its_file(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    list(walk(open_dataset(dataset), Selection(participants=("ASidecarOfNoJson", "NeitherSformNorQform"))))
    assert [record.getMessage() for record in caplog.records] == [
        "Warning: sub-ASidecarOfNoJson/anat/sub-ASidecarOfNoJson_T1w.json: it is not valid JSON "
        "(line 1: Expecting property name enclosed in double quotes)",
        "Warning: sub-NeitherSformNorQform/anat/sub-NeitherSformNorQform_T1w.nii.gz: neither its sform nor its qform "
        "is set: where left and right are is a guess",
    ]


def test_the_dry_run_says_the_same(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(
        [str(dataset), str(tmp_path / "out"), "participant", "--dry-run", "--json"], {"BIDS_APP_HOME": str(tmp_path)}
    )
    assert code == 0
    sessions = json.loads(capsys.readouterr().out)["sessions"]
    accepted = {series["path"] for session in sessions for series in session["series"]}
    reasons = {series["path"]: series["reason"] for session in sessions for series in session["rejected"]}
    for row in ROWS:
        image = printable(row.image)
        assert (image in accepted or image in reasons) == (row.fate != "ignored"), row.what
        assert image in accepted or row.fate in ("rejected", "failed", "ignored"), row.what
        assert row.fate != "rejected" or any(one in reasons[image] for one in row.says.split("|")), row.what
        assert {row.place(key) for key in row.rest} <= accepted, row.what
    assert not (tmp_path / "out").exists()
