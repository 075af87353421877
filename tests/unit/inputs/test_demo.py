"""The demo dataset: what it says of itself holds in its images."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.inputs.demo import dataset, write_demo
from bids_app.inputs.demo.scan import Body, random_rigid, rigid

SERIES = {
    "sub-01/anat/sub-01": ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR"),
    "sub-02/ses-1/anat/sub-02_ses-1": ("T1w", "FLAIR"),
    "sub-02/ses-2/anat/sub-02_ses-2": ("T1w", "FLAIR"),
}
ALL = [(session, name) for session, names in SERIES.items() for name in names]
ORIENTATIONS = ["LAS", "PSR", "LPS", "LAS", "PSR", "LAS", "RAS", "ASR"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "small"
    write_demo(folder, seed=7, spacing_mm=3)
    return folder


def image(demo: Path, session: str, name: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_filename(demo / f"{session}_{name}.nii.gz")


def truth(demo: Path, session: str, name: str, kind: str) -> nib.Nifti1Image:
    """The truth of a series; `kind` is biasfield or the label of a mask."""
    *entities, suffix = name.split("_")
    tail = [f"desc-biasfield_{suffix}"] if kind == "biasfield" else [f"label-{kind}", f"desc-{suffix}_mask"]
    path = demo / "derivatives" / "truth" / ("_".join([session, *entities, *tail]) + ".nii.gz")
    return nib.Nifti1Image.from_filename(path)


def transforms(demo: Path, session: str) -> dict:
    return json.loads((demo / f"derivatives/truth/{session}_from-T1w_mode-points_xfm.json").read_text())


def move(moving: nib.Nifti1Image, fixed: nib.Nifti1Image, fixed_to_moving: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation of `moving` on the grid of `fixed`."""
    matrix = np.linalg.inv(moving.affine) @ fixed_to_moving @ fixed.affine
    return ndimage.affine_transform(
        np.asarray(moving.dataobj, np.float32), matrix[:3, :3], matrix[:3, 3], fixed.shape, order=1
    )


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return 2 * float((one & two).sum()) / float(one.sum() + two.sum())


@pytest.mark.parametrize(("session", "name"), ALL)
def test_transform_maps_the_t1w_onto_the_series(demo: Path, session: str, name: str) -> None:
    series_to_t1w = np.linalg.inv(transforms(demo, session)["FromT1wTo"][name])
    series, t1w = (truth(demo, session, which, "brain") for which in (name, "T1w"))
    inside = np.asarray(series.dataobj) > 0
    moved = dice(move(t1w, series, series_to_t1w) >= 0.5, inside)
    assert moved > 0.96  # two samplings at 3 mm to 6 mm
    if name != "T1w":
        assert moved > dice(move(t1w, series, np.eye(4)) >= 0.5, inside) + 0.02


def test_transforms_are_rigid_and_of_a_patient_who_moved(demo: Path) -> None:
    for session, names in SERIES.items():
        matrices = transforms(demo, session)["FromT1wTo"]
        assert tuple(matrices) == names
        assert matrices.pop("T1w") == np.eye(4).tolist()
        for matrix in map(np.array, matrices.values()):
            np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
            angle = np.rad2deg(np.arccos((np.trace(matrix[:3, :3]) - 1) / 2))
            assert 3 <= angle <= 8
            assert 3 <= np.linalg.norm(matrix[:3, 3]) <= 8


@pytest.mark.parametrize(("session", "name"), ALL)
def test_bias_field_is_smooth_and_as_strong_as_said(demo: Path, session: str, name: str) -> None:
    field = np.asarray(truth(demo, session, name, "biasfield").dataobj)
    assert field.dtype == np.float32
    log = np.log(field)
    inside = np.asarray(truth(demo, session, name, "brain").dataobj) > 0
    assert log[inside].mean() == pytest.approx(0, abs=2e-3)
    assert log[inside].std() == pytest.approx(0.15, abs=2e-3)
    spacing = nib.affines.voxel_sizes(truth(demo, session, name, "biasfield").affine)
    assert max(np.abs(np.diff(log, axis=k)).max() / spacing[k] for k in range(3)) < 0.03  # per mm


