from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from trees import Link, Nifti, write_tree

from bids_app.inputs.dataset import Selection, list_subjects, open_dataset, shard_of, walk
from bids_app.inputs.errors import InputError
from bids_app.inputs.reference import choose_reference

T1W = {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()}


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        ({}, 16, "no sub- folder"),
        ({"sub-01": "a file"}, 16, "no sub- folder"),
        (T1W, 16, "no dataset_description.json"),
        ({**T1W, "dataset_description.json": "{"}, 16, "not valid JSON"),
        ({**T1W, "dataset_description.json": ""}, 16, "empty"),
        ({**T1W, "dataset_description.json": [1]}, 16, "no JSON object"),
        ({**T1W, "dataset_description.json": Link("gone")}, 16, "datalad get"),
    ],
)
def test_not_a_dataset(tmp_path: Path, files: dict[str, Any], code: int, message: str) -> None:
    write_tree(tmp_path, files, described=False)
    with pytest.raises(InputError, match=message) as error:
        open_dataset(tmp_path)
    assert error.value.code == code
    assert str(tmp_path) in error.value.message


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, message in (("gone", "no such folder"), ("file", "not a folder")):
        with pytest.raises(InputError, match=message) as error:
            open_dataset(tmp_path / name)
        assert error.value.code == 66


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="permission denied") as error:
        open_dataset(tmp_path)
    assert error.value.code == 74


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(InputError("a message", 18)))
    assert (error.message, error.code, str(error)) == ("a message", 18, "a message")


def test_the_name_of_a_dataset(tmp_path: Path) -> None:
    assert open_dataset(write_tree(tmp_path / "x", T1W)).name == "a test"
    assert open_dataset(write_tree(tmp_path / "y", {**T1W, "dataset_description.json": {"Name": 3}})).name == "y"


def subjects(root: Path, labels: list[str]) -> Path:
    return write_tree(root, {f"sub-{label}": None for label in labels})


def test_subjects_are_sorted_and_selected(tmp_path: Path) -> None:
    dataset = open_dataset(subjects(tmp_path, ["10", "02", "b", "A", "01"]))
    assert list_subjects(dataset, Selection()) == ["01", "02", "10", "A", "b"]
    assert list_subjects(dataset, Selection(participants=("sub-02", "A", "02"))) == ["02", "A"]
    with pytest.raises(InputError, match=r"no such participant in .*: 2, C; it has 01, 02") as error:
        list_subjects(dataset, Selection(participants=("sub-2", "01", "C")))
    assert error.value.code == 18


def test_shards_partition_the_subjects_by_label(tmp_path: Path) -> None:
    labels = [f"{number:03d}" for number in range(200)]
    dataset = open_dataset(subjects(tmp_path, labels))
    shards = [list_subjects(dataset, Selection(shard=(index, 7))) for index in range(1, 8)]
    assert sorted(label for shard in shards for label in shard) == labels
    assert all(15 <= len(shard) <= 45 for shard in shards)
    # where a subject goes does not depend on who else is there, nor on the machine
    assert list_subjects(dataset, Selection(participants=("007",), shard=(shard_of("007", 7), 7))) == ["007"]
    assert [shard_of(label, 7) for label in ("000", "001", "002", "a")] == [5, 1, 1, 5]


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0), (-1, -1)])
def test_an_impossible_shard(tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="--shard") as error:
        list_subjects(open_dataset(subjects(tmp_path, ["01"])), Selection(shard=shard))
    assert error.value.code == 64


def found(root: Path, **selection: Any) -> dict[str, tuple[list[str], dict[str, str], str | None]]:
    """By session: accepted names, rejected files with reasons, the reference; without the subject's prefix."""
    result = {}
    for session in walk(open_dataset(root), Selection(**selection)):
        accepted = [one.name.removeprefix(session.label + "_") for one in session.series]
        rejected = {
            Path(one.relative).name.removeprefix(session.label + "_"): one.rejection for one in session.rejected
        }
        reference = choose_reference(session.series).series.name if session.series else None
        reference = reference.removeprefix(session.label + "_") if reference else None
        assert all((root / one.relative).samefile(one.path) for one in session.series)
        result[session.label] = (accepted, rejected, reference)
    return result  # type: ignore[return-value]


def files(subject: str, *names: str, session: str | None = None, datatype: str = "anat") -> dict[str, Any]:
    folder = f"sub-{subject}/" + (f"ses-{session}/" if session else "") + datatype
    prefix = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    return {f"{folder}/{prefix}_{name}": Nifti() for name in names}


