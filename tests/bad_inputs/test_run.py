"""A run on all rows at once: each bad one is told, and the good ones get what they get without them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bad_inputs.rows import GOOD, Row
from bad_inputs.table import ROOT, ROWS
from runs import Run, bids_app, series_table
from trees import write_tree

from bids_app.inputs.content import check_content
from bids_app.inputs.dataset import open_dataset, walk
from bids_app.inputs.series import printable

#: A participant with two good series, who must not notice the others.
GOOD_ONE = {"sub-good/anat/sub-good_T1w.nii.gz": GOOD, "sub-good/anat/sub-good_FLAIR.nii.gz": GOOD}


@dataclass(frozen=True)
class Runs:
    """The same dataset with the bad rows (`bad`), with some that are no error (`odd`), and without any."""

    bad: Run
    odd: Run
    alone: Run


def write_masks(root: Path, folder: Path) -> Path:
    """A mask for every series that is processed: the middle of its field of view."""
    folder.mkdir()
    for session in walk(open_dataset(root)):
        for series in session.series:
            if check_content(series)[1] is None:
                image = nib.load(series.path)
                shape = image.shape[:3]
                offsets = np.indices(shape) / (np.array(shape) - 1).reshape(3, 1, 1, 1) - 0.5
                mask = ((offsets / [[[[0.35]]], [[[0.42]]], [[[0.35]]]]) ** 2).sum(axis=0) < 1
                stem = series.name.removesuffix(f"_{series.suffix}")
                name = f"{stem}_label-brain_desc-{series.suffix}_mask.nii.gz"
                nib.Nifti1Image(mask.astype(np.uint8), image.affine, _forms_of(image)).to_filename(folder / name)
    return folder


def _forms_of(image: nib.Nifti1Image) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    corner = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    for key in ("sform_code", "qform_code", *corner, "srow_x", "srow_y", "srow_z", "pixdim"):
        header[key] = image.header[key]
    return header


def write_rows(root: Path, rows: list[Row]) -> Path:
    """A dataset of these rows and the good participant."""
    write_tree(root, {**ROOT, **GOOD_ONE})
    for row in rows:
        row.write(root)
    return root


def run_all(place: Path, *steps: str) -> Runs:
    """The three runs."""
    odd = [row for row in ROWS if row.code == 0][::5]  # the end table of `bad` says the same of all of them
    roots = {"bad": ROWS, "odd": odd, "alone": []}
    masks = write_masks(write_rows(place / "bad", ROWS), place / "masks")
    runs = {}
    for name, rows in roots.items():
        root = place / name if name == "bad" else write_rows(place / name, rows)
        runs[name] = bids_app(root, place / f"out-{name}", "--masks", str(masks), "--steps", *steps)
    return Runs(**runs)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The three runs, with the steps that are quick."""
    return run_all(tmp_path_factory.mktemp("runs"), "mask")


def test_the_exit_code_is_that_of_the_rows(runs: Runs) -> None:
    assert runs.bad.code == 1, runs.bad.text[-3000:]
    assert runs.odd.code == 0, runs.odd.text[-3000:]
    assert runs.alone.code == 0, runs.alone.text[-3000:]
    for run in (runs.bad, runs.odd):
        assert "Traceback" not in run.text


def test_every_broken_image_is_in_the_end_table_and_no_other(runs: Runs) -> None:
    lines = [line for line in runs.bad.text.splitlines() if line.startswith("Failed: ")]
    broken = [row for row in ROWS if row.fate == "failed"]
    for row in broken:
        mine = [line for line in lines if re.match(f"Failed: sub-{row.subject}[ _]", line)]
        assert len(mine) == 1, (row.what, mine)
        assert any(one in mine[0] for one in row.says.split("|")), (row.what, mine)
    assert len(lines) == len(broken)


