"""Writing the demo as a BIDS dataset, with what is known of it under `derivatives/truth`.

The raw dataset and its truth follow BIDS 1.10.0. A series' truth keeps the entities of the series; the suffix of the
series stands in `desc-` of its masks. Rigid transforms are in one file a session, as 4x4 matrices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.inputs.demo.anatomy import LANDMARKS
from bids_app.inputs.demo.head import Head, build_head
from bids_app.inputs.demo.scan import Acquired, Body, Matrix, Scan, acquire, random_rigid

_BIDS_VERSION = "1.10.0"
_REFERENCES = [
    "Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011), "
    "https://doi.org/10.1016/j.neuroimage.2010.07.033",
]
_README = """\
# Demo heads

A small made-up dataset of brain MRI for trying and testing bids_app. No person was scanned.

- `sub-01`: T1w, T1w with contrast agent, T2w (thicker slices), FLAIR (thick oblique slices); a small lesion.
- `sub-02`: two sessions, each T1w and a thick-slice FLAIR (axial, then sagittal); another size and shape of head.

Every series has its own contrast, head position, smooth bias field and Rician noise. The brains are the ICBM 152
nonlinear symmetric 2009a average (Fonov et al., 2011) as distributed with nilearn; skull, face and neck are computed.

ICBM template: Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
McGill University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose
and without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill
University make no representations about the suitability of this software for any purpose. It is provided "as is"
without express or implied warranty. What was added to it for this dataset is dedicated to the public domain (CC0 1.0).

`derivatives/truth` holds what is known: brain, eyes and nose masks, bias fields and transforms. Processing must not
look at it.
"""
_TRUTH_README = """\
# The truth of the demo heads

On the grid of each series, with its entities; `desc-` of a mask is the suffix of its series:

- `label-brain`, `label-eyes`, `label-nose` masks: voxels of which at least half is inside.
- `desc-biasfield`: the field by which the signal was multiplied before noise was added; its geometric mean over the
  brain is 1.

Of each session, `from-T1w_mode-points_xfm.json`:

- `FromT1wTo`: for each series the 4x4 matrix that maps a point of the session's T1w (world, RAS+ mm) to the same point
  of the head in that series (its world, RAS+ mm).
