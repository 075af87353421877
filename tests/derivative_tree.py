"""Small datasets with their derivatives, as the participant level leaves them, for what reads outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.outputs.manifest import FORMAT, manifest_path
from bids_app.outputs.series_table import COLUMNS
from bids_app.outputs.writer import image_bytes
from bids_app.steps.images import new_image

ATLAS = "MNI152NLin2009cSym"
KEY = "a secret of the tests, long enough to be one"
_MAT = """#Insight Transform File V1.0
#Transform 0
Transform: Euler3DTransform_double_3_3
Parameters: 0 0 0 {x} 0 0
FixedParameters: 0 0 0 0
"""


@dataclass
class Tree:
    """A dataset and its derivatives; every image has its own noise."""

    bids: Path
    output: Path
    shape: tuple[int, int, int] = (6, 7, 5)
    _images: int = 0
    _people: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, root: Path, **words: Any) -> Tree:
        """A new one; the folders `bids` and `out`, and the file `key`."""
        tree = cls(root / "bids", root / "out", **words)
        tree.bids.mkdir(parents=True)
        (root / "key").write_text(KEY)
        (tree.bids / "dataset_description.json").write_text('{"Name": "a test", "BIDSVersion": "1.10.0"}')
        return tree

    def people(self, rows: Mapping[str, tuple[str, str]]) -> None:
        """The derivatives' table of participants: age and sex."""
        lines = ["participant_id\tage\tsex", *(f"sub-{name}\t{age}\t{sex}" for name, (age, sex) in rows.items())]
        (self.output / "participants.tsv").write_text("\n".join(lines) + "\n")

    def study(
        self, subject: str, session: str | None = None, contrasts: Sequence[str] = ("T1w", "FLAIR"), *,
        face_check: str | None = "passed", date: str = "", sidecar: Mapping[str, Any] | None = None,
        segmented: bool = True, planes: Mapping[str, str] | None = None, image: Any = None,
    ) -> None:  # fmt: skip
        """A finished session of these contrasts (with entities, `acq-x_T1w`); the first is the reference."""
        stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
        folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat")
        tasks: dict[str, Any] = {}
        rows = []
        reference = contrasts[0].rpartition("_")[2]
        for number, contrast in enumerate(contrasts, 1):
            name, suffix = f"{stem}_{contrast}", contrast.rpartition("_")[2]
            entities = name.removesuffix(suffix)
            raw = {"SeriesNumber": number + 1, "EchoTime": 0.003, "Manufacturer": "Siemens", **(sidecar or {})}
            self._raw(folder, name, raw, date, number)
            is_reference = number == 1
            add = _Task(self, folder, tasks)
            add(f"mask/{name}", {f"{entities}label-brain_desc-{suffix}_mask": self._mask()})
            kept = {"EchoTime": 0.003, "MagneticFieldStrength": 3, "Manufacturer": "Siemens", "Sources": ["bids:raw:x"]}
            mask = {f"mask/{name}": f"mask/{name}"}
            defaced_by = {f"deface/{name}": f"deface/{name}"} if face_check is not None else {}
            if face_check is not None:
                defaced = {
                    f"{entities}label-face_desc-{suffix}_mask": self._mask(),
                    f"{entities}desc-defaced_{suffix}": self._image("int16" if number % 2 else "float32"),
                }
                add(f"deface/{name}", defaced, {"face_check": face_check}, kept, mask)
            preproc = image if image is not None else self._image()
            add(f"bias/{name}", {f"{entities}desc-preproc_{suffix}": preproc}, None, kept, {**mask, **defaced_by})
            if not is_reference:
                add(f"coregister/{name}", {f"{entities}from-{suffix}_to-{reference}_mode-image_xfm": float(number)})
            else:
                add(f"atlas/{name}/{ATLAS}", {f"{entities}from-{suffix}_to-{ATLAS}_mode-image_xfm": -1.0})
                if segmented:
                    add(f"segment/{name}", {f"{entities}seg-synth_desc-{suffix}_dseg": self._labels()})
            for where, space in (("reference", f"space-{reference}"), (f"{ATLAS}_res-1", f"space-{ATLAS}_res-1")):
                found = {f"{entities}{space}_desc-preproc_{suffix}": self._image()}
                add(f"resample/{name}/{where}/preproc", found, None, kept, {f"bias/{name}": f"bias/{name}"})
                if is_reference:
                    masks = {
                        f"{entities}{space}_label-{one}_desc-{suffix}_mask": self._mask() for one in ("brain", "face")
                    }
                    add(f"resample/{name}/{where}/masks", masks)
                    if segmented:
                        labels = {f"{entities}{space}_seg-synth_desc-{suffix}_dseg": self._labels()}
                        add(f"resample/{name}/{where}/segmentation", labels)
            cells = {
                "participant_id": f"sub-{subject}", "session_id": f"ses-{session}" if session else "n/a",
                "series": name, "suffix": suffix, "status": "done", "reference": str(int(is_reference)),
                "shape": "x".join(map(str, self.shape)), "spacing_mm": "1x1.5x5", "fov_mm": "6x10.5x25",
                "plane": (planes or {}).get(contrast, "axial"),
            }  # fmt: skip
            rows.append("\t".join(cells.get(column, "n/a") for column in COLUMNS))
        table = self.output / folder.parent / f"{stem}_series.tsv"
        table.write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n")
        path = manifest_path(self.output, subject, session)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, "inputs": {}, "tasks": tasks}))

    def _raw(self, folder: Path, name: str, sidecar: Mapping[str, Any], date: str, number: int) -> None:
        """The raw sidecar, and a file in the place of the image: an export must not read it."""
        (self.bids / folder).mkdir(parents=True, exist_ok=True)
        (self.bids / folder / f"{name}.nii.gz").write_bytes(b"a face")
        (self.bids / folder / f"{name}.json").write_text(json.dumps(sidecar))
        if date:
            stem = "_".join(folder.parts[:-1])
            scans = self.bids / folder.parent / f"{stem}_scans.tsv"
            header = "filename\tacq_time\n" if number == 1 else ""
            with scans.open("w" if number == 1 else "a") as file:
                file.write(f"{header}anat/{name}.nii.gz\t{date}\n")

    def _noise(self) -> Any:
        self._images += 1
        return np.random.default_rng(self._images)

    def _image(self, dtype: str = "float32") -> Any:
        noise = self._noise()
        voxels = noise.integers(0, 2000, self.shape) if dtype == "int16" else noise.normal(500, 100, self.shape)
        return new_image(voxels.astype(dtype), self.affine())

    def _mask(self) -> Any:
        return new_image(self._noise().integers(0, 2, self.shape).astype(np.uint8), self.affine())

    def _labels(self) -> Any:
        return new_image(self._noise().integers(0, 4, self.shape).astype(np.uint8), self.affine())

    def affine(self) -> Any:
        """The grid of all images: LAS, voxels of 1 x 1.5 x 5 mm."""
        affine = np.diag([-1.0, 1.5, 5.0, 1.0])
        affine[:3, 3] = (3, -5, -12)
        return affine