#: dataset, then by session: accepted, rejected with a word of the reason, reference
TREES: dict[str, tuple[dict[str, Any], dict[str, tuple[list[str], dict[str, str], str | None]]]] = {
    "one image": (T1W, {"sub-01": (["T1w"], {}, "T1w")}),
    "uncompressed": (files("01", "T1w.nii"), {"sub-01": (["T1w"], {}, "T1w")}),
    "sessions for some": (
        files("01", "T1w.nii.gz") | files("02", "T1w.nii.gz", session="a") | files("02", "T2w.nii.gz", session="b"),
        {
            "sub-01": (["T1w"], {}, "T1w"),
            "sub-02_ses-a": (["T1w"], {}, "T1w"),
            "sub-02_ses-b": (["T2w"], {}, "T2w"),
        },
    ),
    "anat beside sessions": (
        files("01", "T1w.nii.gz") | files("01", "FLAIR.nii.gz", session="1"),
        {"sub-01": (["T1w"], {}, "T1w"), "sub-01_ses-1": (["FLAIR"], {}, "FLAIR")},
    ),
    "all contrasts": (
        files("01", *(f"{one}.nii.gz" for one in ("T1w", "ce-gd_T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1")))
        | files("01", "swi.nii.gz", "acq-tof_angio.nii.gz"),
        {
            "sub-01": (
                ["FLAIR", "PDw", "T1w", "T2starw", "T2w", "UNIT1", "acq-tof_angio", "ce-gd_T1w", "swi"],
                {},
                "T1w",
            )
        },
    ),
    "relatives": (
        files("01", "T2w.nii.gz", "mod-T2w_defacemask.nii.gz", "inplaneT2.nii.gz", "PDT2.nii.gz", "T1map.nii.gz")
        | files("01", "inv-1_MP2RAGE.nii.gz", "part-phase_swi.nii.gz", "part-mag_swi.nii.gz"),
        {
            "sub-01": (
                ["T2w", "part-mag_swi"],
                {
                    "mod-T2w_defacemask.nii.gz": "defacing",
                    "inplaneT2.nii.gz": "localizer",
                    "PDT2.nii.gz": "split",
                    "T1map.nii.gz": "map",
                    "inv-1_MP2RAGE.nii.gz": "set of images",
                    "part-phase_swi.nii.gz": "phase",
                },
                "T2w",
            )
        },
    ),
    "swi folder": (
        files("01", "T1w.nii.gz") | files("01", "swi.nii.gz", "minIP.nii.gz", datatype="swi"),
        {"sub-01": (["T1w", "swi"], {"minIP.nii.gz": "projection"}, "T1w")},
    ),
    "other data": (
        files("01", "T1w.nii.gz")
        | files("01", "task-rest_bold.nii.gz", datatype="func")
        | files("01", "magnitude1.nii.gz", datatype="fmap")
        | files("01", "dwi.nii.gz", "ADC.nii.gz", datatype="dwi")
        | {"sub-01/eeg/sub-01_eeg.edf": b"x", "sub-01/anat/sub-01_scans.tsv": "x", "sub-01/anat/.DS_Store": "x"},
        {"sub-01": (["T1w", "ADC", "trace"], {}, "T1w")},
    ),
    "no structural image": (
        T1W | files("02", "task-rest_bold.nii.gz", datatype="func"),
        {"sub-01": (["T1w"], {}, "T1w")},
    ),
    "nested datasets": (
        T1W
        | {
            "derivatives/x/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz": Nifti(),
            "sourcedata/sub-03/anat/sub-03_T1w.nii.gz": Nifti(),
            "code/sub-04/anat/sub-04_T1w.nii.gz": Nifti(),
        },
        {"sub-01": (["T1w"], {}, "T1w")},
    ),
    "misnamed": (
        T1W
        | {
            "sub-01/anat/T1.nii.gz": Nifti(),
            "sub-01/anat/sub-02_T1w.nii.gz": Nifti(),
            "sub-01/anat/sub-01_ses-1_T1w.nii.gz": Nifti(),
            "sub-01/anat/sub-01_T1w copy.nii.gz": Nifti(),
            "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz": Nifti(),
            "sub-01/anat/sub-01_T2w.mgz": b"x",
        },
        {
            "sub-01": (
                ["T1w"],
                {
                    "T1.nii.gz": "not a BIDS name",
                    "sub-02_T1w.nii.gz": "named for sub-02",
                    "ses-1_T1w.nii.gz": "without ses-",
                    "T1w copy.nii.gz": "suffix",
                    "desc-preproc_T1w.nii.gz": "desc-",
                    "T2w.mgz": "convert",
                },
                "T1w",
            )
        },
    ),
    "bad files": (
        files("01", "run-2_T1w.nii.gz")
        | {
            "sub-01/anat/sub-01_run-1_T1w.nii.gz": Link("../../.git/annex/objects/x.nii.gz"),
            "sub-01/anat/sub-01_T2w.nii.gz": b"",
            "sub-01/anat/sub-01_FLAIR.nii.gz": b"<html>",
            "sub-01/anat/sub-01_PDw.nii.gz": Nifti((20, 22, 20, 3)),
            "sub-01/anat/sub-01_T2starw.nii.gz": Nifti((20, 22, 2)),
        },
        {
            "sub-01": (
                ["run-2_T1w"],
                {
                    "run-1_T1w.nii.gz": "datalad get sub-01_run-1_T1w.nii.gz",
                    "T2w.nii.gz": "empty",
                    "FLAIR.nii.gz": "not a gzip file",
                    "PDw.nii.gz": "3 volumes",
                    "T2starw.nii.gz": "2 slice",
                },
                "run-2_T1w",
            )
        },
    ),
    "the same image twice": (
        files("01", "T1w.nii.gz", "T1w.nii"),
        {"sub-01": (["T1w"], {"T1w.nii": "the same image"}, "T1w")},
    ),
    "the same name in two folders": (
        files("01", "swi.nii.gz", "part-mag_swi.nii.gz")
        | files("01", "swi.nii.gz", "part-mag_swi.nii", "run-2_swi.nii.gz", datatype="swi"),
        {
            "sub-01": (
                ["part-mag_swi", "swi", "run-2_swi"],
                {"swi.nii.gz": "sub-01/anat/sub-01_swi.nii.gz", "part-mag_swi.nii": "the same name"},
                "part-mag_swi",
            )
        },
    ),
    "the same name as a broken one": (
        {"sub-01/anat/sub-01_swi.nii.gz": b""} | files("01", "swi.nii.gz", datatype="swi"),
        {"sub-01": (["swi"], {"swi.nii.gz": "empty"}, "swi")},
    ),
    "only a rejected one": (files("01", "T1map.nii.gz"), {"sub-01": ([], {"T1map.nii.gz": "map"}, None)}),
    ".bidsignore": (
        files("01", "T1w.nii.gz", "acq-bad_T1w.nii.gz")
        | files("02", "T1w.nii.gz")
        | files("03", "T1w.nii.gz", session="1")
        | files("03", "T1w.nii.gz", session="2")
        | {".bidsignore": "# comment\n*_acq-bad_*\nsub-02/\nsub-03/ses-2\n"},
        {"sub-01": (["T1w"], {}, "T1w"), "sub-03_ses-1": (["T1w"], {}, "T1w")},
    ),
    ".bidsignore with lines that are no pattern": (
        files("01", "T1w.nii.gz", "acq-bad_T1w.nii.gz") | {".bidsignore": "!\n\\\n*_acq-bad_*\n!\n"},
        {"sub-01": (["T1w"], {}, "T1w")},
    ),
    ".bidsignore keeps the order of its good lines": (
        files("01", "acq-a_T1w.nii.gz", "acq-b_T1w.nii.gz") | {".bidsignore": "*_T1w*\n!\n!*acq-b*\n"},
        {"sub-01": (["acq-b_T1w"], {}, "acq-b_T1w")},
    ),
    "runs and chunks": (
        files("01", "run-1_T1w.nii.gz", "run-2_T1w.nii.gz", "run-10_T1w.nii.gz", "chunk-1_FLAIR.nii.gz"),
        {"sub-01": (["chunk-1_FLAIR", "run-10_T1w", "run-1_T1w", "run-2_T1w"], {}, "run-1_T1w")},
    ),
    "annexed and fetched": (
        {
            ".git/annex/objects/x.nii.gz": Nifti(),
            "sub-01/anat/sub-01_T1w.nii.gz": Link("../../.git/annex/objects/x.nii.gz"),
        },
        {"sub-01": (["T1w"], {}, "T1w")},
    ),
    "a folder that is no label": (
        T1W | {"sub-02 (copy)/anat/sub-02_T1w.nii.gz": Nifti()},
        {"sub-01": (["T1w"], {}, "T1w")},
    ),
    "empty folders": (
        T1W | {"sub-02/anat": None, "sub-03": None, "sub-04/ses-1": None},
        {"sub-01": (["T1w"], {}, "T1w")},
    ),
}


