"""A small finished output, made without running any step: what reports are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.outputs.manifest import (
    FileRecord,
    InputRecord,
    TaskRecord,
    manifest_path,
    read_manifest,
    record_inputs,
    record_task,
)
from bids_app.outputs.series_table import COLUMNS
from bids_app.outputs.writer import image_bytes, write_bytes
from bids_app.steps.images import new_image

ATLAS = "MNI152NLin2009aSym_res-8"


def head(shape: Sequence[int] = (24, 28, 24), spacing: Sequence[float] = (8.0, 8.0, 8.0)) -> tuple[Any, Any]:
    """A ball of a brain in a larger ball of a head, and the brain's mask."""
    at = np.stack(
        np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    far = np.sqrt((at**2).sum(axis=0))
    texture = 40 * np.sin(at[0] / 12) + 5 * np.random.default_rng(0).standard_normal(tuple(shape))
    array = np.where(far < 60, 400 + texture, np.where(far < 85, 150.0, 0.0)).astype(np.float32)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(shape) / 2 * np.array(spacing)
    return new_image(array, affine), new_image((far < 60).astype(np.uint8), affine)


class Finished:
    """Writes tasks, tables and logs of one output, as a run leaves them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[tuple[str, str | None], list[dict[str, str]]] = {}
        made_by = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "bids_app"}]}
        write_bytes(root / "dataset_description.json", json.dumps(made_by).encode())
        write_bytes(root / "docs" / "methods.md", b"# Methods\n\nWhat was done [1].\n\n## References\n\n1. A paper.\n")

    def series(
        self, subject: str, session: str | None, suffix: str, *, reference: bool = False, face: str | None = "passed",
        image: Any = None, brain: Any = None, measures: Mapping[str, Any] | None = None,
        sidecar: Mapping[str, Any] | None = None, row: Mapping[str, str] | None = None,
    ) -> str:  # fmt: skip
        """A series of which every step is done; its name."""
        stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
        name = f"{stem}_{suffix}"
        if image is None or brain is None:
            image, brain = head()
        array, affine = np.asarray(image.dataobj), image.affine
        field = np.linspace(0.8, 1.25, array.shape[0], dtype=np.float32)[:, None, None] * np.ones_like(array)
        raw = {f"raw:{name}.nii.gz": "r"}
        where = self._manifest(subject, session)
        record_inputs(where, {**read_manifest(where).inputs, f"{name}.nii.gz": InputRecord("s", "r")})
        self.task(subject, session, f"mask/{name}", {f"{stem}_label-brain_desc-{suffix}_mask": brain}, raw,
                  {"mask_method": "template", "mask_volume_ml": 900.0})  # fmt: skip
        parents = {**raw, f"mask/{name}": f"mask/{name}"}
        if face is not None:
            defaced = {f"{stem}_desc-defaced_{suffix}": new_image(array * field, affine)}
            facts = {"face_check": face, "face_skin_left": 0.0}
            self.task(subject, session, f"deface/{name}", defaced, parents, facts)
            parents = {**parents, f"deface/{name}": f"deface/{name}"}
        made = {f"{stem}_desc-biasfield_{suffix}": new_image(field, affine), f"{stem}_desc-preproc_{suffix}": image}
        self.task(subject, session, f"bias/{name}", made, parents, {"bias_p01": 0.8, "bias_p99": 1.25}, sidecar)
        after = {f"bias/{name}": f"bias/{name}", "reference": "any"}
        for space, label in (("reference", "space-T1w"), (ATLAS, "space-MNI_res-8")):
            images = {f"{stem}_{label}_desc-preproc_{suffix}": image}
            self.task(subject, session, f"resample/{name}/{space}/preproc", images, after)
            if reference:
                masks = {f"{stem}_{label}_label-brain_desc-{suffix}_mask": brain}
                self.task(subject, session, f"resample/{name}/{space}/masks", masks, after)
        z = new_image((array - 400) / 30, affine)
        self.task(subject, session, f"normalize/{name}/brainzscore", {f"{stem}_desc-brainzscore_{suffix}": z}, after)
        self.task(subject, session, f"measure/{name}", {}, after, {"snr_total": 12.5, "cjv": None, **(measures or {})})
        given = {
            "status": "done",
            "reference": str(int(reference)),
            "spacing_mm": "8x8x8",
            "mask_method": "template",
            **(row or {}),
        }
        self.row(subject, session, name, suffix, given)
        return name

    def row(self, subject: str, session: str | None, series: str, suffix: str, cells: Mapping[str, str]) -> None:
        """A row of the session's series table, which is written anew."""
        known = {"participant_id": f"sub-{subject}", "session_id": f"ses-{session}" if session else "n/a"}
        known |= {"series": series, "suffix": suffix, "contrast_agent": "0", "reason": "n/a", "warnings": "n/a"}
        rows = self.rows.setdefault((subject, session), [])
        rows.append({**known, **cells})
        columns = list(COLUMNS)
        lines = ["\t".join(columns), *("\t".join(one.get(key, "n/a") for key in columns) for one in rows)]
        folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []))
        write_bytes(self.root / folder / f"{'_'.join(folder.parts)}_series.tsv", ("\n".join(lines) + "\n").encode())

    def task(
        self, subject: str, session: str | None, name: str, images: Mapping[str, Any], parents: Mapping[str, str],
        facts: Mapping[str, Any] | None = None, sidecar: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """A finished task with its files; its key is its name."""
        folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat")
        files = []
        for stem, image in images.items():
            for path, content in (
                (folder / f"{stem}.nii.gz", image_bytes(image)),
                (folder / f"{stem}.json", json.dumps(dict(sidecar or {})).encode()),
            ):
                files.append(FileRecord(path.as_posix(), write_bytes(self.root / path, content), len(content)))
        record = TaskRecord(name, parents, tuple(files), facts or {})
        record_task(self.root, self._manifest(subject, session), name, record)

    def errors(self, subject: str, session: str | None, text: str) -> None:
        """A session's errors.txt."""
        write_bytes(self._manifest(subject, session).parent / "errors.txt", text.encode())

    def _manifest(self, subject: str, session: str | None) -> Path:
        return manifest_path(self.root, subject, session)


def brain_mask(image: Any) -> NDArray[np.bool_]:
    """The voxels of a mask image."""
    return np.asarray(image.dataobj) > 0