@dataclass(frozen=True)
class _Task:
    """Adds finished tasks to a manifest, and writes their files."""

    tree: Tree
    folder: Path
    tasks: dict[str, Any]

    def __call__(
        self, name: str, made: Mapping[str, Any], facts: Mapping[str, Any] | None = None,
        sidecar: Mapping[str, Any] | None = None, parents: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        files = []
        for stem, content in made.items():
            for extension, data in self._contents(stem, content, sidecar or {}):
                path = self.folder / f"{stem}{extension}"
                (self.tree.output / self.folder).mkdir(parents=True, exist_ok=True)
                (self.tree.output / path).write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                files.append({"path": path.as_posix(), "sha256": digest, "size": len(data)})
        self.tasks[name] = {"key": name, "parents": dict(parents or {}), "files": files, "facts": dict(facts or {})}

    def _contents(self, stem: str, content: Any, sidecar: Mapping[str, Any]) -> list[tuple[str, bytes]]:
        if isinstance(content, float):
            return [(".mat", _MAT.format(x=content).encode()), (".json", b"{}")]
        result = [(".nii.gz", image_bytes(content)), (".json", json.dumps(sidecar).encode())]
        if stem.endswith("_dseg"):
            rows = ["index\tname", "1\twhite matter", "2\tgrey matter", "3\tCSF"]
            result.append((".tsv", ("\n".join(rows) + "\n").encode()))
        return result


def load(path: Path) -> Any:
    """An image with its voxels in memory."""
    image: Any = nib.load(path)
    return nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