@pytest.mark.parametrize("case", TREES)
def test_walk(tmp_path: Path, case: str) -> None:
    tree, expected = TREES[case]
    sessions = found(write_tree(tmp_path / "data set é ü", tree))
    assert list(sessions) == list(expected)
    for label, (accepted, rejected, reference) in expected.items():
        assert sessions[label][0] == accepted
        assert set(sessions[label][1]) == set(rejected)
        for name, word in rejected.items():
            assert word in sessions[label][1][name], name
        assert sessions[label][2] == reference


def test_sessions_are_selected(tmp_path: Path) -> None:
    tree = files("01", "T1w.nii.gz") | files("01", "T1w.nii.gz", session="1") | files("02", "T1w.nii.gz", session="2")
    root = write_tree(tmp_path, tree)
    assert list(found(root, sessions=("ses-1",))) == ["sub-01_ses-1"]
    assert list(found(root, sessions=("1", "2"))) == ["sub-01_ses-1", "sub-02_ses-2"]
    assert list(found(root, participants=("02",))) == ["sub-02_ses-2"]
    with pytest.raises(InputError, match=r"session\(s\) 9") as error:
        found(root, sessions=("9",))
    assert error.value.code == 18
    assert found(root, sessions=("9",), shard=(1, 2)) == {}


