"""Templates and parcellations: found where they lie, fetched whole or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from asset_server import Server, nothing_but

from bids_app import assets
from bids_app.assets import AssetError
from bids_app.assets.parcellations import find_parcellation
from bids_app.steps.images import mask_of, new_image


def ball(shape: tuple[int, int, int] = (60, 64, 58), spacing: float = 3.0) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """A head of 100 around a brain of 150 to 250, and the brain's mask (about 1.5 litres)."""
    centre = (np.array(shape) - 1) / 2
    radius = np.sqrt(((np.moveaxis(np.indices(shape), 0, -1) - centre) ** 2).sum(axis=-1)) * spacing
    brain = radius < 71
    voxels = np.where(brain, 250 - radius, np.where(radius < 86, 100, 0)).astype(np.float32)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -centre * spacing
    return new_image(voxels, affine), new_image(brain.astype(np.uint8), affine)


@pytest.fixture
def template_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared TemplateFlow home: res-01 is there, res-02 only as the empty files of the client, and a cohort."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    root = tmp_path / "templates"
    head, mask = ball()
    name = "MNI152NLin2009cAsym"
    (root / f"tpl-{name}").mkdir(parents=True)
    nib.save(head, root / f"tpl-{name}" / f"tpl-{name}_res-01_T1w.nii.gz")
    nib.save(mask, root / f"tpl-{name}" / f"tpl-{name}_res-01_desc-brain_mask.nii.gz")
    (root / f"tpl-{name}" / f"tpl-{name}_res-02_T1w.nii.gz").touch()
    (root / f"tpl-{name}" / f"tpl-{name}_res-02_desc-brain_mask.nii.gz").touch()
    (root / f"tpl-{name}" / "template_description.json").write_text('{"License": "CC0"}')
    cohort = root / "tpl-MNIInfant" / "cohort-2"
    cohort.mkdir(parents=True)
    for resolution, spacing in ((1, 3.0), (2, 6.0)):
        head, mask = ball((30, 32, 30), spacing) if resolution == 2 else ball()
        nib.save(head, cohort / f"tpl-MNIInfant_cohort-2_res-{resolution}_T2w.nii.gz")
        nib.save(mask, cohort / f"tpl-MNIInfant_cohort-2_res-{resolution}_desc-brain_mask.nii.gz")
    return root


def test_the_embedded_space_is_always_there(tmp_path: Path) -> None:
    space = assets.find_space("MNI152NLin2009aSym", tmp_path, None)
    assert (space.name, space.resolution, space.standard, space.head) == (assets.EMBEDDED, "1", True, None)
    shape, affine = assets.space_grid(space)
    assert shape == (197, 233, 189)
    np.testing.assert_array_equal(affine, nib.affines.from_matvec(np.eye(3), [-98, -134, -72]))
    brain, mask = assets.load_space(space)
    assert brain.get_data_dtype() == np.float32
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(brain.affine, affine)
    assert mask_of(mask).sum() / 1000 == pytest.approx(1886.5, abs=0.1)  # ml: voxels > 0 of nilearn's file
    np.testing.assert_array_equal(np.asanyarray(brain.dataobj) > 0, mask_of(mask))
    assert nothing_but(tmp_path) == []


def test_a_coarser_grid_of_the_embedded_space_covers_it(tmp_path: Path) -> None:
    space = assets.find_space("MNI152NLin2009aSym:res-2", tmp_path, None)
    shape, affine = assets.space_grid(space)
    assert space.resolution == "2"
    assert shape == (99, 117, 95)
    np.testing.assert_array_equal(affine, nib.affines.from_matvec(np.diag([2, 2, 2]), [-98, -134, -72]))
    assert assets.load_space(space)[0].shape == (197, 233, 189)  # what is registered to stays at 1 mm


def test_a_templateflow_space_is_found_by_its_files_alone(template_home: Path, tmp_path: Path) -> None:
    before = sorted(template_home.rglob("*"))
    space = assets.find_space("MNI152NLin2009cAsym", tmp_path / "home", template_home)
    assert (space.name, space.resolution, space.license, space.standard) == ("MNI152NLin2009cAsym", "1", "CC0", True)
    brain, mask = assets.load_space(space)
    np.testing.assert_array_equal(mask_of(mask), mask_of(ball()[1]))
    assert np.asanyarray(brain.dataobj)[~mask_of(mask)].max() == 0  # the head around it is gone
    assert np.asanyarray(brain.dataobj)[mask_of(mask)].min() > 150
    assert assets.find_space("MNI152NLin2009cAsym:res-01", tmp_path / "home", template_home) == space
    assert sorted(template_home.rglob("*")) == before
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "user").exists()


