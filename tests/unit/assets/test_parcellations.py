"""Parcellations: found with their tables, refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_app.assets import AssetError
from bids_app.assets.parcellations import find_parcellation, load_parcellation
from bids_app.steps.images import new_image
from bids_app.steps.regions import Region


def write(
    path: Path, labels: tuple[float, ...] = (0, 1, 2), table: str | None = "index\tname\n1\tLeft-A\n2\tB\n"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((4, 4, 4), np.float32)
    array.ravel()[: len(labels)] = labels
    new_image(array, np.eye(4)).to_filename(path)
    if table is not None:
        path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(table)
    return path


def find(spec: str | Path, tmp_path: Path, *spaces: str) -> object:
    return find_parcellation(str(spec), list(spaces), tmp_path / "home", tmp_path / "templates")


def test_a_path_with_its_table(tmp_path: Path) -> None:
    found = find(write(tmp_path / "atlas-Mine_dseg.nii.gz"), tmp_path)
    assert (found.name, found.space, found.source) == ("Mine", None, "atlas-Mine_dseg.nii.gz")
    assert found.regions == (Region(1, "Left-A", "left"), Region(2, "B"))
    assert load_parcellation(found).get_data_dtype() == np.int32


def test_a_colour_table_of_freesurfer_and_a_column_of_sides(tmp_path: Path) -> None:
    path = write(tmp_path / "aparc.nii.gz", table=None)
    path.with_name("aparc.txt").write_text("# No. Label R G B A\n0 Unknown 0 0 0 0\n\n 2  ctx-rh-cuneus 1 2 3 0\n")
    assert find(path, tmp_path).regions == (Region(2, "ctx-rh-cuneus", "right"),)
    path = write(tmp_path / "sided.nii.gz", table="index\tname\themisphere\n0\tbackground\tn/a\n1\tA\tL\n2\tA\tR\n")
    assert [region.hemisphere for region in find(path, tmp_path).regions] == ["left", "right"]


def test_a_name_is_looked_up_in_templateflow_at_its_finest(tmp_path: Path) -> None:
    folder = tmp_path / "templates" / "tpl-MNI152NLin2009cAsym"
    for res in ("01", "02"):
        write(folder / f"tpl-MNI152NLin2009cAsym_res-{res}_atlas-S_desc-100_dseg.nii.gz", table=None)
    (folder / "tpl-MNI152NLin2009cAsym_atlas-S_desc-100_dseg.tsv").write_text("index\tname\n1\tX\n2\tY\n")
    found = find("S:desc-100", tmp_path, "MNI152NLin2009aSym", "MNI152NLin2009cAsym")
    assert (found.name, found.space) == ("S100", "MNI152NLin2009cAsym")
    assert "_res-01_" in found.image.name
    with pytest.raises(AssetError, match="has no such atlas"):
        find("S:desc-200", tmp_path, "MNI152NLin2009cAsym")


@pytest.mark.parametrize(
    ("labels", "table", "said"),
    [
        ((0, 1.5), "index\tname\n1\tA\n", "not a label image"),
        ((0, 1), None, "no table of its labels; put x.tsv"),
        ((0, 1), "number\tname\n1\tA\n", "index and name are needed"),
        ((0, 1), "index\tname\none\tA\n", "line 2: a whole number"),
        ((0, 1), "index\tname\n1\tA\n1\tB\n", "stands for more than one region"),
        ((0, 1), "index\tname\n5\tA\n", "none of its labels is in its table"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, labels: tuple[float, ...], table: str | None, said: str) -> None:
    with pytest.raises(AssetError, match=said):
        find(write(tmp_path / "x.nii.gz", labels, table), tmp_path)


def test_no_such_image(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no such image"):
        find(tmp_path / "missing.nii.gz", tmp_path)
