"""The profile of datasets whose composition is known."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from finished_output import Finished
from simulated_collection import add_participant, raw_dataset
from trees import DESCRIPTION, Nifti, write_tree

from bids_app.group.columns import COLUMNS
from bids_app.group.datasets import Source, sources
from bids_app.group.errors import GroupError
from bids_app.group.profile import Profile, gather, write_profile
from bids_app.group.voxels import intensities, otsu_threshold
from bids_app.inputs.dataset import Selection
from bids_app.inputs.walker import Walker
from bids_app.settings import Settings


def _gather(root: Path, cache: Path, *further: str) -> Profile:
    return gather([Source("one", root, None)], Selection(), cache, further)


def test_every_cell_of_a_series_is_its_truth(tmp_path: Path) -> None:
    root = raw_dataset(tmp_path / "raw")
    profile = _gather(root, tmp_path / "cache", "site")
    rows = {row["series"]: row for row in profile.rows()}
    assert len(rows) == len(profile) == 10
    first = {name: value for name, value in rows["sub-01_T1w"].items() if value is not None}
    assert first.pop("affine").startswith("8 0 0 ")
    assert first == {
        "dataset": "one", "participant_id": "sub-01", "series": "sub-01_T1w", "series_id": "t1w-raw-axi",
        "modality": "T1w", "contrast": "T1w", "suffix": "T1w", "contrast_agent": 0,
        "classification_rule": "BIDS suffix", "sequence_family": "GR+IR", "acquisition_type": "3D",
        "status": "accepted", "is_derived": 0, "is_localizer": 0, "is_subtraction": 0, "plane": "axial",
        "orientation": "RAS", "dim_1": 20, "dim_2": 22, "dim_3": 20, "spacing_1_mm": 8.0, "spacing_2_mm": 8.0,
        "spacing_3_mm": 8.0, "fov_1_mm": 160.0, "fov_2_mm": 176.0, "fov_3_mm": 160.0, "anisotropy_ratio": 1.0,
        "anisotropy": "isotropic", "dtype": "uint8", "series_number": 1, "manufacturer": "Siemens",
        "field_strength_t": 3.0, "tr_ms": 2300.0, "te_ms": 2.98, "ti_ms": 900.0, "flip_angle_deg": 9.0,
        "age": "30", "sex": "F", "site": "B",
    }  # fmt: skip
    assert rows["sub-04_T1w"]["age"] == "89+"
    assert rows["sub-04_T1w"]["manufacturer"] == "GE"
    assert rows["sub-01_FLAIR"]["orientation"] == "LPS"
    assert rows["sub-01_FLAIR"]["anisotropy"] == "mild"
    assert rows["sub-05_ce-gadolinium_T1w"]["contrast"] == "T1w with contrast agent"
    localizer = rows["sub-06_T1w"]
    assert (localizer["status"], localizer["is_localizer"], localizer["is_derived"]) == ("rejected", 1, 1)
    assert localizer["series_id"] == "t1w-der-axi"
    assert len(profile.used()) == 9


def test_nothing_that_identifies_leaves(tmp_path: Path) -> None:
    root = raw_dataset(tmp_path / "raw")
    output = tmp_path / "out"
    said = write_profile(_gather(root, tmp_path / "cache", "name"), output)
    text = (output / "group_profile.tsv").read_text()
    assert "Jane" not in text  # a column that was asked for, with a date in it
    assert "Hospital" not in text
    table = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    assert list(table[0]) == [*COLUMNS, "name"]
    assert set(json.loads((output / "group_profile.json").read_text())) == set(table[0])
    assert said == [] or "pyarrow" in said[0]
    assert (output / "group_profile.parquet").exists() is (said == [])


def test_what_is_as_it_was_is_not_walked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = raw_dataset(tmp_path / "raw")
    cache = tmp_path / "cache"
    before = list(_gather(root, cache).rows())
    walked: list[str] = []
    walk = Walker.walk
    monkeypatch.setattr(Walker, "walk", lambda self, subjects: walked.extend(subjects) or walk(self, subjects))
    assert list(_gather(root, cache).rows()) == before
    assert walked == []
    write_tree(root, {"sub-07/anat/sub-07_T2w.nii.gz": Nifti()}, described=False)
    (root / "sub-02/anat/sub-02_T1w.json").write_text(json.dumps({"EchoTime": 0.005}))
    after = {row["series"]: row for row in _gather(root, cache).rows()}
    assert walked == ["02", "07"]
    assert after["sub-02_T1w"]["te_ms"] == 5.0
    assert after["sub-07_T2w"]["modality"] == "T2w"
    walked.clear()
    (root / "T1w.json").write_text(json.dumps({"FlipAngle": 7}))  # all inherit it
    rows = {row["series"]: row for row in _gather(root, cache).rows()}
    assert len(walked) == 7
    assert rows["sub-06_T1w"]["flip_angle_deg"] == 7


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    root = raw_dataset(tmp_path / "raw")
    before = list(_gather(root, tmp_path / "cache").rows())
    (path,) = (tmp_path / "cache").iterdir()
    for content in (b"", b"{", path.read_bytes()[:-40], b'{"root": 3}\n[]\n'):
        path.write_bytes(content)
        assert list(_gather(root, tmp_path / "cache").rows()) == before


def test_a_processed_dataset_says_what_became_of_its_series(tmp_path: Path) -> None:
    root = raw_dataset(tmp_path / "raw")
    made = Finished(tmp_path / "out")
    measures = {"brain_mean": 400.0, "brain_sd": 40.0, "brain_p05": 300.0, "brain_p50": 410.0, "brain_p95": 500.0}
    add_participant(made, "01", 0, measures=measures)
    made.row("02", None, "sub-02_T1w", "T1w", {"status": "failed", "reason": "mask: no brain"})
    profile = gather([Source("one", root, tmp_path / "out")], Selection(), tmp_path / "cache")
    rows = {row["series"]: row for row in profile.rows()}
    assert rows["sub-01_T1w"]["status"] == "done"
    assert rows["sub-01_T1w"]["intensity_p50"] == 410.0
    assert rows["sub-01_T1w"]["intensity_of"] == "brain"
    assert rows["sub-01_T1w"]["is_reference"] == 1
    assert rows["sub-01_T1w"]["manufacturer"] == "Siemens"
    assert (rows["sub-02_T1w"]["status"], rows["sub-02_T1w"]["reason"]) == ("failed", "mask: no brain")
    assert rows["sub-03_T1w"]["status"] == "accepted"


def test_an_output_alone_has_the_same_columns(tmp_path: Path) -> None:
    made = Finished(tmp_path / "out")
    measures = {"brain_p50": 410.0}
    add_participant(made, "01", 0, measures=measures)
    description = {**DESCRIPTION, "DatasetType": "derivative", "GeneratedBy": [{"Name": "bids_app"}]}
    (tmp_path / "out" / "dataset_description.json").write_text(json.dumps(description))
    root = raw_dataset(tmp_path / "raw")
    settings = Settings(root, tmp_path / "here", also=(f"other={tmp_path / 'out'}",))
    found = sources(settings)
    assert [(one.label, one.raw, one.output) for one in found] == [
        ("dataset-1", root, tmp_path / "here"),
        ("other", None, tmp_path / "out"),
    ]
    profile = gather(found, Selection(), tmp_path / "cache")
    row = list(profile.rows())[-1]
    assert row["dataset"] == "other"
    assert (row["dim_2"], row["spacing_3_mm"], row["fov_1_mm"], row["orientation"]) == (28, 8.0, 192.0, "RAS")
    assert (row["contrast"], row["status"], row["intensity_p50"], row["plane"]) == ("T1w", "done", 410.0, "axial")


@pytest.mark.parametrize(
    ("also", "message"),
    [(("a b=X",), "cannot name a dataset"), (("dataset-1=X",), "two datasets are called dataset-1")],
)
def test_datasets_need_names_that_tell_them_apart(tmp_path: Path, also: tuple[str, ...], message: str) -> None:
    root = raw_dataset(tmp_path / "raw")
    words = tuple(one.replace("X", str(root)) for one in also)
    with pytest.raises(GroupError, match=message):
        sources(Settings(root, tmp_path / "out", also=words))


def test_a_derivative_of_another_tool_is_refused(tmp_path: Path) -> None:
    root = raw_dataset(tmp_path / "raw")
    (root / "dataset_description.json").write_text(json.dumps({**DESCRIPTION, "DatasetType": "derivative"}))
    with pytest.raises(GroupError, match="of another tool") as raised:
        sources(Settings(tmp_path, tmp_path / "out", also=(str(root),)))
    assert raised.value.code == 16


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    root = raw_dataset(tmp_path / "raw")
    with pytest.raises(GroupError, match=r"no participants.tsv has the column scanner; there are age, name, sex, site"):
        _gather(root, tmp_path / "cache", "scanner")


def test_the_foreground_is_what_otsu_says() -> None:
    random = np.random.default_rng(0)
    air, head = random.normal(10, 3, 5000), random.normal(100, 5, 3000)
    threshold = otsu_threshold(np.concatenate([air, head]))
    assert air.max() - 1 < threshold < head.min()
    cells = intensities(np.concatenate([air, head, [np.nan]]))
    assert cells["intensity_p50"] == pytest.approx(np.median(head.astype(np.float32)), rel=1e-6)
    assert cells["intensity_sd"] == pytest.approx(head.std(), rel=1e-4)
    assert intensities(np.zeros(10)) == {}


def test_columns_are_found_whatever_their_letters(tmp_path: Path) -> None:
    table = "participant_id\tAge\tSEX\tSite\nsub-01\t36\tf\tA\n"
    files = {"sub-01/anat/sub-01_T1w.nii.gz": Nifti(), "participants.tsv": table}
    root = write_tree(tmp_path / "raw", {**files, "participants.json": {"Age": {"Units": "months"}}})
    for asked in ("Site", "site"):
        (row,) = _gather(root, tmp_path / "cache", asked).rows()
        assert (row["age"], row["sex"], row[asked]) == ("3", "F", "A")
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\tA\n")
    with pytest.raises(GroupError, match=r"no participants.tsv has the column scanner; there are site$"):
        _gather(root, tmp_path / "cache", "scanner")


def test_a_folder_may_have_an_equals_sign_in_its_name(tmp_path: Path) -> None:
    first, second = raw_dataset(tmp_path / "raw"), raw_dataset(tmp_path / "x=1")
    also = (str(second), f"named={second}", f"other={first}")
    found = sources(Settings(first, tmp_path / "out", also=also))
    assert [(one.label, one.raw) for one in found[1:]] == [("dataset-2", second), ("named", second), ("other", first)]


def test_another_dataset_of_the_same_names_sizes_and_times_is_walked(tmp_path: Path) -> None:
    for folder, echo in (("one", 0.009), ("two", 0.007)):
        files = {"sub-01/anat/sub-01_T1w.nii.gz": Nifti(), "sub-01/anat/sub-01_T1w.json": {"EchoTime": echo}}
        root = write_tree(tmp_path / folder, files)
        for path in root.rglob("*"):
            os.utime(path, (0, 0))
        (row,) = _gather(root, tmp_path / "cache").rows()
        assert row["te_ms"] == pytest.approx(echo * 1000)