def test_bias_field_explains_the_difference_of_two_sessions(demo: Path) -> None:
    one, two = list(SERIES)[1:]
    first, second = (image(demo, session, "T1w") for session in (one, two))
    fields = [truth(demo, session, "T1w", "biasfield") for session in (one, two)]
    to_second = np.array(transforms(demo, two)["HeadToT1w"]) @ np.linalg.inv(transforms(demo, one)["HeadToT1w"])
    inside = ndimage.binary_erosion(np.asarray(truth(demo, one, "T1w", "brain").dataobj) > 0, iterations=3)
    ratio = np.log(np.asarray(first.dataobj)[inside] / move(second, first, to_second)[inside])
    expected = np.log(np.asarray(fields[0].dataobj)[inside] / move(fields[1], first, to_second)[inside])
    assert np.corrcoef(ratio, expected)[0, 1] > 0.8
    assert (ratio - expected).std() < 0.6 * ratio.std()


@pytest.mark.parametrize(("session", "name"), ALL)
def test_noise_is_rician(demo: Path, session: str, name: str) -> None:
    data = np.asarray(image(demo, session, name).dataobj, float)
    inside = np.asarray(truth(demo, session, name, "brain").dataobj) > 0
    assert data[inside].mean() == pytest.approx(600, rel=0.05)
    air = data[ndimage.minimum_filter(data < 90, 3)]
    assert air.size > 0.1 * data.size
    # Rayleigh: mode 20 = 600 / 30, mean 1.25 modes, standard deviation 0.655 modes; air itself has a little signal
    assert air.mean() == pytest.approx(20 * 1.253, rel=0.1)
    assert air.std() == pytest.approx(20 * 0.655, rel=0.15)


@pytest.mark.parametrize(("session", "name"), ALL)
def test_eyes_and_nose_are_in_front_of_and_below_the_brain(demo: Path, session: str, name: str) -> None:
    brain = truth(demo, session, name, "brain")
    centre = nib.affines.apply_affine(brain.affine, np.argwhere(np.asarray(brain.dataobj)).mean(0))
    eyes, nose = (np.asarray(truth(demo, session, name, label).dataobj) for label in ("eyes", "nose"))
    assert not (eyes & nose).any()
    assert not ((eyes | nose) & np.asarray(brain.dataobj)).any()
    size = np.prod(transforms(demo, session)["Body"]["Scale"])
    assert eyes.sum() * abs(np.linalg.det(brain.affine)) == pytest.approx(size * 2 * 4 / 3 * np.pi * 12**3, rel=0.12)
    for part in (eyes, nose):
        away = nib.affines.apply_affine(brain.affine, np.argwhere(part).mean(0)) - centre
        assert away[1] > 50
        assert away[2] < -15
        assert abs(away[0]) < 25  # the head may be turned by 14 degrees in all
    assert ndimage.label(eyes)[1] == 2


def test_landmarks_lie_where_they_should(demo: Path) -> None:
    for session in SERIES:
        eyes = truth(demo, session, "T1w", "eyes")
        labels, _ = ndimage.label(np.asarray(eyes.dataobj))
        centres = nib.affines.apply_affine(eyes.affine, ndimage.center_of_mass(labels > 0, labels, [1, 2]))
        landmarks = transforms(demo, session)["Landmarks"]
        for side in ("left", "right"):
            point = landmarks[f"{side} eye"]["T1w"]
            assert np.linalg.norm(centres - point, axis=1).min() < 1.5
        assert landmarks["left eye"]["T1w"][0] < landmarks["right eye"]["T1w"][0]


def test_headers(demo: Path) -> None:
    sizes = []
    for (session, name), orientation in zip(ALL, ORIENTATIONS, strict=True):
        series = image(demo, session, name)
        assert series.get_data_dtype() == np.int16
        assert "".join(nib.aff2axcodes(series.affine)) == orientation
        np.testing.assert_allclose(series.get_qform(coded=True)[0], series.get_sform(coded=True)[0], atol=1e-4)
        for kind in ("brain", "eyes", "nose", "biasfield"):
            beside = truth(demo, session, name, kind)
            assert beside.shape == series.shape
            np.testing.assert_allclose(beside.affine, series.affine, atol=1e-5)
        sizes.append(sorted(round(float(edge), 2) for edge in series.header.get_zooms()))
    assert sizes[:4] == [[3, 3, 3], [3, 3, 3], [3, 3, 6], [2.7, 2.7, 6]]
    tilted = image(demo, "sub-01/anat/sub-01", "FLAIR").affine
    assert np.rad2deg(np.arccos(tilted[2, 2] / np.linalg.norm(tilted[:3, 2]))) == pytest.approx(15, abs=0.01)


