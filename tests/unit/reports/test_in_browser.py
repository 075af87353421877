"""The pages in a headless Chromium: they ask no network, log no error, and do what they promise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_chromium
from finished_output import Finished

from bids_app.group.change import Pairs, row_of
from bids_app.outputs.measures import load_measures
from bids_app.reports.collection_page import Collection, collection_page
from bids_app.reports.contents import SeriesContent
from bids_app.reports.group_page import render_group
from bids_app.reports.participant import participant_page
from bids_app.reports.ratings import Rating, read_ratings

HOSTILE = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: what the pages do in a browser is not tested")
    with Browser(program, tmp_path_factory.mktemp("browser")) as one:
        one.size(1200, 800)
        yield one


@pytest.fixture(scope="module")
def participant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Finished(tmp_path_factory.mktemp("out"))
    made.series("01", None, "T1w", reference=True)
    made.series("01", None, "FLAIR", row={"warnings": HOSTILE}, sidecar={"Manufacturer": HOSTILE})
    page = made.root / "sub-01.html"
    page.write_bytes(participant_page(made.root, "01", {}, {}))
    return page


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = list(load_measures())[:30]
    series = []
    for index in range(400):
        suffix = ("T1w", "FLAIR")[index % 2]
        row = {"series": f"sub-{index:03d}_{suffix}", "suffix": suffix, "contrast_agent": "0", "status": "done"}
        values: dict[str, float | None] = dict.fromkeys(names, 10 + index * 37 % 100 / 50)
        if index == 7:
            row |= {"status": "failed", "reason": HOSTILE}
            values = dict.fromkeys(names)
        if index == 20:
            values["cjv"] = 77.0
        series.append((f"sub-{index:03d}", "", SeriesContent(row, values, {})))
    page = tmp_path_factory.mktemp("group") / "group.html"
    page.write_bytes(render_group(series, {"sub-003_FLAIR": Rating("pass", "clear")}, ["sub-020"]))
    return page


def _quiet(browser: Browser) -> None:
    assert browser.errors == []
    assert browser.requests == []
    assert browser.run("document.title") != "run"


def _names(browser: Browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('tbody tr')].map((one) => one.dataset.series)")


def _set(browser: Browser, where: str, value: str) -> None:
    """Set a field as a person would, with its event."""
    browser.run(
        f"(() => {{ const one = document.querySelector({where!r}); one.value = {value!r};"
        "one.dispatchEvent(new Event('input', {bubbles: true}));"
        "one.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


_SHOWN = "[...document.querySelectorAll('.flicker .stage > .stack')].map((one) => getComputedStyle(one).visibility)"


def test_the_flicker_changes_pictures_by_click_key_and_by_itself(browser: Browser, participant: Path) -> None:
    browser.open(participant)
    assert browser.run(_SHOWN) == ["visible", "hidden", "hidden"]
    browser.run("document.querySelector('.show-1').click()")
    assert browser.run(_SHOWN) == ["hidden", "visible", "hidden"]
    browser.run("document.querySelector('.show-1').focus()")
    browser.press("ArrowRight", 39)
    assert browser.run(_SHOWN) == ["hidden", "hidden", "visible"]
    browser.run("document.querySelector('.stage').click()")
    assert browser.run(_SHOWN) == ["visible", "hidden", "hidden"]
    button = "document.querySelector('.play')"
    browser.run(f"{button}.click()")
    assert browser.run(f"{button}.getAttribute('aria-pressed')") == "true"
    for picture in (1, 0, 1):
        look = f"const look = () => ({_SHOWN}[{picture}] === 'visible' ? done(true) : setTimeout(look, 20)); look();"
        assert browser.run(f"new Promise((done) => {{ {look} }})") is True
    browser.run(f"{button}.click()")
    assert browser.run(f"{button}.getAttribute('aria-pressed')") == "false"
    _quiet(browser)


def test_lines_can_be_hidden_and_numbers_tell_their_meaning(browser: Browser, participant: Path) -> None:
    browser.open(participant)
    lines = "getComputedStyle(document.querySelector('.lines')).visibility"
    assert browser.run(lines) == "visible"
    browser.run("document.querySelector('.hide').click()")
    assert browser.run(lines) == "hidden"
    tip = "getComputedStyle(document.querySelector('.number .tip')).visibility"
    assert browser.run(tip) == "hidden"
    browser.run("document.querySelector('.number').focus()")
    assert browser.run(tip) == "visible"
    _quiet(browser)


@pytest.mark.parametrize("width", [375, 800, 1600])
def test_no_page_is_wider_than_its_window(browser: Browser, participant: Path, group: Path, width: int) -> None:
    browser.size(width, 800)
    for page in (participant, group):
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    browser.size(1200, 800)
    _quiet(browser)


def test_everything_is_on_paper_and_nothing_else(browser: Browser, participant: Path) -> None:
    browser.open(participant)
    browser.media("print")
    assert set(browser.run(_SHOWN)) == {"visible"}
    assert browser.run("getComputedStyle(document.querySelector('.tools')).display") == "none"
    browser.media()
    _quiet(browser)


def test_what_stands_out_comes_first_and_every_column_sorts(browser: Browser, group: Path) -> None:
    browser.open(group)
    assert _names(browser)[0] == "sub-020_T1w"
    assert "SD above" in browser.run("document.querySelector('tbody .why').title")
    browser.run("document.querySelector('[data-sort=cjv]').click()")
    values = browser.run(
        "[...document.querySelectorAll('tbody tr')].map((one) => one.querySelectorAll('td.numeric')[3].textContent)"
    )
    heads = browser.run("[...document.querySelectorAll('thead th.numeric')].map((one) => one.textContent)")
    assert heads[3] == "CJV"
    assert [float(one) for one in values] == sorted(float(one) for one in values)
    assert browser.run("document.activeElement.dataset.sort") == "cjv"
    browser.run("document.querySelector('[data-sort=cjv]').click()")
    assert _names(browser)[0] == "sub-020_T1w"
    assert browser.run("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "descending"
    browser.run("document.querySelector('[data-sort=participant]').click()")
    assert _names(browser)[:3] == ["sub-000_T1w", "sub-001_FLAIR", "sub-002_T1w"]
    link = "document.querySelector('[data-series=\"sub-020_T1w\"] a').getAttribute('href')"
    assert browser.run(link) == "sub-020.html#sub-020_T1w"
    _quiet(browser)


def test_the_filters_leave_what_they_say(browser: Browser, group: Path) -> None:
    browser.open(group)
    _set(browser, "#search", "sub-02 flair")
    assert set(_names(browser)) == {f"sub-{index:03d}_FLAIR" for index in range(21, 30, 2)}
    _set(browser, "#search", "")
    _set(browser, "#contrast", "1")
    assert all(name.endswith("T1w") for name in _names(browser))
    _set(browser, "#contrast", "")
    _set(browser, "#status", "failed")
    assert _names(browser) == ["sub-007_FLAIR"]
    assert HOSTILE in browser.run("document.querySelector('tbody .why').textContent")
    _set(browser, "#status", "")
    browser.run("document.querySelector('#only').click()")
    assert set(_names(browser)) == {"sub-007_FLAIR", "sub-020_T1w"}
    browser.run("document.querySelector('#only').click()")
    _set(browser, "#rating", "pass")
    assert _names(browser) == ["sub-003_FLAIR"]
    assert "1 of 400" in browser.run("document.querySelector('#matches').textContent")
    _quiet(browser)


def test_rows_are_added_as_the_reader_comes_to_them(browser: Browser, group: Path) -> None:
    browser.open(group)
    first = len(_names(browser))
    assert first < 400
    to_the_end = "const one = document.querySelector('#table'); one.scrollTop = one.scrollHeight;"
    rows = "document.querySelectorAll('tbody tr').length"
    look = f"const look = () => {{ {to_the_end} {rows} === 400 ? done(true) : setTimeout(look, 20); }}; look();"
    assert browser.run(f"new Promise((done) => {{ {look} }})") is True
    _quiet(browser)


def test_distributions_are_drawn_and_lead_to_the_series(browser: Browser, group: Path) -> None:
    browser.open(group)
    browser.run("document.querySelector('#multiples').open = true")
    canvas = "document.querySelector('#plots canvas')"
    pixels = f"{canvas}.getContext('2d').getImageData(0, 0, {canvas}.width, {canvas}.height).data"
    inked = f"{pixels}.some((one) => one > 0)"
    look = f"const look = () => ({canvas}?.dataset.done ? done({inked}) : setTimeout(look, 20)); look();"
    assert browser.run(f"new Promise((done) => {{ {look} }})") is True
    assert browser.run("document.querySelectorAll('#plots canvas').length") == 30
    assert "nothing stands out" in browser.run("document.querySelector('#plots canvas').getAttribute('aria-label')")
    _quiet(browser)


def test_ratings_are_downloaded_as_a_table_that_a_run_reads(browser: Browser, group: Path) -> None:
    browser.open(group)
    _set(browser, "[data-series='sub-020_T1w'] select", "fail")
    _set(browser, "[data-series='sub-020_T1w'] input", "  moves\tmuch ")
    assert browser.run("document.querySelector('#count-rated').textContent") == "2"
    browser.run("document.querySelector('#download').click()")
    table = browser.downloads / "qc_ratings.tsv"
    end = time.monotonic() + 20
    while not table.exists() and time.monotonic() < end:
        browser.run("1")
        time.sleep(0.05)
    assert read_ratings(table) == {
        "sub-003_FLAIR": Rating("pass", "clear"),
        "sub-020_T1w": Rating("fail", "moves much"),
    }
    rating = "document.querySelector('[data-series=\"sub-020_T1w\"] select').value"
    for _ in range(20):  # the browser keeps the draft, when it comes to it
        browser.open(group)
        if browser.run(rating):
            break
        time.sleep(0.2)
    assert browser.run(rating) == "fail"
    _quiet(browser)


def test_the_page_of_a_collection_fits_and_shows_its_plots(browser: Browser, tmp_path: Path) -> None:
    head = {"descriptor": "plain", "contrast": HOSTILE}
    numbers = ("welch", "welch_bonferroni", "welch_bh", "mann_whitney_bonferroni", "tested", "constant")
    compared = dict.fromkeys(numbers, 3)
    rows = [
        {**head, **compared, "variant": variant, "a": "A", "b": "B", "n_a": 9, "n_b": 8, "effect": effect, "note": "",
         "cosine": 0.9, "euclidean": 1.0, "wasserstein": 0.1, "proxy_a_distance": None}
        for variant, effect in (("preproc", 2.0), ("zscore", 0.5))
    ]  # fmt: skip
    places = [
        {**head, "variant": "zscore", "group": "AB"[one % 2], "x": one * 0.5, "y": one % 3, "variance_x": 0.5,
         "variance_y": 0.2} for one in range(9)
    ]  # fmt: skip
    counts = [
        {"table": "contrast", "dataset": HOSTILE, "row": f"level {one}", "column": "series", "count": one, "share": 0.1}
        for one in range(1, 20)
    ]
    collection = Collection(
        (HOSTILE,), 3, 3, 3, 3, counts=counts, compared="scanner", shifts=rows, places=places, notes=[HOSTILE],
        distributions=[("intensity_p50", HOSTILE, [float(one) for one in range(900)])],
        pairs=[("bias", "CV", HOSTILE, [1.0, 2.0], [0.5, 1.0])],
        changes=[row_of(Pairs("bias", "CV", "one", "T1w", (1.0, 2.0), (0.5, 1.0)))],
    )  # fmt: skip
    page = tmp_path / "group_collection.html"
    page.write_bytes(collection_page(collection, True))
    browser.open(page)
    assert browser.run("document.querySelectorAll('svg.plot').length") == 4
    assert browser.run("document.querySelectorAll('svg.plot circle').length") == 9 + 450
    assert browser.run("document.querySelector('tr.best td').textContent").startswith("zscore")
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth") is True
    legend = "[...document.querySelectorAll('.legend')][0].textContent"
    assert "other" in browser.run(legend)
    _quiet(browser)
