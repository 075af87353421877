"""What is told of a failure: to the user everything, in the output nothing that could quote the data."""

from __future__ import annotations

import gzip
import json
import traceback
import zlib
from pathlib import Path

import pytest
from nibabel.spatialimages import HeaderDataError

from bids_app.inputs.series import Series, Session
from bids_app.outputs.writer import OutputError
from bids_app.settings import Settings
from bids_app.steps.images import ImageError
from bids_app.workflow.failures import Failure, foreign_kind, in_words, plainly, write_errors, write_lost_session


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("MemoryError: MemoryError", "not enough memory;"),
        ("_ArrayMemoryError: Unable to allocate 2.7 GiB for an array", "not enough memory (it asked for 2.7 GiB);"),
        ("RuntimeError: std::bad_alloc", "not enough memory;"),
        ("RuntimeError: Failed to allocate memory for image.", "not enough memory;"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "not enough memory;"),
        ("its affine is sheared", "its affine is sheared"),
    ],
)
def test_what_to_do_where_memory_ran_out(message: str, told: str) -> None:
    assert plainly(message).startswith(told)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("Jane Doe"), "ValueError"),
        (HeaderDataError("Jane Doe"), "nibabel.spatialimages.HeaderDataError"),
        (zlib.error("Jane Doe"), "zlib.error"),
        (StopIteration("Jane Doe"), "StopIteration"),
        (OSError("Jane Doe"), "OSError"),
        (gzip.BadGzipFile("Jane Doe"), "gzip.BadGzipFile"),
        (PermissionError(13, "Permission denied", "/data"), ""),
        (ImageError("its affine is sheared"), ""),
        (OutputError("a.json cannot be written"), ""),
    ],
)
def test_errors_of_libraries_are_written_by_type(error: Exception, kind: str) -> None:
    assert foreign_kind(error) == kind
    message, found = in_words(error)
    failure = Failure("sub-01", "", "bias", message, found)
    assert ("Jane" in failure.message) == bool(kind)
    assert "Jane" not in failure.public
    assert failure.public == (f"{kind} (the run's own messages say more)" if kind else message)


def test_errors_in_words() -> None:
    said = "a.json cannot be written: No space left on device"
    assert in_words(OutputError(said)) == (said, "")
    assert in_words(OSError(30, "Read-only file system")) == ("Read-only file system", "")
    assert in_words(ValueError("odd")) == ("ValueError: odd", "ValueError")
    message, kind = in_words(MemoryError())
    assert message.startswith("not enough memory")
    assert kind == ""


def test_errors_are_written_without_places_and_values(tmp_path: Path) -> None:
    data, output, work = tmp_path / "Jane Doe", tmp_path / "out", tmp_path / "work"
    series = Series(data / "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", (("sub", "01"),), "T1w",
                    "anat", ".nii.gz", {"PatientName": "Doe Jane"})  # fmt: skip
    session = Session("01", None, (series,), ())
    settings = Settings(data, output)
    folder = tmp_path / "failures"
    folder.mkdir()
    said = f"{series.path} of Doe Jane says 'Jane'"
    try:
        raise ImageError(said)
    except ImageError as error:
        content = {"task": "mask/sub-01_T1w", "message": str(error), "kind": "", "traceback": traceback.format_exc()}
        (folder / "a.json").write_text(json.dumps(content))
    failures = {"mask/sub-01_T1w": Failure("sub-01", "sub-01_T1w", "mask", content["message"])}
    errors = output / "logs" / "sub-01" / "errors.txt"
    broken = [Failure("sub-01", "sub-01_T2w", "read", f"{data}/a.nii ends early")]
    write_errors(errors, failures, broken, session, settings, folder, work)
    text = errors.read_text()
    assert "mask/sub-01_T1w: BIDS_DIR/sub-01/anat/sub-01_T1w.nii.gz of … says '…'" in text
    assert "read/sub-01_T2w: BIDS_DIR/a.nii ends early\n" in text
    assert "in test_errors_are_written_without_places_and_values" in text
    assert "Jane Doe" not in text
    assert "Doe Jane" not in text
    write_errors(errors, {}, [], session, settings, folder, work)
    assert not errors.exists()
    write_lost_session(session, Failure("sub-01", "", "", "its process was killed (signal 9)"), settings, work)
    assert errors.read_text() == "sub-01: its process was killed (signal 9)\n"