def test_two_sessions_are_the_same_person_and_two_subjects_are_not(demo: Path) -> None:
    volumes = [
        np.asarray(mask.dataobj).sum() * abs(np.linalg.det(mask.affine)) / 1000
        for mask in (truth(demo, session, "T1w", "brain") for session in SERIES)
    ]
    assert volumes[0] == pytest.approx(1887 * 0.92 * 0.92 * 0.91, rel=0.02)
    assert volumes[1] == pytest.approx(volumes[2], rel=0.01)
    assert abs(volumes[0] - volumes[1]) > 40


def test_contrast_agent_is_said_and_seen(demo: Path) -> None:
    sidecar = json.loads((demo / "sub-01/anat/sub-01_ce-gadolinium_T1w.json").read_text())
    assert sidecar["ContrastBolusIngredient"] == "GADOLINIUM"
    assert "ContrastBolusIngredient" not in json.loads((demo / "sub-01/anat/sub-01_T1w.json").read_text())
    session = "sub-01/anat/sub-01"
    plain, enhanced = (image(demo, session, name) for name in ("T1w", "ce-gadolinium_T1w"))
    fields = [np.asarray(truth(demo, session, name, "biasfield").dataobj) for name in ("T1w", "ce-gadolinium_T1w")]
    brains = [np.asarray(truth(demo, session, name, "brain").dataobj) > 0 for name in ("T1w", "ce-gadolinium_T1w")]
    brightest = [
        np.percentile((np.asarray(series.dataobj) / field)[ndimage.binary_erosion(brain, iterations=3)], 99.99)
        for series, field, brain in zip((plain, enhanced), fields, brains, strict=True)
    ]
    assert brightest[1] > 1.1 * brightest[0]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes(demo: Path, tmp_path: Path) -> None:
    write_demo(tmp_path / "again", seed=7, spacing_mm=3)
    assert digests(tmp_path / "again") == digests(demo)


def test_other_seed_other_images(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset._sessions(3)[:1]
    monkeypatch.setattr(dataset, "_sessions", lambda _: first)
    write_demo(tmp_path / "other", seed=8, spacing_mm=3)
    one, other = digests(demo), digests(tmp_path / "other")
    images = [name for name in other if name.endswith("w.nii.gz") or name.endswith("xfm.json")]
    assert len(images) == 7
    assert all(one[name] != other[name] for name in images)


def test_no_time_in_the_gzip_headers(demo: Path) -> None:
    with gzip.open(demo / "sub-01/anat/sub-01_T1w.nii.gz") as stream:
        stream.read(1)
        assert stream.mtime == 0


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_demo(tmp_path)
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_demo(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_spacing_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 mm to 4 mm"):
        write_demo(tmp_path / "demo", spacing_mm=0.1)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("folder", [".", "derivatives/truth"])
def test_it_is_valid_bids(demo: Path, folder: str) -> None:
    beside = Path(sys.executable).with_name("bids-validator-deno")
    validator = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed: the demo is not validated")
    answer = subprocess.run([validator, "--json", str(demo / folder)], capture_output=True, text=True, check=False)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert answer.returncode == 0


def test_the_raw_dataset_does_not_need_the_truth(demo: Path) -> None:
    for path in demo.rglob("*.json"):
        if "derivatives" not in path.parts:
            assert "truth" not in path.read_text()


def test_body_there_and_back() -> None:
    body = Body((0.88, 0.9, 0.91), warp_mm=3.0)
    points = np.random.default_rng(0).uniform(-90, 90, (50, 3))
    back = np.stack(body.to_template(list(body.from_template(points).T)), axis=1)
    np.testing.assert_allclose(back, points, atol=1e-4)


def test_rigid_turns_by_the_right_hand() -> None:
    np.testing.assert_allclose(rigid((90, 0, 0), (1, 2, 3)) @ [0, 1, 0, 1], [1, 2, 4, 1], atol=1e-12)
    np.testing.assert_allclose(rigid((0, 90, 0), (0, 0, 0)) @ [0, 0, 1, 1], [1, 0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rigid((0, 0, 90), (0, 0, 0)) @ [1, 0, 0, 1], [0, 1, 0, 1], atol=1e-12)
    assert np.linalg.det(random_rigid(np.random.default_rng(1))) == pytest.approx(1)