def test_a_session_whose_label_is_none_names_nothing(tmp_path: Path) -> None:
    """What is made of it would be no BIDS, and the label can be a person's name."""
    odd = {
        "sub-01/ses-1_old/anat/sub-01_ses-1_old_T1w.nii.gz": Nifti(),
        "sub-01/ses-Hans Müller/anat/sub-01_T1w.nii.gz": Nifti(),
        "sub-01/ses-Hans Müller/func/sub-01_task-rest_bold.nii.gz": Nifti(),
        "sub-02/ses-2020-01-01/sub-02_T1w.nii.gz": Nifti(),
    }
    root = write_tree(tmp_path, files("01", "T1w.nii.gz", session="1") | odd)
    sessions = list(walk(open_dataset(root)))
    assert [(one.label, len(one.series)) for one in sessions] == [("sub-01", 0), ("sub-01_ses-1", 1), ("sub-02", 0)]
    rejected = {one.relative: one for session in sessions for one in session.rejected}
    assert set(rejected) == {name for name in odd if "/func/" not in name}
    assert all("a session's label is of letters and digits" in str(one.rejection) for one in rejected.values())
    assert not any(one.entities for one in rejected.values())  # "misnamed" in the tables


def test_mr_rate_takes_the_age_from_the_participants_table(tmp_path: Path) -> None:
    tree = {f"sub-{label}/anat/sub-{label}_T1w.nii.gz": Nifti() for label in ("child", "adult", "old", "nobody")}
    tree["participants.tsv"] = "participant_id\tage\nsub-child\t9\nsub-adult\t40.5\nsub-old\t89+\nsub-x\tn/a\n"
    sessions = found(write_tree(tmp_path, tree), acceptance="mr-rate")
    assert {label: bool(accepted) for label, (accepted, _, _) in sessions.items()} == {
        "sub-adult": True,
        "sub-child": False,
        "sub-nobody": True,
        "sub-old": True,
    }


def test_mr_rate_takes_the_age_at_a_session_before_the_participant_s(tmp_path: Path) -> None:
    tree: dict[str, Any] = {}
    for session in ("1", "2", "3"):
        tree |= files("01", "T1w.nii.gz", session=session) | files("02", "T1w.nii.gz", session=session)
    tree["participants.tsv"] = "participant_id\tage\nsub-01\t14\nsub-02\t12\n"
    tree["sub-01/sub-01_sessions.tsv"] = "session_id\tage\nses-1\t12\n2\t14\n"
    sessions = found(write_tree(tmp_path, tree), acceptance="mr-rate")
    accepted = [label for label, (names, _, _) in sessions.items() if names]
    assert accepted == ["sub-01_ses-2", "sub-01_ses-3"]


