"""What preprocessing changed, read from an output whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_output import Finished

from bids_app.group.change import change_rows, collect
from bids_app.group.datasets import Source
from bids_app.group.volumes import corrected_volumes


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Finished(tmp_path_factory.mktemp("out"))
    for number in range(7):
        measures = {
            "bias_cv_before": 0.20 + 0.01 * number, "bias_cv_after": 0.15 + 0.01 * number, "brain_p50": 400.0 + number,
            "normalized_p50": 0.1, "atlas_volume_change_percent": 10.0, "intracranial_ml": 1400.0 + 20 * number,
        }  # fmt: skip
        row = {"orientation": "LPS" if number < 5 else "PSR", "spacing_mm": "1x1x4"}
        made.series(f"{number:02d}", None, "T1w", reference=True, measures=measures, row=row)
    made.series("06", None, "FLAIR", measures={"bias_cv_before": 0.3, "bias_cv_after": 0.3}, row={"orientation": "RAS"})
    return made.root


def test_pairs_are_those_of_the_manifests(output: Path) -> None:
    change = collect([Source("one", None, output)])
    rows = {(row["step"], row["measure"], row["contrast"]): row for row in change_rows(change)}
    cv = rows["bias", "CV in brain", "T1w"]
    assert (cv["n"], cv["before_mean"], cv["after_median"]) == (7, pytest.approx(0.23), pytest.approx(0.18))
    assert (cv["mean_difference"], cv["decreased"]) == (pytest.approx(-0.05), 7)
    assert cv["wilcoxon_p"] == pytest.approx(2 / 2**7)  # all seven fell
    assert rows["bias", "CV in brain", "FLAIR"]["note"] == "nothing changed"
    assert rows["bias", "CV in brain", "all"]["n"] == 8
    volume = rows["atlas", "brain volume (mL)", "T1w"]
    assert (volume["before_mean"], volume["after_mean"]) == (900.0, pytest.approx(990.0))
    assert rows["normalize", "median intensity in brain", "T1w"]["after_sd"] == pytest.approx(0)
    edge = rows["resample", "longest voxel edge (mm)", "T1w"]
    assert (edge["before_mean"], edge["after_mean"]) == (4.0, 8.0)
    turned = {(one.row, one.column): one.count for one in change.orientations}
    assert turned == {("LPS", "RAS"): 5, ("PSR", "RAS"): 2, ("RAS", "RAS"): 1}


def test_volumes_are_corrected_where_the_head_is_known(output: Path) -> None:
    rows = corrected_volumes([Source("one", None, output)])
    assert [row["series"] for row in rows] == [f"sub-{number:02d}_T1w" for number in range(7)]
    assert rows[1]["proportion"] == pytest.approx(900 / 1420)
    assert {row["residual_corrected_ml"] for row in rows} == {900.0}  # the volumes are equal: the head explains nothing


def test_volumes_of_the_tables_are_corrected_for_the_head_by_a_line(output: Path) -> None:
    """Grey matter grows by 0.3 ml a ml of head: the residuals are what is left, at the mean head."""
    header = "series\tmethod\tstructure\themisphere\tvolume_ml\tintracranial_share\n"
    for number in range(7):
        grey = 0.3 * (1400 + 20 * number) + (5 if number == 3 else 0)
        name = f"sub-{number:02d}"
        rows = f"{name}_T1w\tmask\tintracranial\tboth\t1400\t1\n{name}_T1w\ttissue\tGM\tboth\t{grey}\t0.3\n"
        rows += f"{name}_T1w\tsynth\tcortex\tleft\t250\t0.2\n"
        (output / name / f"{name}_volumes.tsv").write_text(header + rows)
    rows = corrected_volumes([Source("one", None, output)])
    assert {row["measure"] for row in rows} == {"mask_volume_ml", "tissue GM", "synth cortex left"}
    grey = [row for row in rows if row["measure"] == "tissue GM"]
    assert (grey[0]["method"], grey[0]["structure"], grey[0]["hemisphere"]) == ("tissue", "GM", "both")
    assert grey[0]["proportion"] == pytest.approx(0.3)
    corrected = [row["residual_corrected_ml"] for row in grey]
    assert corrected[3] == pytest.approx(0.3 * 1460 + 5)  # the mean head is its own
    assert corrected[0] == corrected[6] == pytest.approx(0.3 * 1460)
