"""A participant's page: what stands in it, what never does, and what becomes of missing and damaged files."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from finished_output import ATLAS, Finished, brain_mask, head
from PIL import Image

from bids_app.outputs.manifest import TaskRecord, manifest_path, read_manifest, record_task
from bids_app.reports import participant
from bids_app.reports.atlases import AtlasEdges
from bids_app.reports.contents import read_participant, session_folders, standing, subjects_of
from bids_app.reports.figures import SessionImages, series_figures
from bids_app.reports.participant import page_key, participant_page
from bids_app.reports.ratings import Rating
from bids_app.reports.rendering import embedded, key_of, number_text

HOSTILE = "<script>alert(1)</script>"


class _Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in not in ("script", "style"):
            self.text += " " + data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    made = Finished(tmp_path / "out")
    made.series("01", None, "FLAIR")
    made.series("01", None, "T1w", reference=True)
    return made


def _page(output: Path, subject: str = "01", ratings=None, atlases=None) -> _Page:
    return _Page(participant_page(output, subject, ratings or {}, atlases or {}))


def test_a_page_has_every_picture_of_every_series(finished: Finished) -> None:
    edges = AtlasEdges(*[brain_mask(head()[1])] * 2)
    page = _page(finished.root, atlases={ATLAS: edges})
    alts = [image["alt"] for image in page.of("img") if image["alt"]]
    # FLAIR: mask, face, before, after, field, reference, series, checkerboard, atlas; T1w: without the alignment
    assert len(alts) == 9 + 6
    assert sum("border of the brain mask" in alt for alt in alts) == 2
    assert sum("with the atlas' edges" in alt for alt in alts) == 2
    assert all(image["src"].startswith("data:image/") for image in page.of("img"))
    charts = [one["aria-label"] for one in page.of("svg") if one.get("role") == "img"]
    assert len(charts) == 4
    assert "median 1," in charts[0]  # intensities over their median


def test_every_number_has_its_meaning(finished: Finished) -> None:
    page = _page(finished.root)
    assert "SNR, all tissues" in page.text
    assert "12.5" in page.text
    assert "Mean of the signal-to-noise ratios" in page.text
    assert "Higher is better." in page.text
    numbers = [one for one in page.of("div") if one.get("class") == "number"]
    assert numbers
    assert all(one["tabindex"] == "0" for one in numbers)
    assert "900 mL" in page.text.replace(" ", " ")


def test_what_needs_a_look_comes_first(finished: Finished) -> None:
    finished.row("01", None, "sub-01_SWI", "SWI", {"status": "failed", "reason": "mask: found no brain in it"})
    finished.series("01", None, "T2w", row={"warnings": "the brain is cut at the top; the noise is high"})
    finished.row("01", None, "sub-01_bold", "bold", {"status": "rejected", "reason": "not structural"})
    finished.errors("01", None, "mask/sub-01_SWI: found no brain in it")
    text = _page(finished.root).text
    places = [
        text.index(one)
        for one in (
            "found no brain in it",
            "--masks DIR",
            "the noise is high",
            "should follow the brain",
        )
    ]
    assert places == sorted(places)
    assert re.search(r"3\s+done", text)
    assert re.search(r"1\s+failed", text)
    assert re.search(r"1\s+to be looked at", text)
    assert re.search(r"1\s+rejected", text)
    assert "Errors of sub-01" in text


def test_data_stay_text(finished: Finished) -> None:
    name = finished.series(
        "01", None, "T2w",
        sidecar={"Manufacturer": HOSTILE, "ManufacturersModelName": '"><img src=x onerror=alert(1)>'},
        row={"warnings": HOSTILE, "spacing_mm": HOSTILE, "plane": HOSTILE},
    )  # fmt: skip
    finished.row("01", None, f"sub-01_{HOSTILE}", HOSTILE, {"status": "failed", "reason": f"mask: {HOSTILE}"})
    finished.row("01", None, "sub-01_x", "x", {"status": "rejected", "reason": '" onmouseover="alert(1)'})
    finished.errors("01", None, f"</pre>{HOSTILE}")
    (finished.root / "docs" / "methods.md").write_text(f"# {HOSTILE}\n\n{HOSTILE}\n\n1. {HOSTILE}\n")
    content = participant_page(finished.root, "01", {name: Rating("fail", HOSTILE)}, {})
    page = _Page(content)
    assert HOSTILE.encode() not in content
    assert len(page.of("script")) == 1
    assert page.text.count(HOSTILE) >= 8
    assert not [one for _, one in page.elements if any(key.startswith("on") for key in one)]
    assert all(image["src"].startswith("data:image/") for image in page.of("img"))


def test_a_page_asks_no_network_and_runs_its_own_script_alone(finished: Finished) -> None:
    content = participant_page(finished.root, "01", {}, {})
    page = _Page(content)
    (policy,) = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+';", policy)
    assert not page.of("link")
    assert not re.search(rb'(src|href)="(?!#|data:)', content)
    assert b"/tmp" not in content
    assert str(finished.root).encode() not in content


def test_a_page_is_the_same_for_the_same_output_whatever_the_threads(finished: Finished) -> None:
    once = participant_page(finished.root, "01", {}, {}, threads=1)
    assert participant_page(finished.root, "01", {}, {}, threads=3) == once
    assert key_of(once[:2048]) == page_key(finished.root, "01", {}, {})


def test_the_key_follows_everything_that_a_page_shows(finished: Finished) -> None:
    def key(**words) -> str:
        return page_key(finished.root, "01", words.get("ratings", {}), words.get("atlases", ()))

    seen = [key(), key(ratings={"sub-01_T1w": Rating("pass")}), key(atlases=[ATLAS])]
    assert key(ratings={"sub-02_T1w": Rating("pass")}) == seen[0]
    finished.series("02", None, "T1w")
    assert key() == seen[0]
    for change in (
        lambda: finished.errors("01", None, "it failed"),
        lambda: finished.row("01", None, "sub-01_bold", "bold", {"status": "rejected"}),
        lambda: finished.task("01", None, "measure/sub-01_T1w", {}, {}, {"snr_total": 13.0}),
        lambda: (finished.root / "docs" / "methods.md").write_text("# Other"),
    ):
        change()
        seen.append(key())
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("face", [None, "allowed", "failed"])
def test_without_a_passed_face_check_nothing_but_the_brain_is_shown(tmp_path: Path, face: str | None) -> None:
    made = Finished(tmp_path)
    image, brain = head()
    made.series("01", None, "T1w", reference=True, face=face, image=image, brain=brain)
    (session,) = read_participant(tmp_path, "01").sessions
    images = SessionImages.of(tmp_path, session, {})
    figures = {one.key: one for one in series_figures(session.series[0], images)}
    assert figures.keys() >= {"mask", "bias", "atlas"}
    layouts = {"mask": "mosaic", "bias": "strip", "atlas": "mosaic"}
    from bids_app.reports import drawing
    from bids_app.steps.images import spacing_mm

    for key, kind in layouts.items():
        inside = getattr(drawing, kind)(brain_mask(brain), spacing_mm(image), images.pixel_mm).mask(brain_mask(brain))
        for one in figures[key].pictures:
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(one.uri.partition(",")[2]))).convert("L"))
            grown = np.asarray(Image.fromarray(inside).convert("L").resize(inside.shape[::-1])) > 0
            for _ in range(9):  # lossy pictures are sharp to some pixels
                grown |= np.roll(grown, 1, 0) | np.roll(grown, -1, 0) | np.roll(grown, 1, 1) | np.roll(grown, -1, 1)
            assert shown[~grown].max(initial=0) < 12
            assert shown[inside].mean() > 40
    if face is not None:
        assert figures["face"].pictures == ()
        assert "not shown" in figures["face"].problem


def test_what_stands_on_a_replaced_file_is_not_shown(finished: Finished) -> None:
    """A run with another mask was killed before it came to the bias field: the old images are those of no mask now."""
    where = manifest_path(finished.root, "01", None)
    task = read_manifest(where).tasks["mask/sub-01_FLAIR"]
    record_task(finished.root, where, "mask/sub-01_FLAIR", TaskRecord("new", task.parents, task.files, task.facts))
    left = {name for name in standing(read_manifest(where)).tasks if "FLAIR" in name}
    assert left == {"mask/sub-01_FLAIR"}
    flair = read_participant(finished.root, "01").sessions[0].series[0]
    assert not flair.face_is_gone
    assert (
        series_figures(flair, SessionImages.of(finished.root, read_participant(finished.root, "01").sessions[0], {}))
        == ()
    )


def test_an_image_that_was_made_without_the_defaced_one_is_not_shown_as_defaced(finished: Finished) -> None:
    where = manifest_path(finished.root, "01", None)
    task = read_manifest(where).tasks["bias/sub-01_FLAIR"]
    parents = {name: key for name, key in task.parents.items() if not name.startswith("deface/")}
    record_task(finished.root, where, "bias/sub-01_FLAIR", TaskRecord(task.key, parents, task.files, task.facts))
    flair, t1w = read_participant(finished.root, "01").sessions[0].series
    assert flair.face_check_passed
    assert not flair.face_is_gone
    assert t1w.face_is_gone


def test_missing_and_damaged_files_cost_their_own_pictures(finished: Finished) -> None:
    anat = finished.root / "sub-01" / "anat"
    (anat / "sub-01_desc-biasfield_FLAIR.nii.gz").unlink()
    path = anat / "sub-01_space-MNI_res-8_desc-preproc_FLAIR.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    (anat / "sub-01_desc-brainzscore_T1w.nii.gz").write_bytes(b"no image")
    page = _page(finished.root)
    assert page.text.count("damaged or missing") == 3
    assert len([image for image in page.of("img") if image["alt"]]) == 15 - 4  # before, after, field; atlas


def test_a_participant_of_whom_everything_failed_has_a_page(tmp_path: Path) -> None:
    made = Finished(tmp_path)
    made.row("07", "1", "sub-07_ses-1_T1w", "T1w", {"status": "failed", "reason": "mask: not enough memory"})
    made.errors("08", "2", "sub-08_ses-2: its process was killed")
    text = _page(tmp_path, "07").text
    assert "not enough memory" in text
    assert "Nothing was made of this series yet." in text
    assert "its process was killed" in _page(tmp_path, "08").text
    assert subjects_of(tmp_path) == ["07", "08"]
    assert [one.as_posix() for one in session_folders(tmp_path, "08")] == ["sub-08/ses-2"]


def test_a_session_of_many_series_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Finished(tmp_path)
    rng = np.random.default_rng(0)
    image, brain = head((40, 40, 40), (4.5, 4.5, 4.5))
    noisy = type(image)((np.asarray(image.dataobj) + rng.normal(0, 99, (40, 40, 40))).astype(np.float32), image.affine)
    for index in range(2):
        made.series("01", None, f"T{index + 1}w", reference=index == 0, image=noisy, brain=brain)
    whole = participant_page(tmp_path, "01", {}, {})
    limit = len(whole) // 2
    monkeypatch.setattr(participant, "_MOST_BYTES", limit)
    small = participant_page(tmp_path, "01", {}, {})
    assert len(small) < limit * 1.5
    assert len(_Page(small).of("img")) == len(_Page(whole).of("img"))


def test_ratings_are_in_the_page(finished: Finished) -> None:
    page = _page(finished.root, ratings={"sub-01_T1w": Rating("doubtful", "ringing"), "sub-01_FLAIR": Rating("pass")})
    assert page.text.count("ringing") == 3  # what to look at, table, series
    assert re.search(r"1\s+to be looked at", page.text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"), (0.0, "0"), (12.34567, "12.35"), (1234.5, "1,234"), (98765.4, "98,770"), (-0.217, "−0.217"),
        (1e-6, "1e−06"), (0.00042, "0.00042"),
    ],
)  # fmt: skip
def test_numbers_are_told_with_four_digits(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_nothing_in_embedded_data_ends_the_script_element() -> None:
    text = str(embedded({"a": "</script><!--<script>&\u2028"}))
    assert not set("<>&\u2028") & set(text)