- `HeadToT1w`: the rigid matrix from the head of the participant, the same in all sessions, to the T1w of the session.
- `Body`: how the participant's head differs from the template MNI152NLin2009aSym.
- `Landmarks`: points of the template and where they are in the T1w (RAS+ mm).
"""


@dataclass(frozen=True)
class _Series:
    name: str  # entities after sub- and ses-, and the suffix: "ce-gadolinium_T1w"
    scan: Scan

    @property
    def suffix(self) -> str:
        return self.name.rsplit("_", 1)[-1]

    @property
    def entities(self) -> str:
        """The entities with their trailing underscore, without the suffix."""
        return self.name.removesuffix(self.suffix)


@dataclass(frozen=True)
class _Session:
    subject: str
    session: str | None
    body: Body
    lesion: bool
    series: tuple[_Series, ...]

    @property
    def prefix(self) -> str:
        return f"sub-{self.subject}_" + (f"ses-{self.session}_" if self.session else "")

    @property
    def folder(self) -> Path:
        subject = Path(f"sub-{self.subject}")
        return (subject / f"ses-{self.session}" if self.session else subject) / "anat"


def write_demo(folder: Path, *, seed: int = 0, spacing_mm: float = 1.0) -> None:
    """Write a small raw BIDS dataset of computed heads, and its truth under `derivatives/truth`.

    Parameters
    ----------
    folder
        A new or empty folder.
    seed
        Of positions, bias fields and noise; the same seed gives the same bytes.
    spacing_mm
        Voxel edge of the T1w images; the other series become coarser with it. 1 mm to 4 mm; 3 is quick.

    Raises
    ------
    FileExistsError
        The folder holds something already.
    ValueError
        The spacing is outside 1 mm to 4 mm.
    """
    folder = Path(folder)
    if not 1 <= spacing_mm <= 4:
        raise ValueError(f"spacing_mm is {spacing_mm}: the demo can be written at 1 mm to 4 mm")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder: name a new or an empty one for the demo")
    head = build_head(1.0 if spacing_mm < 1.5 else 2.0)
    _write_root(folder)
    for number, session in enumerate(_sessions(spacing_mm)):
        _write_session(folder, session, head, np.random.SeedSequence([seed, number]))


def _sessions(spacing: float) -> tuple[_Session, ...]:
    """What is scanned: a table."""
    thick = max(5.0, 2 * spacing)
    fine = 0.9 * spacing
    whole = (180.0, 228.0, 224.0)
    iso = (spacing, spacing, spacing)
    one = Body((0.92, 0.92, 0.91))
    two = Body((0.88, 0.90, 0.91), warp_mm=3.0)
    axial = (fine, fine, thick)
    return (
        _Session("01", None, one, True, (
            _Series("T1w", Scan("T1w", iso, whole, "LAS")),
            _Series("ce-gadolinium_T1w", Scan("ceT1w", iso, whole, "PSR")),
            _Series("T2w", Scan("T2w", (spacing, spacing, 2 * spacing), whole, "LPS")),
            _Series("FLAIR", Scan("FLAIR", axial, (194.4, 232.2, 180.0), "LAS", (0, -8, 8), 15.0)),
        )),
        _Session("02", "1", two, False, (
            _Series("T1w", Scan("T1w", iso, whole, "PSR")),
            _Series("FLAIR", Scan("FLAIR", (fine, fine, 0.8 * thick), (194.4, 232.2, 184.0), "LAS", (0, -8, 8), -5.0)),
        )),
        _Session("02", "2", two, False, (
            _Series("T1w", Scan("T1w", iso, whole, "RAS")),
            _Series("FLAIR", Scan("FLAIR", (0.9 * thick, fine, fine), (180.0, 232.2, 228.6), "ASR")),
        )),
    )  # fmt: skip


def _write_session(folder: Path, session: _Session, head: Head, seeds: np.random.SeedSequence) -> None:
    truth = folder / "derivatives" / "truth"
    first, *others = seeds.spawn(len(session.series) + 1)
    template_to_t1w = random_rigid(np.random.default_rng(first), most_deg=6, most_mm=6)
    transforms: dict[str, Matrix] = {}
    for series, seed in zip(session.series, others, strict=True):
        rng = np.random.default_rng(seed)
        displacement = np.eye(4) if series.name == "T1w" else random_rigid(rng)
        transforms[series.name] = displacement
        signal = head.image(series.scan.contrast, lesion=session.lesion)
        acquired = acquire(head, signal, session.body, displacement @ template_to_t1w, series.scan, rng)
        base = session.folder / (session.prefix + series.name)
        _write_image(folder / f"{base}.nii.gz", acquired.image, acquired.affine)
        _write_json(folder / f"{base}.json", _sidecar(series))
        _write_truth(truth, session, series, acquired)
    _write_json(
        truth / session.folder / f"{session.prefix}from-T1w_mode-points_xfm.json",
        _transforms(session, transforms, template_to_t1w),
    )


def _write_truth(truth: Path, session: _Session, series: _Series, acquired: Acquired) -> None:
    stem = session.prefix + series.entities
    source = f"bids:raw:{session.folder.as_posix()}/{session.prefix}{series.name}.nii.gz"
    common = {"Sources": [source], "SpatialReference": "orig"}
    for label, mask in (("brain", acquired.brain), ("eyes", acquired.eyes), ("nose", acquired.nose)):
        path = truth / session.folder / f"{stem}label-{label}_desc-{series.suffix}_mask"
        _write_image(path.with_suffix(".nii.gz"), mask.astype(np.uint8), acquired.affine)
        _write_json(path.with_suffix(".json"), {**common, "Type": "Brain" if label == "brain" else "Face"})
    path = truth / session.folder / f"{stem}desc-biasfield_{series.suffix}"
    _write_image(path.with_suffix(".nii.gz"), acquired.bias, acquired.affine)
    description = "Multiplicative bias field: the image before noise is the true signal times this"
    _write_json(path.with_suffix(".json"), {**common, "Description": description, "SkullStripped": False})


def _transforms(session: _Session, to_series: Mapping[str, Matrix], head_to_t1w: Matrix) -> dict[str, Any]:
    names = list(LANDMARKS)
    points = session.body.from_template(np.array([LANDMARKS[name] for name in names]))
    in_t1w = points @ head_to_t1w[:3, :3].T + head_to_t1w[:3, 3]
    return {
        "Description": "4x4 matrices that map points of the session's T1w (world, RAS+ mm) to points of each series",
        "FromT1wTo": {name: matrix.tolist() for name, matrix in to_series.items()},
        "HeadToT1w": head_to_t1w.tolist(),
        "Body": {
            "Description": "template = head / Scale + warp(head); template is MNI152NLin2009aSym, warp a sum of sines",
            "Scale": list(session.body.scale),
            "WarpMillimetres": session.body.warp_mm,
            "WavelengthMillimetres": session.body.wavelength_mm,
        },
        "Landmarks": {
            name: {"MNI152NLin2009aSym": list(LANDMARKS[name]), "T1w": [round(float(v), 4) for v in point]}
            for name, point in zip(names, in_t1w, strict=True)
        },
    }


def _sidecar(series: _Series) -> dict[str, Any]:
    """Plausible acquisition parameters; times in seconds."""
    timing: dict[str, Any] = {
        "T1w": {"EchoTime": 0.00298, "RepetitionTime": 2.3, "InversionTime": 0.9, "FlipAngle": 9},
        "T2w": {"EchoTime": 0.1, "RepetitionTime": 4.5, "FlipAngle": 150},
        "FLAIR": {"EchoTime": 0.09, "RepetitionTime": 9.0, "InversionTime": 2.5, "FlipAngle": 150},
    }[series.suffix]
    volume = series.scan.size_mm[0] == series.scan.size_mm[2]
    sidecar: dict[str, Any] = {
        "Modality": "MR",
        "Manufacturer": "Simulated",
        "ManufacturersModelName": "Demo",
        "MagneticFieldStrength": 3,
        "MRAcquisitionType": "3D" if volume else "2D",
        "SliceThickness": max(series.scan.size_mm),
        **timing,
    }
    if series.name.startswith("ce-"):
        sidecar["ContrastBolusIngredient"] = "GADOLINIUM"
    return sidecar


def _write_root(folder: Path) -> None:
    description: dict[str, Any] = {
        "Name": "Demo heads",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "raw",
        "License": "ICBM template's permissive licence (see README); additions CC0 1.0",
        "Authors": ["bids_app"],
        "Acknowledgements": "ICBM 152 nonlinear symmetric 2009a templates, as distributed with nilearn",
        "ReferencesAndLinks": _REFERENCES,
        "GeneratedBy": [{"Name": "bids_app demo"}],
    }
    _write_json(folder / "dataset_description.json", description)
    (folder / "README").write_text(_README, encoding="utf-8")
    table = "participant_id\tspecies\tage\tsex\n" + "".join(f"sub-{n}\thomo sapiens\tn/a\tn/a\n" for n in ("01", "02"))
    (folder / "participants.tsv").write_text(table, encoding="utf-8")
    columns: dict[str, Any] = {
        "species": {"Description": "Species; the heads are computed, no person was scanned"},
        "age": {"Description": "Age of the participant; none here", "Units": "year"},
        "sex": {"Description": "Sex of the participant; none here", "Levels": {"M": "male", "F": "female"}},
    }
    _write_json(folder / "participants.json", columns)
    truth = folder / "derivatives" / "truth"
    _write_json(
        truth / "dataset_description.json",
        {
            "Name": "Demo heads: what is true of them",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "derivative",
            "License": description["License"],
            "GeneratedBy": [{"Name": "bids_app demo"}],
            "SourceDatasets": [{"URL": "../../"}],
            "DatasetLinks": {"raw": "../../"},
        },
    )
    (truth / ".bidsignore").write_text("*_xfm.json\n", encoding="utf-8")
    (truth / "README").write_text(_TRUTH_README, encoding="utf-8")


def _write_image(path: Path, array: NDArray[Any], affine: Matrix) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
