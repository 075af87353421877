"""Exit codes and messages of the command line for wrong input; each says which, what and what to do."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.cli.main import run
from bids_app.settings import DEFAULT_STEPS


def _dataset(root: Path) -> Path:
    anat = root / "sub-01" / "anat"
    anat.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    array = np.random.default_rng(0).integers(0, 100, (64, 64, 64)).astype(np.int16)
    nib.Nifti1Image(array, np.diag([3, 3, 3, 1.0])).to_filename(anat / "sub-01_T1w.nii.gz")
    return root


def _environment(tmp_path: Path) -> dict[str, str]:
    return {"BIDS_APP_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}


CASES = [
    (("missing", "out", "participant"), 66, "no such folder"),
    (("empty", "out", "participant"), 16, "no sub- folder"),
    (("data", "data/out", "participant"), 73, "never written to"),
    (("data", "data", "participant"), 73, "never written to"),
    (("data", "file", "participant"), 73, "is a file"),
    (("data", "raw", "participant"), 73, "swapped"),
    (("data", "out", "participant", "--participant-label", "99"), 18, "99"),
    (("data", "out", "participant", "--brain-extraction", "hd-bet"), 66, "fetch hd-bet.*--hd-bet-weights"),
    (("data", "out", "participant", "--hd-bet-weights", "nowhere"), 66, "nowhere"),
    (("data", "out", "participant", "--output-spaces", "MNI152NLin2009cSym"), 66, "bids_app fetch"),
    (("data", "out", "participant", "--output-spaces", "no/such.nii.gz"), 66, "no such image"),
    (("data", "out", "participant", "--shard", "5/2"), 64, "I/N"),
    (("data", "out", "participant", "--bids-filter-file", "file"), 64, "file"),
    (("data", "out", "participant", "-w", "data/work"), 73, "outside"),
    (("data", "out", "participant", "--masks", "nowhere"), 66, "no such folder"),
    (("data", "out", "participant", "--date-key", "nowhere"), 66, "--date-key .*nowhere"),
    (("data", "out", "participant", "--date-key", "nowhere", "--dry-run"), 66, "--date-key .*nowhere"),
    (("data", "out", "participant", "--qc-ratings", "nowhere"), 66, "--qc-ratings .*nowhere"),
    (("data", "out", "participant", "--qc-ratings", "file", "--dry-run"), 64, "no column series"),
    (("data", "out", "participant", "--masks", "empty"), 66, "--masks .*empty.*sub-01_label-brain_desc-FLAIR_mask"),
    (("data", "out", "participant", "--masks", "empty", "--dry-run"), 66, "sub-01_desc-brain_mask"),
    (("data", "out", "participant", "--lesions", "empty"), 66, "--lesions .*empty.*sub-01_label-lesion_mask"),
    (("data", "out", "participant", "--lesions", "empty", "--dry-run"), 66, "no file in it is a lesion mask"),
    (("data", "out", "participant", "--device", "foo"), 64, "--device foo"),
    (("data", "out", "participant", "--nipype-plugin-file", "nowhere"), 66, "nowhere"),
    (("data", "out", "participant", "--nipype-plugin-file", "file"), 64, "plugin"),
    (("data", "out", "participant", "--normalize", "minmax", "--variants", "brain"), 64, "brainminmax"),
]


@pytest.mark.parametrize(("words", "code", "message"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_wrong_input_is_told_before_any_work(
    words: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(tmp_path / "data")
    _dataset(tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    assert run(words, _environment(tmp_path)) == code
    error = capsys.readouterr().err
    assert error.startswith("bids_app: ")
    assert "Traceback" not in error
    import re

    assert re.search(message, error, re.DOTALL), error
    assert not (tmp_path / "out").exists()


def test_dry_run_lists_sessions_series_reference_and_rejections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    anat = _dataset(tmp_path / "data") / "sub-01" / "anat"
    (anat / "sub-01_FLAIR.nii.gz").write_bytes((anat / "sub-01_T1w.nii.gz").read_bytes())
    (anat / "sub-01_T2w.nii.gz").write_bytes(b"no image")
    assert run(("data", "out", "participant", "--dry-run", "--json"), _environment(tmp_path)) == 0
    (session,) = json.loads(capsys.readouterr().out)["sessions"]
    assert session["reference"] == "sub-01/anat/sub-01_T1w.nii.gz"
    assert [series["path"] for series in session["series"]] == [
        "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz",
    ]  # fmt: skip
    assert [rejected["path"] for rejected in session["rejected"]] == ["sub-01/anat/sub-01_T2w.nii.gz"]
    assert session["tasks"] == {
        "mask": 2, "deface": 2, "bias": 2, "coregister": 1, "atlas": 1, "resample": 6, "normalize": 6, "measure": 2,
    }  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_dry_run_in_a_config_file_processes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(tmp_path / "data")
    (tmp_path / "c.toml").write_text("dry-run = true\njson = true\n")
    assert run(("data", "out", "participant", "--config-file", "c.toml"), _environment(tmp_path)) == 0
    assert len(json.loads(capsys.readouterr().out)["sessions"]) == 1
    assert not (tmp_path / "out").exists()


def _two_sessions(root: Path, label: str = "01") -> None:
    """A participant with two sessions that are alike."""
    image = (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").read_bytes()
    for session in ("1", "2"):
        anat = root / f"sub-{label}" / f"ses-{session}" / "anat"
        anat.mkdir(parents=True)
        (anat / f"sub-{label}_ses-{session}_T1w.nii.gz").write_bytes(image)


def test_an_odd_folder_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = _dataset(tmp_path / "data")
    for name in ("sub02", "sub-b_d"):
        (data / name / "anat").mkdir(parents=True)
    run([str(data), str(tmp_path / "out"), "participant", "--dry-run"], _environment(tmp_path))
    for name in ("sub02", "sub-b_d"):
        assert caplog.text.count(f"{name} is not looked at") == 1


@pytest.mark.parametrize(
    "steps", [("--steps", "coregister", "atlas"), ("--denoise", "--steps", "mask", "bias")], ids=str
)
def test_a_dry_run_tells_what_lacks_what_it_needs(
    steps: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _two_sessions(_dataset(tmp_path / "data"), "02")
    words = ("data", "out", "participant", "--dry-run", *steps)
    needed = "denoise" if "--denoise" in steps else "mask"
    assert run(words, _environment(tmp_path)) == 1
    told = capsys.readouterr().out
    assert told.count(f"needs {needed}, which no run has made or which is damaged; add {needed} to --steps") == 3
    assert "nothing: finished" not in told
    assert ("1 mask" if needed == "denoise" else "to do: nothing: it would fail") in told
    assert run((*words, "--json"), _environment(tmp_path)) == 1
    sessions = json.loads(capsys.readouterr().out)["sessions"]
    assert [list(session["blocked"]) for session in sessions] == [[needed]] * 3
    assert all(session["tasks"] for session in sessions)  # to be planned, for when what they need is there


def test_a_dry_run_tells_where_there_is_no_such_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(tmp_path / "data")
    words = ("data", "out", "participant", "--dry-run", "--reference", "acq=foo")
    assert run(words, _environment(tmp_path)) == 1
    told = capsys.readouterr().out
    assert "fails      --reference acq=foo matches no accepted series" in told
    assert "finished" not in told
    assert "rejected  " not in told


def test_a_dry_run_without_an_accepted_series_ends_as_the_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image = _dataset(tmp_path / "data") / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    nib.Nifti1Image(np.zeros((64, 64, 2), np.int16), np.diag([3, 3, 3, 1.0])).to_filename(image)  # a choice
    words = ("data", "out", "participant", "--dry-run")
    assert run(words, _environment(tmp_path)) == 18
    assert "to do: nothing: no series is accepted" in capsys.readouterr().out
    image.write_bytes(b"no image")  # something to mend
    assert run(words, _environment(tmp_path)) == 1


def test_a_dry_run_of_an_empty_shard_ends_as_the_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(tmp_path / "data")
    codes = [
        run(("data", "out", "participant", "--dry-run", "--shard", f"{n}/3"), _environment(tmp_path)) for n in (1, 2, 3)
    ]
    assert codes == [0, 0, 0]


def test_a_dry_run_prints_json_where_nothing_is_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _two_sessions(_dataset(tmp_path / "data"), "02")
    words = ("data", "out", "participant", "--dry-run", "--json", "--session-label", "9")
    assert run(words, _environment(tmp_path)) == 18
    assert json.loads(capsys.readouterr().out) == {"sessions": []}


def test_a_dry_run_tells_that_no_run_has_made_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _two_sessions(_dataset(tmp_path / "data"), "02")
    steps = [step for step in DEFAULT_STEPS if step != "report"]
    words = ("data", "out", "participant", "--dry-run", "--reference", "subject", "--participant-label", "02")
    assert run((*words, "--steps", *steps), _environment(tmp_path)) == 1
    assert capsys.readouterr().out.count("within-subject template; add template to --steps") == 2
    assert run((*words, "--steps", *steps, "template"), _environment(tmp_path)) == 0


@pytest.mark.parametrize("name", ["demo", "fetch", "verify"])
def test_a_dataset_named_like_a_helper(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(tmp_path / name)
    assert run((name, "out", "participant", "--dry-run"), _environment(tmp_path)) == 0
    assert "sub-01" in capsys.readouterr().out


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from bids_app.cli.main import run\n"
        "try: run(['--help'], {})\n"
        "except SystemExit: pass\n"
        "heavy = {'ants', 'torch', 'nipype', 'SimpleITK', 'nibabel', 'numpy', 'pandas', 'bids'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "exit codes" in done.stdout


def test_a_gpu_that_is_not_there_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    _dataset(tmp_path / "data")
    for extraction in ("auto", "template"):  # also where no weights are at hand and the method needs none
        words = ("data", "out", "participant", "--device", "cuda", "--brain-extraction", extraction)
        assert run(words, _environment(tmp_path)) == 64
        error = capsys.readouterr().err
        assert "--device cuda: this machine has no GPU" in error
        assert "--device cpu" in error
    assert not (tmp_path / "out").exists()


def test_weights_are_not_fetched_before_their_licence_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal to ask at
    assert run(("fetch", "hd-bet"), _environment(tmp_path)) == 64
    error = capsys.readouterr().err
    for part in ("CC BY-NC 4.0", "zenodo.org/records/14445620", "--accept-license"):
        assert part in error
    assert not (tmp_path / "home").exists()
