"""`--reference subject` from end to end: two sessions of a participant, a lesion at the second one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runs import Run, bids_app

WORDS = ("--participant-label", "02", "--reference", "subject", "--allow-face")
ATLAS = "MNI152NLin2009aSym"


@pytest.fixture(scope="module")
def source(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with a lesion that is drawn on the second session's FLAIR, whose reference is the T1w."""
    folder = tmp_path_factory.mktemp("visits") / "data"
    shutil.copytree(small_demo, folder)
    anat = folder / "sub-02" / "ses-2" / "anat"
    image = nib.load(anat / "sub-02_ses-2_FLAIR.nii.gz")
    brain = nib.load(
        folder / "derivatives/truth/sub-02/ses-2/anat/sub-02_ses-2_label-brain_desc-FLAIR_mask.nii.gz"
    ).get_fdata()
    middle = np.argwhere(brain > 0).mean(axis=0)
    away = np.linalg.norm((np.moveaxis(np.indices(image.shape), 0, -1) - middle) * image.header.get_zooms(), axis=-1)
    lesion = ((away < 15) & (brain > 0)).astype(np.uint8)
    nib.Nifti1Image(lesion, image.affine).to_filename(anat / "sub-02_ses-2_label-lesion_mask.nii.gz")
    return folder


@pytest.fixture(scope="module")
def run(source: Path) -> Run:
    return _app(source, source.parent / "out", "--profile")


def _app(source: Path, output: Path, *more: str) -> Run:
    return bids_app(source, output, *WORDS, "--masks", str(source / "derivatives" / "truth"), *more)


def _planned(source: Path, output: Path) -> list[dict[str, int]]:
    """What a dry run has to do of each session, by step."""
    told = _app(source, output, "--dry-run", "--json")
    assert told.code == 0, told.text
    plan, _ = json.JSONDecoder().raw_decode(told.text, told.text.index("{"))  # what follows are warnings
    return [one["tasks"] for one in plan["sessions"]]


def test_a_dry_run_foretells_the_template_and_what_is_left_of_it(source: Path, run: Run) -> None:
    assert run.code == 0, run.text
    assert not any(_planned(source, run.output))
    first, second = _planned(source, source.parent / "other")
    assert (first["template"], second.get("template")) == (1, None)
    assert (first["atlas"], second["atlas"]) == (2, 1), "the template's own, and each session's through it"
    rows = [line.split("\t")[1] for line in (run.output / "logs" / "profile.tsv").read_text().splitlines()[1:]]
    assert rows[-1] == "report/sub-02", "the page, which a dry run counts with no session"
    assert len(set(rows[:-1]) - {"n/a"}) == sum(first.values()) + sum(second.values())


def test_the_template_is_part_of_the_profile(run: Run) -> None:
    rows = [line.split("\t") for line in (run.output / "logs" / "profile.tsv").read_text().splitlines()]
    seconds = {row[1]: float(row[2]) for row in rows[1:] if row[1].startswith(("template/", "atlas/sub-02_individual"))}
    assert set(seconds) == {"template/sub-02_individual", f"atlas/sub-02_individual/{ATLAS}"}
    assert min(seconds.values()) > 0.1


def test_a_lesion_drawn_on_another_series_is_left_out_of_the_template_and_its_way_to_the_atlas(run: Run) -> None:
    lesion = run.image("sub-02_space-individual_label-lesion_desc-T1w_mask.nii.gz")
    (drawn,) = run.source.rglob("*_label-lesion_mask.nii.gz")
    volumes = [
        float(np.sum(np.asarray(one.dataobj)) * np.prod(one.header.get_zooms()[:3]))
        for one in (lesion, nib.load(drawn))
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)
    assert run.sidecar(f"sub-02_from-individual_to-{ATLAS}_mode-image_xfm.json")["Method"]["LesionLeftOut"] is True
    assert run.sidecar("sub-02_space-individual_label-lesion_desc-T1w_mask.json")["Sources"] == [
        "bids::sub-02/ses-2/anat/sub-02_ses-2_label-lesion_desc-FLAIR_mask.nii.gz"
    ]


@pytest.mark.slow
def test_without_the_lesion_the_template_is_made_anew(source: Path, run: Run, tmp_path: Path) -> None:
    without, output = tmp_path / "data", tmp_path / "out"
    shutil.copytree(source, without)
    shutil.copytree(run.output, output)
    (path,) = without.rglob("*_label-lesion_mask.nii.gz")
    path.unlink()
    again = _app(without, output)
    assert again.code == 0, again.text
    assert not list(output.rglob("*label-lesion*"))
    assert bids_app(without, output, level="group").code == 0
