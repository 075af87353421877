"""The volumes of a session, `sub-01[_ses-1]_volumes.tsv`, with their data dictionary beside it.

One row a structure, of the session's reference: brain and intracranial space, tissue, what `synth` labels, and whatever
else a task of the reference leaves as its fact `volumes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bids_app.inputs.reference import Reference
from bids_app.inputs.series import Session
from bids_app.outputs.manifest import Manifest
from bids_app.outputs.names import session_folder
from bids_app.outputs.writer import json_bytes, write_if_changed

#: Volumes of adults in ml, in round numbers, to tell the impossible from the unusual: young women's to old men's. They
#: hold for both hemispheres together.
TYPICAL_ML: dict[str, tuple[float, float]] = {
    "intracranial": (1150, 1850), "brain": (900, 1800), "GM": (500, 850), "WM": (380, 680), "CSF": (100, 500),
    "lateral ventricle": (5, 70),
}  # fmt: skip

VOLUME_COLUMNS: dict[str, dict[str, Any]] = {
    "series": {"Description": "The session's reference, which the volumes are of.", "Format": "string"},
    "method": {
        "Description": "How the structure was delineated.",
        "Format": "string",
        "Levels": {
            "mask": "voxels of the brain mask, or of the mask of the space inside the skull",
            "tissue": "sums of the maps of tissue: a voxel counts with its share",
            "synth": "voxels of the labels in seg-synth",
        },
    },
    "structure": {
        "Description": "Name of the structure; GM, WM and CSF are grey matter, white matter and cerebrospinal fluid "
        "of the whole brain. Typical volumes of adults, both sides together, in round numbers: "
        + ", ".join(f"{name} {low:g} to {high:g} mL" for name, (low, high) in TYPICAL_ML.items()) + ".",
        "Format": "string",
    },
    "hemisphere": {"Description": "Side of the structure.", "Format": "string",
                   "Levels": {side: side for side in ("left", "right", "both")}},
    "volume_ml": {"Description": "Volume.", "Units": "mL", "Format": "number"},
    "intracranial_share": {
        "Description": "Volume over that of the space inside the skull (method mask, structure intracranial): a volume "
        "corrected in proportion to the head. Residuals, which are the better correction, are in group_volumes.tsv.",
        "Format": "number",
    },
}  # fmt: skip


def write_volumes_table(
    session: Session, reference: Reference | None, manifest: Manifest, output: Path
) -> tuple[tuple[str, bytes | None], tuple[str, bytes | None]]:
    """Write a session's table and its dictionary; their paths in the output and contents, None where there is none."""
    path = output / session_folder(session.subject, session.session) / f"{session.label}_volumes.tsv"
    name = reference.series.name if reference else ""
    rows = list(_rows(name, manifest)) if f"segment/{name}" in manifest.tasks else []
    head = next((row["volume_ml"] for row in rows if row["structure"] == "intracranial"), None)
    table: bytes | None = None
    dictionary: bytes | None = None
    if rows:
        lines = ["\t".join(VOLUME_COLUMNS)]
        for row in rows:
            share = f"{row['volume_ml'] / head:.5f}" if head else "n/a"
            cells = [name, row["method"], row["structure"], row["hemisphere"], f"{row['volume_ml']:.3f}", share]
            lines.append("\t".join(cells))
        table = ("\n".join(lines) + "\n").encode()
        tissue = manifest.tasks.get(f"segment/{name}/tissue")
        gate = tissue.facts.get("tissue_gate") if tissue else None
        dictionary = json_bytes({**VOLUME_COLUMNS, **({"NoTissueSegmentation": gate} if gate else {})})
    written = ((path, table), (path.with_suffix(".json"), dictionary))
    for where, content in written:
        if content is None:
            where.unlink(missing_ok=True)
        else:
            write_if_changed(where, content)
    first, second = ((where.relative_to(output).as_posix(), content) for where, content in written)
    return first, second


def _rows(series: str, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Every volume of a series; what was measured in several spaces is told once."""
    facts = {name: task.facts for name, task in manifest.tasks.items() if name.split("/")[1] == series}
    mask, synth = facts.get(f"mask/{series}", {}), facts.get(f"segment/{series}", {})
    inside = synth.get("intracranial_ml", mask.get("intracranial_ml"))
    for structure, volume in (("intracranial", inside), ("brain", mask.get("mask_volume_ml"))):
        if volume is not None:
            yield {"method": "mask", "structure": structure, "hemisphere": "both", "volume_ml": volume}
    told = set()
    for name in sorted(facts):
        for row in facts[name].get("volumes", ()):
            what = (row["method"], row["structure"], row["hemisphere"])
            if what not in told:
                told.add(what)
                yield row
    for label, volume in synth.get("tissue_ml", {}).items():
        side, _, rest = label.replace("_", " ").partition(" ")
        sided = side in ("left", "right")
        structure = rest if sided else label.replace("_", " ")
        hemisphere = side if sided else "both"
        yield {"method": "synth", "structure": structure, "hemisphere": hemisphere, "volume_ml": volume}
