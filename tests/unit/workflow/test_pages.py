"""When pages are made: once, when they are due, by one run at a time, and a failure costs its own page."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_output import Finished
from trees import Nifti, write_tree

from bids_app.cli.main import run
from bids_app.inputs.series import Session
from bids_app.outputs.lock import Locks
from bids_app.outputs.verify import verify_output
from bids_app.reports.participant import participant_page
from bids_app.reports.ratings import Rating, keep_ratings
from bids_app.settings import Settings
from bids_app.workflow.context import Extraction, RunContext
from bids_app.workflow.pages import Page, Pages, atlases_of, is_current, write_page


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """Two participants, one with two sessions, and the dataset that they are of."""
    subjects = {f"sub-{one}/anat/sub-{one}_T1w.nii.gz": Nifti() for one in ("01", "03")}
    write_tree(tmp_path / "data", {**subjects, "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz": Nifti()})
    made = Finished(tmp_path / "out")
    made.row("01", None, "sub-01_T1w", "T1w", {"status": "failed", "reason": "mask: no brain"})
    made.row("02", "1", "sub-02_ses-1_T1w", "T1w", {"status": "done"})
    made.row("02", "2", "sub-02_ses-2_T1w", "T1w", {"status": "done"})
    return made


def _context(output: Path, **words) -> RunContext:
    method = Extraction("template")
    return RunContext(Settings(output.parent / "data", output, **words), {}, method, method)


def _pages(output: Path, **words) -> Pages:
    return Pages(_context(output, **words), Locks(output))


def _session(subject: str, session: str | None) -> Session:
    return Session(subject, session, (), ())


def test_a_page_is_due_until_it_is_written_and_when_something_changed(finished: Finished) -> None:
    page, context = Page("01"), _context(finished.root)

    def current() -> bool:
        return is_current(finished.root, page, {}, [])

    assert not current()
    write_page(page, context, 1)
    assert current()
    content = (finished.root / page.label).read_bytes()
    (finished.root / page.label).write_bytes(content[:-1])
    assert not current()
    write_page(page, context, 1)
    assert (finished.root / page.label).read_bytes() == content
    assert current()
    finished.errors("01", None, "mask/sub-01_T1w: no brain")
    assert not current()
    write_page(page, context, 1)
    assert b"mask/sub-01_T1w: no brain" in (finished.root / page.label).read_bytes()
    (finished.root / page.label).unlink()
    assert not current()
    assert is_current(finished.root, Page("99"), {}, [])  # there is nothing to be told of it


def test_a_page_waits_for_all_sessions_of_its_participant(finished: Finished) -> None:
    pages = _pages(finished.root)
    for session in (_session("02", "1"), _session("02", "2")):
        pages.walked(session)
    pages.finished("sub-02_ses-1")
    assert list(pages.ready()) == []
    pages.finished("sub-02_ses-2")
    assert list(pages.ready()) == []  # the walk can bring another session
    pages.walked(_session("03", None))
    assert list(pages.ready()) == [Page("02")]
    assert list(pages.ready()) == []
    assert list(pages.rest(0)) == []  # of 03 there is nothing in the output
    pages.locks.close()


def test_a_participant_without_sessions_and_one_that_was_not_finished_get_theirs_in_the_end(finished: Finished) -> None:
    pages = _pages(finished.root)
    pages.walked(_session("01", None))
    pages.walked(_session("02", "1"))
    pages.finished("sub-01")
    assert list(pages.ready()) == [Page("01")]
    assert list(pages.rest(0)) == [Page("02")]
    pages.locks.close()


def test_pages_are_made_only_when_they_are_among_the_steps(finished: Finished) -> None:
    pages = _pages(finished.root, steps=("mask",))
    pages.walked(_session("01", None))
    assert list(pages.rest(0)) == []


def test_a_page_that_another_run_writes_is_left_to_it(finished: Finished) -> None:
    pages, other = _pages(finished.root), Locks(finished.root)
    assert other.take("sub-01.html") is None
    pages.walked(_session("01", None))
    assert list(pages.rest(0)) == []
    other.close()
    pages.walked(_session("01", None))
    partial = finished.root / ".partial-abc-sub-01.html"
    partial.write_text("half")
    assert list(pages.rest(0)) == [Page("01")]
    assert not partial.exists()
    pages.locks.close()


def test_the_atlases_are_those_of_the_outputs_as_far_as_they_are_at_hand(finished: Finished) -> None:
    for space in ("MNI152NLin2009aSym_res-2", "NoSuchAtlas_res-1", "reference"):
        finished.task("02", "1", f"resample/sub-02_ses-1_T1w/{space}/preproc", {}, {})
    context = _context(finished.root)
    found = atlases_of(finished.root, Page("02"), context)
    assert {name: space.step for name, space in found.items()} == {"MNI152NLin2009aSym_res-2": 2}
    assert atlases_of(finished.root, Page("01"), context) == {}
    write_page(Page("02"), context, 1)
    assert is_current(finished.root, Page("02"), {}, found)


def _run(finished: Finished, *words: str, level: str = "participant") -> int:
    return run([str(finished.root.parent / "data"), str(finished.root), level, "--nprocs", "1", *words], {})


def test_reports_alone(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    """`--steps report`: pages of what is there, again only where something changed; tables and images stay."""
    before = {path: path.read_bytes() for path in finished.root.rglob("*") if path.is_file()}
    assert _run(finished, "--steps", "report") == 0
    assert "Pages of 2 participants" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in finished.root.rglob("*") if path.is_file()}
    made = {path.relative_to(finished.root).as_posix() for path in after.keys() - before.keys()}
    pages = {"sub-01.html", "sub-02.html"}
    lists = {"logs/sub-01/manifest.json", "logs/sub-02/manifest.json"}
    assert {one for one in made if not one.endswith(".lock")} == pages | lists
    assert all(after[path] == content for path, content in before.items())
    assert not [problem for problem in verify_output(finished.root)[1] if "html" in problem[0]]
    ratings = finished.root.parent / "ratings.tsv"
    ratings.write_text("series\trating\tnote\nsub-01_T1w\tfail\tno brain at all\n")
    stamps = {name: (finished.root / name).stat().st_mtime_ns for name in pages}
    assert _run(finished, "--steps", "report", "--qc-ratings", str(ratings)) == 0
    assert b"no brain at all" in (finished.root / "sub-01.html").read_bytes()
    assert (finished.root / "sub-02.html").stat().st_mtime_ns == stamps["sub-02.html"]
    assert _run(finished, "--steps", "report") == 0  # they are kept
    assert b"no brain at all" in (finished.root / "sub-01.html").read_bytes()


def test_the_group_level_makes_its_page_and_takes_ratings(finished: Finished, tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.tsv"
    ratings.write_text("series\trating\tnote\nsub-01_T1w\tfail\tno brain at all\n")
    assert _run(finished, "--qc-ratings", str(ratings), level="group") == 0
    page = (finished.root / "group.html").read_bytes()
    assert b"no brain at all" in page
    assert b"mask: no brain" in page
    assert _run(finished, level="group") == 0
    assert (finished.root / "group.html").read_bytes() == page
    ratings.write_text("series\trating\tnote\nsub-01_T1w\tgreat\t\n")
    assert _run(finished, "--qc-ratings", str(ratings), level="group") == 64
    assert (finished.root / "group.html").read_bytes() == page


@pytest.mark.parametrize("level", ["participant", "group"])
def test_ratings_of_no_series_and_ratings_that_are_replaced_are_told(
    finished: Finished, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    ratings = finished.root.parent / "ratings.tsv"
    words = (*(("--steps", "report") if level == "participant" else ()), "--qc-ratings", str(ratings))
    ratings.write_text("series\trating\nsub-01_T1w\tfail\nsub-02_ses-1_T1w\tpass\nsub-02_ses-2_T1w\tpass\n")
    assert _run(finished, *words, level=level) == 0
    assert "--qc-ratings" not in caplog.text
    ratings.write_text("series\trating\nsub-01_T1w\tpass\nsub-02_ses-1_T1w\tpass\nsub-9_T1w\tpass\nX\tpass\n")
    assert _run(finished, *words, level=level) == 0
    assert "--qc-ratings: these series were rated otherwise, and get the new ratings: sub-01_T1w\n" in caplog.text
    assert "not in the new table and lose their ratings: sub-02_ses-2_T1w\n" in caplog.text
    assert "--qc-ratings: the output has no such series: X, sub-9_T1w\n" in caplog.text


def test_ratings_of_what_a_run_leaves_out_by_choice_are_not_missed(
    finished: Finished, caplog: pytest.LogCaptureFixture
) -> None:
    ratings = finished.root.parent / "ratings.tsv"
    ratings.write_text("series\trating\nsub-9_T1w\tpass\n")
    words = ("--steps", "report", "--participant-label", "01", "--qc-ratings", str(ratings))
    assert _run(finished, *words) == 0
    assert "--qc-ratings" not in caplog.text


def test_a_page_that_fails_costs_itself_alone(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    (finished.root / "sub-01.html").mkdir()
    assert _run(finished, "--steps", "report") == 1
    assert "Failed: sub-01 report: sub-01.html cannot be written" in capsys.readouterr().out
    assert (finished.root / "sub-02.html").is_file()


def test_ratings_that_cannot_be_read_end_the_run_before_it_begins(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(finished, "--qc-ratings", str(finished.root / "none.tsv")) == 66
    assert "--qc-ratings" in capsys.readouterr().err
    assert not (finished.root / "sub-01.html").exists()


def test_an_output_without_participants_has_no_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "data", {"sub-01/anat/sub-01_T1w.nii.gz": Nifti()})
    assert run([str(tmp_path / "data"), str(tmp_path / "out"), "participant", "--steps", "report"], {}) == 18
    assert "holds none of these participants" in capsys.readouterr().out


def test_what_a_page_shows_is_what_the_ratings_in_the_output_say(finished: Finished) -> None:
    keep_ratings(finished.root, {"sub-01_T1w": Rating("doubtful", "half a head")})
    write_page(Page("01"), _context(finished.root), 1)
    expected = {"sub-01_T1w": Rating("doubtful", "half a head")}
    content = (finished.root / "sub-01.html").read_bytes()
    assert b"half a head" in content
    assert len(participant_page(finished.root, "01", expected, {})) == len(content)