def test_every_row_is_in_the_series_table_with_its_reason(runs: Runs) -> None:
    for row in ROWS:
        tables = [*runs.bad.output.glob(f"{printable(f'sub-{row.subject}')}/**/*_series.tsv")]
        rows = [one for table in tables for one in series_table(table)]
        name = printable(Path(row.image).name)
        for extension in (".nii.gz", ".nii", ".mgz", ".nrrd", ".nii.bz2", ".NII.GZ"):
            name = name.removesuffix(extension)
        if row.fate == "ignored":
            assert name not in [one["series"] for one in rows]
            continue
        mine = [one for one in rows if one["series"] == name]
        if not mine:  # a name that is none of BIDS may be a person's: it is told on the screen alone
            hidden = {one["status"] for one in rows if one["series"] == "misnamed"}
            assert hidden == {row.fate if row.fate == "failed" else "rejected"}, row.what
            continue
        if row.fate == "processed":
            assert "done" in {one["status"] for one in mine}, (row.what, mine)
        else:
            reason = unquoted(" ".join(one["reason"] for one in mine))
            assert any(unquoted(part) in reason for part in row.says.split("|")), (row.what, reason)
            assert row.fate in {one["status"] for one in mine}, (row.what, mine)


def unquoted(text: str) -> str:
    """A message without what stands in quotation marks: the table leaves it out."""
    return re.sub("'[^']*'", "", text)


def test_what_is_processed_gets_its_outputs_and_so_does_its_neighbour(runs: Runs) -> None:
    made = [set(path.name.split("_")) for path in runs.bad.output.rglob("*_mask.nii.gz")]
    for row in ROWS:
        for path in [row.place(key) for key in row.rest] + [row.image] * (row.fate == "processed"):
            *entities, suffix = Path(path).name.removesuffix(".gz").removesuffix(".nii").split("_")
            assert {*entities, "label-brain", f"desc-{suffix}", "mask.nii.gz"} in made, row.what


def test_the_good_participant_gets_the_same_bytes_as_alone(runs: Runs) -> None:
    alone = hashes(runs.alone.output / "sub-good")
    assert alone
    assert hashes(runs.bad.output / "sub-good") == alone
    assert hashes(runs.odd.output / "sub-good") == alone


def hashes(folder: Path) -> dict[str, str]:
    """The files below a folder and their content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_odd_images_keep_their_bits_and_are_normalised(tmp_path: Path) -> None:
    """Every odd image goes through the steps of native space: data types, scalings, axes, NaN and all."""
    rows = [replace(row, rest={}) for row in ROWS if row.fate == "processed" and "sidecar" not in row.what]
    masks = write_masks(write_rows(tmp_path / "data", rows), tmp_path / "masks")
    steps = ("mask", "deface", "bias", "normalize")
    run = bids_app(tmp_path / "data", tmp_path / "out", "--masks", str(masks), "--steps", *steps)
    assert run.code == 0, run.text[-3000:]
    raws = {path.name.removesuffix(".gz").removesuffix(".nii"): path for path in (tmp_path / "data").rglob("*.nii*")}
    checked = 0
    for path in sorted((tmp_path / "out").rglob("*_desc-defaced_*.nii.gz")):
        stem, _, suffix = path.name.removesuffix(".nii.gz").replace("_desc-defaced", "").rpartition("_")
        if f"{stem}_{suffix}" not in raws:  # its entities were put in order
            continue
        beside = {
            name: nib.load(path.with_name(f"{stem}_{name}_{end}.nii.gz"))
            for name, end in (("label-face_desc-" + suffix, "mask"), ("label-brain_desc-" + suffix, "mask"))
        }
        face, brain = (np.asarray(image.dataobj) > 0 for image in beside.values())
        zscore = np.asarray(nib.load(path.with_name(f"{stem}_desc-brainzscore_{suffix}.nii.gz")).dataobj)
        raw, defaced = (np.asarray(nib.load(one).dataobj.get_unscaled()) for one in (raws[f"{stem}_{suffix}"], path))
        kept = ~face.reshape(raw.shape)
        native = raw.dtype.newbyteorder("=")
        assert defaced.dtype.newbyteorder("=") == native, stem
        assert raw[kept].astype(native).tobytes() == defaced[kept].astype(native).tobytes(), stem
        assert np.isfinite(zscore).all(), stem
        assert abs(zscore[brain].mean()) < 1e-3 > abs(zscore[brain].std() - 1), stem
        checked += 1
    assert checked >= 45
