from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trees import Nifti, write_tree

from bids_app.inputs.database import Database
from bids_app.inputs.dataset import Selection, open_dataset, walk
from bids_app.inputs.errors import InputError
from bids_app.inputs.filters import read_filter_file
from bids_app.inputs.series import LEFT_OUT_BY_FILTER

NAMES = (
    "T1w",
    "acq-mprage_run-01_T1w",
    "acq-mprage_run-2_T1w",
    "acq-se_T1w",
    "ce-gd_T1w",
    "T2w",
    "run-1_FLAIR",
    "rec-norm_UNIT1",
    "part-mag_swi",
    "acq-1_PDw",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files: dict[str, Any] = {f"sub-01/anat/sub-01_{name}.nii.gz": Nifti() for name in NAMES}
    files |= {f"sub-02/ses-{ses}/anat/sub-02_ses-{ses}_T1w.nii.gz": Nifti() for ses in ("a", "b")}
    files["sub-01/anat/sub-01_acq-se_T1w.json"] = {"EchoTime": 0.01}
    return write_tree(tmp_path_factory.mktemp("filters") / "data", files)


def accepted(root: Path, filters: dict[str, Any], **selection: Any) -> set[str]:
    found = set()
    for session in walk(open_dataset(root), Selection(filters=filters, **selection)):
        found |= {one.name.removeprefix("sub-01_").removeprefix("sub-02_") for one in session.series}
        assert all(one.rejection == "left out by the BIDS filter" for one in session.rejected)
    return found


NOT_T1W = {"T2w", "run-1_FLAIR", "rec-norm_UNIT1", "part-mag_swi", "acq-1_PDw"}
MPRAGE = {"acq-mprage_run-01_T1w", "acq-mprage_run-2_T1w"}
OF_02 = {"ses-a_T1w", "ses-b_T1w"}
CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {*NAMES, *OF_02}),
    ({"t1w": {}}, {*NAMES, *OF_02}),
    ({"bold": {"task": "rest"}}, {*NAMES, *OF_02}),
    ({"t1w": {"acquisition": "mprage"}}, NOT_T1W | MPRAGE),
    ({"t1w": {"acquisition": ["mprage", "se"]}}, NOT_T1W | MPRAGE | {"acq-se_T1w"}),
    ({"t1w": {"acquisition": None}}, NOT_T1W | OF_02 | {"T1w", "ce-gd_T1w"}),
    ({"t1w": {"acquisition": [None, "se"]}}, NOT_T1W | OF_02 | {"T1w", "ce-gd_T1w", "acq-se_T1w"}),
    ({"t1w": {"acquisition": "*"}}, NOT_T1W | MPRAGE | {"acq-se_T1w"}),
    ({"t1w": {"acquisition": "Query.NONE", "ceagent": None}}, NOT_T1W | OF_02 | {"T1w"}),
    ({"t1w": {"acquisition": "Query.OPTIONAL"}}, {*NAMES, *OF_02}),
    ({"t1w": {"run": 1}}, NOT_T1W | {"acq-mprage_run-01_T1w"}),
    ({"t1w": {"run": [1, 2]}}, NOT_T1W | MPRAGE),
    ({"t1w": {"run": "2"}}, NOT_T1W | {"acq-mprage_run-2_T1w"}),
    ({"t1w": {"session": "a"}}, NOT_T1W | {"ses-a_T1w"}),
    ({"t1w": {"session": None}}, NOT_T1W | (set(NAMES) - NOT_T1W)),
    ({"t1w": {"acquisition": "nothing"}, "flair": {"run": 7}}, NOT_T1W - {"run-1_FLAIR"}),
    ({"t1w": {"acquisition": "^MP", "regex_search": True}}, NOT_T1W | MPRAGE),
    ({"t1w": {"suffix": "nothing"}, "swi": {"part": "phase"}}, NOT_T1W - {"part-mag_swi"}),
    ({"pdw": {"acquisition": "01"}}, {*NAMES, *OF_02} - {"acq-1_PDw"}),
    ({"pdw": {"acquisition": "1"}}, {*NAMES, *OF_02}),
    ({"unit1": {"reconstruction": "norm"}, "t2w": {"extension": ".nii"}}, {*NAMES, *OF_02} - {"T2w"}),
    ({"t1w": {"extension": [".nii", ".nii.gz"], "datatype": "anat"}}, {*NAMES, *OF_02}),
]