def test_an_unreadable_folder_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(
        tmp_path,
        files("01", "T1w.nii.gz")
        | files("02", "T1w.nii.gz")
        | files("03", "T1w.nii.gz")
        | files("04", "T1w.nii.gz", session="1")
        | files("04", "T1w.nii.gz", session="2"),
    )
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith(("sub-02/anat", "sub-03", "ses-1")):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(root) == {
        "sub-01": (["T1w"], {}, "T1w"),
        "sub-02": ([], {"anat": "cannot be read: Permission denied; let the user of this process read it"}, None),
        "sub-03": ([], {"sub-03": "cannot be read: Permission denied; let the user of this process read it"}, None),
        "sub-04_ses-1": (
            [],
            {"ses-1": "cannot be read: Permission denied; let the user of this process read it"},
            None,
        ),
        "sub-04_ses-2": (["T1w"], {}, "T1w"),
    }
    rejected = [one for session in walk(open_dataset(root)) for one in session.rejected]
    assert [one.unreadable for one in rejected] == [True, True, True]


def test_a_folder_of_images_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, {**T1W, "sub-02/anat": Link("elsewhere/anat"), "sub-02/dwi": Link("elsewhere/dwi")})
    first, second = walk(open_dataset(tmp_path), Selection())
    assert (len(first.series), len(first.rejected)) == (1, 0)
    assert [(one.relative, one.unreadable) for one in second.rejected] == [("sub-02/anat", True), ("sub-02/dwi", True)]
    assert all("a link to a folder that is not here" in str(one.rejection) for one in second.rejected)


def test_an_empty_shard_is_no_error(tmp_path: Path) -> None:
    dataset = open_dataset(write_tree(tmp_path, files("01", "T1w.nii.gz") | files("02", "T1w.nii.gz")))
    taken = {shard_of(label, 50) for label in ("01", "02")}
    selection = Selection(shard=(min(set(range(1, 51)) - taken), 50))
    assert list_subjects(dataset, selection) == []
    assert list(walk(dataset, selection)) == []


def test_real_heads(shared: Path) -> None:
    sessions = found(shared / "data")
    flair = ["FLAIR", "T1w", "T2w"]
    assert {label: (accepted, reference) for label, (accepted, _, reference) in sessions.items()} == {
        "sub-adi": (["T1w", "T2w"], "T1w"),
        "sub-ixi015": (["T1w"], "T1w"),
        "sub-openms12_ses-1": (flair, "T1w"),
        "sub-openms12_ses-2": (flair, "T1w"),
        "sub-tcga6692": ([*flair, "ce-gadolinium_T1w"], "T1w"),
        "sub-xa30": (["run-1_T1w", "run-2_T1w", "ADC", "S0map", "trace"], "run-1_T1w"),
    }
    assert sorted(sessions["sub-xa30"][1]) == ["FA.nii.gz", "trace.nii.gz"]  # the latter's ADC wants a b-value


def test_two_orders_of_the_same_entities_are_one_name(tmp_path: Path) -> None:
    """Both would be written under the one order that BIDS has."""
    names = ("sub-01_acq-x_run-1_T1w", "sub-01_run-1_acq-x_T1w")
    write_tree(tmp_path, {f"sub-01/anat/{name}.nii.gz": Nifti() for name in names})
    (session,) = walk(open_dataset(tmp_path), Selection())
    assert [one.relative for one in session.series] == ["sub-01/anat/sub-01_acq-x_run-1_T1w.nii.gz"]
    assert "the same name as" in str(session.rejected[0].rejection)


@pytest.mark.parametrize(
    "odd",
    [
        {".bidsignore": "[z-a]\n[+-*]\n*_FLAIR.nii.gz\n"},
        {"sub-02/anat/sub-02_T1w.json": Link("x" * 300)},
        {"participants.tsv": Link("x" * 300)},
        {"sub-03": Link("x" * 300)},
        {"sub-02/ses-1": Link("x" * 300)},
        {"sub-02/anat/sub-02_label-lesion_mask.nii.gz": Link("x" * 300)},
        {".gitmodules": Link("x" * 300)},
        {".bidsignore": Link("x" * 300)},
    ],
)
def test_an_odd_link_or_line_costs_the_others_nothing(tmp_path: Path, odd: dict[str, Any]) -> None:
    write_tree(tmp_path, {**T1W, "sub-02/anat/sub-02_T1w.nii.gz": Nifti(), **odd})
    sessions = list(walk(open_dataset(tmp_path), Selection(acceptance="mr-rate", b_value=1000.0)))
    assert {one.subject for one in sessions} >= {"01", "02"}
