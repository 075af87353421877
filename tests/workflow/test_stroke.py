"""A real session of T1w, b0, trace and the scanner's ADC, with a lesion drawn on it, from end to end."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app, itk_matrix, series_table

pytestmark = pytest.mark.slow

_CENTRE, _RADIUS_MM = np.array([48, 36, 24]), 20.0


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("stroke")
    source, real = root / "in", shared / "data" / "sub-xa30"
    for folder in ("anat", "dwi"):
        (source / "sub-01" / folder).mkdir(parents=True)
    shutil.copy(shared / "data" / "dataset_description.json", source)
    for extension in (".nii.gz", ".json"):
        shutil.copy(real / f"anat/sub-xa30_run-1_T1w{extension}", source / f"sub-01/anat/sub-01_T1w{extension}")
        for suffix in ("S0map", "trace", "ADC"):
            shutil.copy(real / f"dwi/sub-xa30_{suffix}{extension}", source / f"sub-01/dwi/sub-01_{suffix}{extension}")
    trace = nib.load(source / "sub-01/dwi/sub-01_trace.nii.gz")
    away = (np.indices(trace.shape).T - _CENTRE).T  # type: ignore[attr-defined]
    lesion = ((away**2).sum(axis=0) * 9 <= _RADIUS_MM**2).astype(np.uint8)
    nib.save(nib.Nifti1Image(lesion, trace.affine), source / "sub-01/dwi/sub-01_label-lesion_mask.nii.gz")
    before = _hashes(source)
    words = ("--b-value", "2500", "--brain-extraction", "synth", "--normalize", "gaussianmixture", "--nprocs", "1")
    done = bids_app(source, root / "out", *words)
    assert done.code == 0, done.text
    assert _hashes(source) == before
    return done


def test_the_computed_adc_is_the_scanners(run: Run) -> None:
    computed = run.image("sub-01_rec-computed_desc-preproc_ADC.nii.gz").get_fdata()
    scanner = run.image("sub-01_desc-preproc_ADC.nii.gz").get_fdata()
    brain = run.image("sub-01_label-brain_desc-S0map_mask.nii.gz").get_fdata() > 0
    both = brain & (computed > 0) & (scanner > 0)
    assert np.median(computed[both] / scanner[both]) == pytest.approx(1, abs=0.05)
    assert np.corrcoef(computed[both], scanner[both])[0, 1] >= 0.98
    assert 0.4e-3 < np.median(computed[both]) < 1.2e-3
    assert run.sidecar("sub-01_rec-computed_desc-preproc_ADC.json")["Units"] == "mm^2/s"


def test_every_diffusion_image_is_defaced_and_in_the_tables(run: Run) -> None:
    rows = {row["series"]: row for row in series_table(run.output / "sub-01" / "sub-01_series.tsv")}
    face = run.image("sub-01_label-face_desc-S0map_mask.nii.gz").get_fdata() > 0
    assert face.mean() > 0.02
    for name in ("sub-01_S0map", "sub-01_trace", "sub-01_ADC", "sub-01_rec-computed_ADC"):
        assert rows[name]["status"] == "done"
        assert rows[name]["face_check"] == "passed"
        image = run.image(f"{name.rpartition('_')[0]}_desc-defaced_{name.rpartition('_')[2]}.nii.gz").get_fdata()
        assert not image[face].any()
    assert rows["sub-01_T1w"]["reference"] == "1"


def test_the_lesion_is_where_it_was_drawn_in_every_space(run: Run) -> None:
    rows = {row["space"]: row for row in series_table(run.output / "sub-01" / "sub-01_lesions.tsv")}
    assert set(rows) == {"orig", "reference", "MNI152NLin2009aSym_res-1"}
    for row in rows.values():
        assert float(row["volume_ratio"]) == pytest.approx(1, abs=0.02)
    centre = {space: np.array([float(row[f"{axis}_mm"]) for axis in "xyz"] + [1]) for space, row in rows.items()}
    to_b0 = itk_matrix(next(run.output.glob("sub-01/dwi/*_from-S0map_to-T1w_mode-image_xfm.mat")))
    to_t1w = itk_matrix(next(run.output.glob("sub-01/anat/*_from-T1w_to-MNI*_mode-image_xfm.mat")))
    np.testing.assert_allclose(to_b0 @ centre["reference"], centre["orig"], atol=0.5)  # voxels of 3 on 2 mm
    np.testing.assert_allclose(to_t1w @ centre["MNI152NLin2009aSym_res-1"], centre["reference"], atol=0.5)


def test_the_lesion_was_left_out_of_metric_and_statistics(run: Run) -> None:
    for name in ("sub-01_from-S0map_to-T1w_mode-image_xfm.json",):
        assert run.sidecar(name)["Method"]["LesionLeftOut"] is True
    (atlas,) = run.output.glob("sub-01/anat/*_from-T1w_to-MNI*_xfm.json")
    assert '"LesionLeftOut": true' in atlas.read_text()


def test_a_lesion_elsewhere_fails_alone(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(run.source, source)
    (path,) = source.glob("sub-01/dwi/*lesion*")
    image = nib.load(path)
    affine = image.affine.copy()  # type: ignore[attr-defined]
    affine[:3, 3] += 800
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)  # type: ignore[attr-defined]
    words = ("--brain-extraction", "synth", "--steps", "mask", "deface", "--nprocs", "1")
    done = bids_app(source, tmp_path / "out", *words)
    assert done.code == 1
    assert "does not overlap" in done.text
    assert "give --b-value" in done.text
    assert len(list((tmp_path / "out").glob("sub-01/dwi/*_desc-defaced_*.nii.gz"))) == 3
