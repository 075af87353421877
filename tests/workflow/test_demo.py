"""The whole way on the demo heads, measured against their truth."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, dice, itk_matrix, linear_at, points_of

#: Every series of the demo: session label, entities and suffix between it and the name of the series, whether thick.
SERIES = [
    ("sub-01", "", "T1w", False),
    ("sub-01", "ce-gadolinium_", "T1w", False),
    ("sub-01", "", "T2w", False),
    ("sub-01", "", "FLAIR", True),
    ("sub-02_ses-1", "", "T1w", False),
    ("sub-02_ses-1", "", "FLAIR", True),
    ("sub-02_ses-2", "", "T1w", False),
    ("sub-02_ses-2", "", "FLAIR", True),
]
every_series = pytest.mark.parametrize(("session", "entities", "suffix", "thick"), SERIES)
ATLAS = "MNI152NLin2009aSym"


def _truth(run: Run, name: str) -> nib.Nifti1Image:
    (path,) = (run.source / "derivatives" / "truth").glob(f"sub-*/**/{name}")
    return nib.load(path)


def _moved(run: Run, session: str, series: str) -> np.ndarray:
    (path,) = (run.source / "derivatives" / "truth").glob(f"sub-*/**/{session}_from-T1w_mode-points_xfm.json")
    return np.array(json.loads(path.read_text())["FromT1wTo"][series])


def test_the_run_ends_well(demo_run: Run) -> None:
    assert demo_run.code == 0, demo_run.text
    assert "3 sessions finished" in demo_run.text


@every_series
def test_brain_mask(demo_run: Run, session: str, entities: str, suffix: str, thick: bool) -> None:
    del thick
    name = f"{session}_{entities}label-brain_desc-{suffix}_mask.nii.gz"
    assert dice(demo_run.image(name).get_fdata(), _truth(demo_run, name).get_fdata()) >= 0.93


@every_series
def test_coregistration(demo_run: Run, session: str, entities: str, suffix: str, thick: bool) -> None:
    """Mean displacement in the brain: at most 0.5 mm for 1 mm series, 1.5 mm for thick ones."""
    if (entities, suffix) == ("", "T1w"):
        pytest.skip("the reference")
    (path,) = demo_run.output.glob(f"sub-*/**/{session}_{entities}from-{suffix}_to-T1w_mode-image_xfm.mat")
    brain = _truth(demo_run, f"{session}_label-brain_desc-T1w_mask.nii.gz")
    points = points_of(brain, np.asarray(brain.dataobj) > 0)
    ours = nib.affines.apply_affine(itk_matrix(path), points)
    true = nib.affines.apply_affine(_moved(demo_run, session, f"{entities}{suffix}"), points)
    error_mm = np.linalg.norm(ours - true, axis=1).mean()
    assert error_mm <= (1.5 if thick else 0.5)


@every_series
def test_bias_field(demo_run: Run, session: str, entities: str, suffix: str, thick: bool) -> None:
    del thick
    brain = _truth(demo_run, f"{session}_{entities}label-brain_desc-{suffix}_mask.nii.gz").get_fdata() > 0
    ours = demo_run.image(f"{session}_{entities}desc-biasfield_{suffix}.nii.gz").get_fdata()[brain]
    true = _truth(demo_run, f"{session}_{entities}desc-biasfield_{suffix}.nii.gz").get_fdata()[brain]
    assert np.corrcoef(np.log(ours), np.log(true))[0, 1] >= 0.9


@every_series
def test_zscored_brain(demo_run: Run, session: str, entities: str, suffix: str, thick: bool) -> None:
    del thick
    mask = demo_run.image(f"{session}_{entities}label-brain_desc-{suffix}_mask.nii.gz").get_fdata() > 0
    image = demo_run.image(f"{session}_{entities}desc-brainzscore_{suffix}.nii.gz").get_fdata()
    assert abs(image[mask].mean()) <= 1e-4
    assert abs(image[mask].std() - 1) <= 1e-4
    assert not image[~mask].any()


@every_series
def test_no_brain_is_lost_with_the_face(demo_run: Run, session: str, entities: str, suffix: str, thick: bool) -> None:
    del thick
    brain = _truth(demo_run, f"{session}_{entities}label-brain_desc-{suffix}_mask.nii.gz").get_fdata() > 0
    face = demo_run.image(f"{session}_{entities}label-face_desc-{suffix}_mask.nii.gz").get_fdata() > 0
    assert not (brain & face).any()


@every_series
def test_kept_voxels_are_those_of_the_scanner(
    demo_run: Run, session: str, entities: str, suffix: str, thick: bool
) -> None:
    del thick
    (path,) = demo_run.source.glob(f"sub-*/**/anat/{session}_{entities}{suffix}.nii.gz")
    raw, defaced = nib.load(path), demo_run.image(f"{session}_{entities}desc-defaced_{suffix}.nii.gz")
    face = demo_run.image(f"{session}_{entities}label-face_desc-{suffix}_mask.nii.gz").get_fdata() > 0
    assert defaced.get_data_dtype() == raw.get_data_dtype()
    stored, original = np.asanyarray(defaced.dataobj), np.asanyarray(raw.dataobj)
    assert np.array_equal(stored[~face], original[~face])
    assert not stored[face].any()
    assert np.allclose(defaced.affine, raw.affine, atol=1e-4)


@every_series
@pytest.mark.parametrize("part", ["eyes", "nose"])
def test_no_face_is_left_in_any_space(
    demo_run: Run, session: str, entities: str, suffix: str, thick: bool, part: str
) -> None:
    """Wherever a voxel of an output looks at the eyes or the nose, it is 0: native, reference and atlas space.

    Between two slices of 5 mm an eye's edge can be interpolated from the slice beside the brain, which is never
    touched: on a grid of 1 mm one voxel in a thousand of a thick series may.
    """
    names = [f"desc-{what}_{suffix}" for what in ("defaced", "preproc")]
    there = _truth(demo_run, f"{session}_{entities}label-{part}_desc-{suffix}_mask.nii.gz").get_fdata() > 0
    for name in names:
        assert not demo_run.image(f"{session}_{entities}{name}.nii.gz").get_fdata()[there].any()
    truth = _truth(demo_run, f"{session}_label-{part}_desc-T1w_mask.nii.gz")
    points = points_of(truth, np.asarray(truth.dataobj) > 0, 20000)
    (path,) = demo_run.output.glob(f"sub-*/**/{session}_from-T1w_to-{ATLAS}_mode-image_xfm.mat")
    for space, matrix in (("T1w", np.eye(4)), (f"{ATLAS}_res-1", np.linalg.inv(itk_matrix(path)))):
        image = demo_run.image(f"{session}_{entities}space-{space}_desc-preproc_{suffix}.nii.gz")
        indices = nib.affines.apply_affine(np.linalg.inv(image.affine) @ matrix, points).round().astype(int)
        inside = ((indices >= 0) & (indices < image.shape)).all(axis=1)
        left = image.get_fdata()[tuple(indices[inside].T)] != 0
        assert left.mean() <= (0.001 if thick else 0)


@every_series
def test_one_interpolation_from_native_to_every_output(
    demo_run: Run, session: str, entities: str, suffix: str, thick: bool
) -> None:
    """An output equals an independent trilinear interpolation of the native image through the written transforms.

    A second interpolation would smooth: passing through the reference grid first differs by far more than rounding.
    """
    del thick
    native = demo_run.image(f"{session}_{entities}desc-preproc_{suffix}.nii.gz")
    reference = demo_run.image(f"{session}_desc-preproc_T1w.nii.gz")
    to_reference, to_atlas = np.eye(4), np.eye(4)
    for path in demo_run.output.glob(f"sub-*/**/{session}_{entities}from-{suffix}_to-T1w_mode-image_xfm.mat"):
        to_reference = itk_matrix(path)
    (path,) = demo_run.output.glob(f"sub-*/**/{session}_from-T1w_to-{ATLAS}_mode-image_xfm.mat")
    to_atlas = itk_matrix(path)
    for space, chain in (("T1w", to_reference), (f"{ATLAS}_res-1", to_reference @ to_atlas)):
        output = demo_run.image(f"{session}_{entities}space-{space}_desc-preproc_{suffix}.nii.gz")
        array = np.asarray(output.dataobj)
        points = points_of(output, array > 0, 20000)
        indices = nib.affines.apply_affine(np.linalg.inv(output.affine), points).round().astype(int)
        there = nib.affines.apply_affine(np.linalg.inv(native.affine) @ chain, points)
        inside = ((there >= 0) & (there <= np.array(native.shape) - 1)).all(axis=1)  # half a voxel further is ITK's own
        points, indices = points[inside], indices[inside]
        ours = array[tuple(indices.T)]
        once = linear_at(native, nib.affines.apply_affine(chain, points))
        assert np.abs(ours - once).max() <= 1e-5 * float(np.std(ours))
        if space != "T1w" and not np.allclose(to_reference, np.eye(4)):
            between = nib.Nifti1Image(
                np.asarray(demo_run.image(f"{session}_{entities}space-T1w_desc-preproc_{suffix}.nii.gz").dataobj),
                reference.affine,
            )
            twice = linear_at(between, nib.affines.apply_affine(to_atlas, points))
            assert np.abs(twice - once).mean() > 20 * np.abs(ours - once).mean()


def test_the_reference_is_copied_into_its_own_space(demo_run: Run) -> None:
    (native,) = demo_run.output.glob("sub-01/anat/sub-01_desc-preproc_T1w.nii.gz")
    (copied,) = demo_run.output.glob("sub-01/anat/sub-01_space-T1w_desc-preproc_T1w.nii.gz")
    assert native.read_bytes() == copied.read_bytes()


def test_atlas_registration_fits_the_brains(demo_run: Run) -> None:
    from bids_app.assets import EMBEDDED, find_space, load_space

    _, atlas = load_space(find_space(EMBEDDED, Path("/nonexistent"), None))
    for session in ("sub-01", "sub-02_ses-1", "sub-02_ses-2"):
        mask = demo_run.image(f"{session}_space-{ATLAS}_res-1_label-brain_desc-T1w_mask.nii.gz")
        assert mask.shape == atlas.shape
        ours, theirs = mask.get_fdata().sum(), atlas.get_fdata().sum()
        best = 2 * min(ours, theirs) / (ours + theirs)  # the demo heads are smaller, and a rigid transform keeps that
        assert dice(mask.get_fdata(), atlas.get_fdata()) >= 0.99 * best
