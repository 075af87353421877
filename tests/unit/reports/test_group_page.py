"""The page of all participants: its data, what stands out in it, and the ratings that it gives and takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from finished_output import Finished

from bids_app.outputs.verify import verify_output
from bids_app.reports.contents import SeriesContent
from bids_app.reports.group_page import group_data, group_page, render_group
from bids_app.reports.outliers import FEWEST, is_outlier, robust_z, usual
from bids_app.reports.ratings import Rating, RatingsError, keep_ratings, kept_ratings, read_ratings

HOSTILE = "</script><script>alert(1)</script>"


def _series(count: int, **values: list[float | None]) -> list[tuple[str, str, SeriesContent]]:
    result = []
    for index in range(count):
        row = {"series": f"sub-{index:02d}_T1w", "suffix": "T1w", "contrast_agent": "0", "status": "done"}
        result.append(
            (f"sub-{index:02d}", "", SeriesContent(row, {name: one[index] for name, one in values.items()}, {}))
        )
    return result


def test_median_and_spread_are_those_of_the_values_that_there_are() -> None:
    found = usual([1.0, 2.0, None, 3.0, 4.0, float("nan"), 100.0])
    assert (found.count, found.median) == (5, 3.0)
    assert found.sd == pytest.approx(1.4826, rel=1e-4)  # the MAD is 1
    assert robust_z(100.0, found) == 0.0  # too few to tell
    many = usual([*np.arange(1.0, 21.0), 100.0])
    assert robust_z(100.0, many) == pytest.approx((100 - 11) / (5 * 1.4826), rel=1e-4)
    assert usual([None, None]).count == 0


def test_a_value_that_half_do_not_have_is_judged_by_the_mean_deviation() -> None:
    found = usual([0.0] * 99 + [50.0])
    assert found.sd == pytest.approx(0.5 / 0.7979, rel=1e-3)
    assert is_outlier(50.0, found, "lower")
    assert not is_outlier(0.0, found, "lower")
    assert not is_outlier(3.0, usual([3.0] * 50), "none")


@pytest.mark.parametrize(
    ("value", "better", "stands_out"),
    [(20.0, "none", True), (0.0, "none", True), (20.0, "lower", True), (20.0, "higher", False), (0.0, "higher", True),
     (0.0, "lower", False), (11.0, "none", False), (None, "none", False)],
)  # fmt: skip
def test_only_the_side_that_matters_stands_out(value: float | None, better, stands_out: bool) -> None:
    found = usual(list(np.linspace(9, 11, 41)))
    assert is_outlier(value, found, better) is stands_out


def test_the_data_have_rows_numbers_and_what_stands_out() -> None:
    cjv = [0.5 + 0.001 * index for index in range(11)] + [9.0]
    series = _series(12, cjv=cjv, snr_total=[10.0 + 0.01 * index for index in range(12)])
    other = {"series": "sub-99_ses-1_T1w", "suffix": "T1w", "contrast_agent": "1", "status": "failed"}
    series.append(("sub-99", "ses-1", SeriesContent(other, {"cjv": 99.0}, {})))
    data = group_data(series, {}, ["sub-03"])
    names = [one[0] for one in data["measures"]]
    assert set(names) == {"cjv", "snr_total"}
    assert data["contrasts"] == ["T1w", "T1w with contrast agent"]
    flagged = {
        row[2]: [names[index] for index in flags] for row, flags in zip(data["rows"], data["flags"], strict=True)
    }
    assert {name for name, flags in flagged.items() if flags} == {"sub-11_T1w"}  # the other contrast has one series
    assert flagged["sub-11_T1w"] == ["cjv"]
    assert data["usual"][0][names.index("cjv")][:2] == [12, pytest.approx(0.5055)]
    assert [row[7] for row in data["rows"]].count(True) == 1
    assert data["values"][-1][names.index("snr_total")] is None
    assert FEWEST > 1


def test_hostile_data_stay_in_their_element() -> None:
    row = {
        "series": f"sub-01_{HOSTILE}",
        "suffix": HOSTILE,
        "contrast_agent": "0",
        "status": HOSTILE,
        "reason": HOSTILE,
    }
    series = [("sub-01", HOSTILE, SeriesContent({**row, "warnings": HOSTILE}, {"cjv": 1.0}, {}))]
    ratings = {f"sub-01_{HOSTILE}": Rating("fail", HOSTILE)}
    page = render_group(series, ratings, people={"sub-01": f"sex {HOSTILE}"}).decode()
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    start = page.index('id="data">') + len('id="data">')
    assert json.loads(page[start : page.index("</script>", start)])["people"] == {"sub-01": f"sex {HOSTILE}"}


def test_the_page_is_made_from_the_output(tmp_path: Path) -> None:
    made = Finished(tmp_path)
    made.series("01", "1", "T1w", reference=True)
    made.row("02", None, "sub-02_T1w", "T1w", {"status": "failed", "reason": "mask: no brain"})
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\tn/a\tM\n")
    (tmp_path / "sub-01.html").write_text("a page")
    page = group_page(tmp_path, {})
    assert group_page(tmp_path, {}) == page
    start = page.index(b'id="data">') + len(b'id="data">')
    data = json.loads(page[start : page.index(b"</script>", start)])
    assert data["people"] == {"sub-01": "age 34, sex F", "sub-02": "sex M"}
    assert [(row[0], row[1], row[4], row[7]) for row in data["rows"]] == [
        ("sub-01", "ses-1", "done", True),
        ("sub-02", "", "failed", False),
    ]
    assert {one[0] for one in data["measures"]} >= {"snr_total", "mask_volume_ml", "bias_p99"}


def _table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["participant_id\tsession_id\tseries\trating\tnote", *rows]) + "\n", encoding="utf-8")
    return path


def test_ratings_come_back_as_they_were_given(tmp_path: Path) -> None:
    given = _table(
        tmp_path / "given.tsv", "sub-01\tses-1\tsub-01_ses-1_T1w\tfail\tmoves, 40 % of the slices",
        "sub-02\tn/a\tsub-02_T1w\tpass\tn/a", "sub-03\tn/a\tsub-03_T1w\tn/a\tn/a",
    )  # fmt: skip
    ratings = read_ratings(given)
    assert ratings == {"sub-01_ses-1_T1w": Rating("fail", "moves, 40 % of the slices"), "sub-02_T1w": Rating("pass")}
    keep_ratings(tmp_path / "out", ratings)
    assert kept_ratings(tmp_path / "out") == ratings
    assert verify_output(tmp_path / "out") == (2, [])
    assert (tmp_path / "out" / "qc_ratings.tsv").read_text().splitlines()[1:] == given.read_text().splitlines()[1:3]
    assert kept_ratings(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["sub-01\tn/a\tsub-01_T1w\tgood\tn/a"], "line 2: the rating is none of pass, doubtful, fail"),
        (["sub-01\tn/a\tsub-01_T1w\tpass\t", "sub-01\tn/a\tsub-01_T1w\tfail\t"], "line 3: this series is rated twice"),
    ],
)
def test_ratings_that_cannot_be_used_are_told_with_their_line(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(RatingsError, match=message) as raised:
        read_ratings(_table(tmp_path / "ratings.tsv", *rows))
    assert raised.value.code == 64


def test_a_table_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "ratings.tsv").write_text("name\tvalue\na\tb\n")
    with pytest.raises(RatingsError, match="no column series and no column rating"):
        read_ratings(tmp_path / "ratings.tsv")
    (tmp_path / "ratings.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RatingsError, match="not a text file"):
        read_ratings(tmp_path / "ratings.tsv")
    with pytest.raises(RatingsError, match="No such file") as raised:
        read_ratings(tmp_path / "none.tsv")
    assert raised.value.code == 66