def test_cohort_and_resolution_choose_the_files(template_home: Path, tmp_path: Path) -> None:
    fine = assets.find_space("MNIInfant:cohort-2", tmp_path, template_home)
    coarse = assets.find_space("MNIInfant:res-2:cohort-2", tmp_path, template_home)
    assert (fine.cohort, fine.resolution, coarse.cohort, coarse.resolution) == ("2", "1", "2", "2")
    assert assets.space_grid(fine)[0] == (60, 64, 58)
    assert assets.space_grid(coarse)[0] == (30, 32, 30)
    np.testing.assert_allclose(np.diag(assets.space_grid(coarse)[1]), [6, 6, 6, 1])


def test_fetched_templates_are_found_in_our_home(template_home: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    template_home.rename(tmp_path / "home" / "templateflow")
    assert assets.find_space("MNI152NLin2009cAsym", tmp_path / "home", None).resolution == "1"
    assert assets.fetch_space("MNI152NLin2009cAsym", tmp_path / "home", url="http://127.0.0.1:9").name == (
        "tpl-MNI152NLin2009cAsym"
    )  # nothing is asked of the network


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ("MNI152NLin2009cAsym:res-2", 66, "bids_app fetch MNI152NLin2009cAsym:res-2"),  # there as an empty file only
        ("MNIInfant", 66, "bids_app fetch MNIInfant"),
        ("Nowhere", 66, "bids_app fetch Nowhere"),
        ("MNIInfant:age-2", 64, "age-2"),
        ("MNIInfant:res-", 64, "res-"),
        ("MNI152NLin2009aSym:res-native", 64, "1 to 8 whole millimetres"),
        ("no/such/image.nii.gz", 66, "there is no such image"),
        ("", 66, "there is no such image"),
    ],
)
def test_a_missing_space_is_said_with_what_brings_it(
    template_home: Path, tmp_path: Path, spec: str, code: int, said: str
) -> None:
    with pytest.raises(AssetError, match=said) as caught:
        assets.find_space(spec, tmp_path / "home", template_home)
    assert caught.value.code == code
    assert caught.value.message == str(caught.value)


@pytest.mark.parametrize("mask_name", ["my-atlas_T1w_mask.nii.gz", "my-atlas_desc-brain_mask.nii"])
def test_a_head_at_a_path_takes_the_mask_beside_it(tmp_path: Path, mask_name: str) -> None:
    head, mask = ball()
    nib.save(head, tmp_path / "my-atlas_T1w.nii.gz")
    with pytest.raises(AssetError, match=r"my-atlas_T1w_mask\.nii\.gz") as caught:
        assets.find_space(str(tmp_path / "my-atlas_T1w.nii.gz"), tmp_path, None)
    assert caught.value.code == 66
    nib.save(mask, tmp_path / mask_name)

    space = assets.find_space(str(tmp_path / "my-atlas_T1w.nii.gz"), tmp_path, None)

    assert (space.name, space.resolution, space.standard) == ("myatlasT1w", None, False)
    assert space.head == tmp_path / "my-atlas_T1w.nii.gz"
    np.testing.assert_array_equal(mask_of(assets.load_space(space)[1]), mask_of(mask))


def test_a_brain_at_a_path_needs_no_mask(tmp_path: Path) -> None:
    head, mask = ball()
    nib.save(new_image(np.asanyarray(head.dataobj) * mask_of(mask), head.affine), tmp_path / "brain.nii")
    space = assets.find_space(str(tmp_path / "brain.nii"), tmp_path, None)
    np.testing.assert_array_equal(mask_of(assets.load_space(space)[1]), mask_of(mask))
    assert space.head is None