@pytest.mark.parametrize(("filters", "expected"), CASES)
def test_queries(root: Path, filters: dict[str, Any], expected: set[str]) -> None:
    assert accepted(root, filters) == expected


def test_a_sidecar_field_can_be_asked_for(root: Path) -> None:
    assert accepted(root, {"t1w": {"EchoTime": 0.01}}) == NOT_T1W | {"acq-se_T1w"}


def test_a_pybids_database_gives_the_same_answers(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "database"
    database = Database(root, folder)
    files = {f"sub-01/anat/sub-01_{name}.nii.gz" for name in NAMES}
    assert {path for path in database.known(["01"]) if path.endswith(".nii.gz")} == files
    for filters, expected in CASES[3:17]:
        found = database.wanted(["01", "02"], filters)
        names = {Path(path).name.removesuffix(".nii.gz").split("_", 1)[1] for path in found if path.endswith(".gz")}
        assert names == expected, filters
    assert [path.name for path in folder.iterdir()] == ["layout_index.sqlite"]
    filters, expected = CASES[3]
    assert accepted(root, filters, database_dir=folder) == expected


def test_only_what_the_filter_left_out_is_filtered(tmp_path: Path) -> None:
    names = ("T1w", "T2w", "FLAIR", "T1map")
    tree: dict[str, object] = {f"sub-01/anat/sub-01_{name}.nii.gz": Nifti() for name in names}
    tree["sub-01/anat/sub-01_PDw.nii.gz"] = b""
    root = write_tree(tmp_path / "data", tree)
    filters = {"t1w": {"run": 1}, "t2w": {"run": 2}}
    for database_dir in (None, tmp_path / "database"):
        (session,) = walk(open_dataset(root), Selection(filters=filters, database_dir=database_dir))
        assert {one.suffix for one in session.rejected if one.filtered} == {"T1w", "T2w"}
        assert {one.suffix for one in session.rejected} == {"T1w", "T2w", "T1map", "PDw"}
        assert {one.rejection for one in session.rejected if one.filtered} == {LEFT_OUT_BY_FILTER}
        assert not any(one.filtered for one in session.series)


def test_a_series_left_out_does_not_take_the_name_of_another(tmp_path: Path) -> None:
    tree = {f"sub-01/{folder}/sub-01_swi.nii.gz": Nifti() for folder in ("anat", "swi")}
    dataset = open_dataset(write_tree(tmp_path, tree))
    for kept, other in (("anat", "swi"), ("swi", "anat")):
        (session,) = walk(dataset, Selection(filters={"swi": {"datatype": kept}}))
        assert [one.datatype for one in session.series] == [kept]
        assert [(one.datatype, one.filtered) for one in session.rejected] == [(other, False)]


def test_a_bad_database_is_told(root: Path, tmp_path: Path) -> None:
    selection = Selection(filters={"t2w": {"run": 1}}, database_dir=tmp_path / "database")
    other = write_tree(tmp_path / "other", {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()})
    list(walk(open_dataset(other), selection))
    with pytest.raises(InputError, match="was made for"):
        Database(root, tmp_path / "database")
    # a file newer than the database
    write_tree(other, {"sub-01/anat/sub-01_FLAIR.nii.gz": Nifti()})
    (session,) = walk(open_dataset(other), selection)
    assert [(one.name, one.rejection) for one in session.rejected] == [
        ("sub-01_FLAIR", "not in the pybids database; delete the database to make it anew")
    ]
    (tmp_path / "database" / "layout_index.sqlite").write_bytes(b"no database")
    with pytest.raises(InputError, match="no usable pybids database"):
        Database(other, tmp_path / "database")


def test_a_filter_file_is_read(tmp_path: Path) -> None:
    content = {"t1w": {"acquisition": None}, "bold": {"task": "rest"}}
    (tmp_path / "f.json").write_text(json.dumps(content))
    assert read_filter_file(tmp_path / "f.json") == content


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 66, "cannot be read"),
        ("{", 64, "line 1"),
        ("[]", 64, "object of objects"),
        ('{"t1w": 3}', 64, "object of objects"),
        ('{"T1": {}}', 64, "unknown kind"),
        ("\xff", 64, "not valid JSON"),
    ],
)
def test_a_bad_filter_file_is_told(tmp_path: Path, content: str | None, code: int, message: str) -> None:
    path = tmp_path / "f.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message) as error:
        read_filter_file(path)
    assert error.value.code == code
    assert str(path) in error.value.message
