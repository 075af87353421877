"""Every dataset or command that is wrong as a whole: the exit code and the message, without a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_inputs.datasets import CASES, Case
from trees import DESCRIPTION, write_tree

from bids_app.cli.main import run


def _written(case: Case, place: Path) -> None:
    root = place / "data"
    files = {**({"dataset_description.json": DESCRIPTION} if case.described else {}), **case.files}
    write_tree(root, {name: value for name, value in files.items() if not callable(value)}, described=False)
    for name, value in files.items():
        if callable(value):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            value(root / name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what.replace(" ", "_"))
def test_case(case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    _written(case, tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    names = {"root": str(tmp_path / "data"), "out": str(tmp_path / "out"), "place": str(tmp_path)}
    words = [word.format(**names) for word in (case.root, case.out, case.level, *case.words)]
    try:
        code = run([*words, *["--dry-run"] * case.dry], {"BIDS_APP_HOME": str(tmp_path / "home"), **case.environment})
    except SystemExit as error:
        code = int(error.code or 0)
    told = capfd.readouterr()
    said = " ".join((told.out + told.err + caplog.text).split())
    assert (code, said) == (case.code, said)
    assert case.says in said
    assert "Traceback" not in said
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


def test_no_two_cases_are_the_same() -> None:
    assert len({case.what for case in CASES}) == len(CASES)