def test_an_image_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    head, mask = ball()
    nib.save(head, tmp_path / "head.nii.gz")
    nib.save(new_image(mask_of(mask)[1:].astype(np.uint8), head.affine), tmp_path / "head_mask.nii.gz")
    with pytest.raises(AssetError, match=r"head_mask.nii.gz: not on the grid of head.nii.gz"):
        assets.find_space(str(tmp_path / "head.nii.gz"), tmp_path, None)
    whole = (tmp_path / "head.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AssetError, match=r"cut.nii.gz: cannot be read"):
        assets.find_space(str(tmp_path / "cut.nii.gz"), tmp_path, None)


def _nifti(image: nib.Nifti1Image) -> bytes:
    return gzip.compress(image.to_bytes(), mtime=0)


@pytest.mark.slow
def test_a_space_is_fetched_through_templateflows_client(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    head, mask = ball()
    name, home = "MNI152NLin2009cAsym", tmp_path / "home"
    server.files = {
        f"/tpl-{name}/tpl-{name}_res-02_T1w.nii.gz": _nifti(head),
        f"/tpl-{name}/tpl-{name}_res-02_desc-brain_mask.nii.gz": _nifti(mask),
    }

    folder = assets.fetch_space(f"{name}:res-2", home, url=server.url)

    assert folder == home / "templateflow" / f"tpl-{name}"
    assert sorted(server.asked) == sorted(server.files)  # the needed files and no other
    assert nothing_but(home) == ["templateflow"]
    assert nothing_but(folder) == [
        "LICENSE",
        "template_description.json",
        f"tpl-{name}_res-02_T1w.nii.gz",
        f"tpl-{name}_res-02_desc-brain_mask.nii.gz",
    ]
    space = assets.find_space(f"{name}:res-2", home, None)
    assert "Louis Collins" in space.license
    np.testing.assert_array_equal(mask_of(assets.load_space(space)[1]), mask_of(mask))
    assert not (tmp_path / "user").exists()


@pytest.mark.slow
def test_a_parcellation_is_fetched_with_its_table(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    name, home = "MNI152NLin2009cAsym", tmp_path / "home"
    stem, labels = f"tpl-{name}", np.zeros((4, 4, 4), np.int16)
    labels[1:3] = 7
    atlas = "atlas-Schaefer2018_desc-100Parcels7Networks_dseg"
    # the client brings the tables of all atlases itself
    server.files = {f"/{stem}/{stem}_res-01_{atlas}.nii.gz": _nifti(new_image(labels, np.eye(4)))}
    spec = f"{name}:atlas-Schaefer2018:desc-100Parcels7Networks"
    with pytest.raises(AssetError, match="bids_app fetch SPACE:atlas-Schaefer2018:desc-100"):
        find_parcellation("Schaefer2018:desc-100Parcels7Networks", [name], home, None)

    image = assets.fetch_parcellation(spec, home, url=server.url)

    assert sorted(server.asked) == sorted(server.files)
    found = find_parcellation("Schaefer2018:desc-100Parcels7Networks", [name], home, None)
    assert found.image == image
    assert next(one.hemisphere for one in found.regions if one.index == 7) == "left"
    assert len(found.regions) == 100
    assert assets.fetch_parcellation(spec, home, url="http://127.0.0.1:9") == image


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ("MNI152NLin2009cAsym:atlas-NoSuchAtlas", 66, "TemplateFlow has no parcellation of that name"),
        ("MNI152NLin2009cAsym:atlas-Schaefer2018:res-1", 64, "write SPACE:atlas-NAME"),
        ("MNI152NLin2009cAsym:atlas-Schaefer2018:desc-100Parcels7Networks", 75, "is there a network"),
        ("MNI152NLin2009cAsym", 75, "is there a network"),
        ("NoSuchTemplate", 66, "TemplateFlow has no brain of that name"),
        ("MNIInfant", 66, "TemplateFlow has no brain of that name"),  # it needs a cohort
    ],
)
def test_a_space_that_cannot_be_fetched_leaves_nothing(tmp_path: Path, spec: str, code: int, said: str) -> None:
    fetch = assets.fetch_parcellation if assets.is_parcellation(spec) else assets.fetch_space
    with pytest.raises(AssetError, match=said) as caught:
        fetch(spec, tmp_path / "home", url="http://127.0.0.1:9")
    assert caught.value.code == code
    assert nothing_but(tmp_path / "home") == []
