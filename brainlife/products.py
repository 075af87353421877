"""brainlife's outputs from those of bids_app: a folder for each dataset, by its datatype, and product.json.

In the container: python products.py OUTPUT EXIT_CODE < LOG

| folder | file | what |
|---|---|---|
| `t1w`, `t2w`, `flair` | `t1.nii.gz`, … | defaced, bias-corrected, on the grid of the session's reference |
| `t1w_atlas`, … | the same | the same in the first atlas space |
| `mask`, `mask_atlas` | `mask.nii.gz` | brain mask of the reference |
| `output` | | all that bids_app wrote, a BIDS derivative |

A second image of a kind goes to `t1w_2`, `t1w_2_atlas` and so on, in the order of the inputs.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

#: Folder and file of brainlife's datatypes (neuro/anat/t1w, …) by the suffix of BIDS.
DATATYPES = {"T1w": ("t1w", "t1.nii.gz"), "T2w": ("t2w", "t2.nii.gz"), "FLAIR": ("flair", "flair.nii.gz")}
#: product.json is to be a few kB: one picture, this high, in so many greys.
PICTURE_HEIGHT, GREYS = 88, 12
#: So much of a message is shown.
MESSAGE_LENGTH = 300


def main(output: Path, code: int, log: str) -> None:
    """Make the folders and product.json in the current folder."""
    rows = [row for table in sorted(output.glob("sub-*/**/*_series.tsv")) for row in _rows(table)]
    counts: dict[str, int] = {}
    items: list[dict[str, Any]] = []
    for row in rows:
        if row["status"] != "done":
            items.append(_message("warning", f"{row['series']}: {row['status']}: {row['reason']}"))
        if row["suffix"] in DATATYPES:  # also of one that failed: a number is that of the input
            counts[row["suffix"]] = counts.get(row["suffix"], 0) + 1
            _datasets(output, row, counts[row["suffix"]])
    reference = next((row for row in rows if row["reference"] == "1"), None)
    if reference is not None:
        items += _masks(output, reference)
    done = sum(row["status"] == "done" for row in rows)
    if code == 0:
        items.insert(0, _message("success", f"{done} of {len(rows)} images processed"))
    else:
        told = [line for line in log.splitlines() if line.startswith(("Failed:", "bids_app:"))] or log.splitlines()[-1:]
        items[:0] = [_message("error", line) for line in told or ["bids_app ended without a word"]]
    product = {"brainlife": items, "meta": {"images": len(rows), "done": done}}
    Path("product.json").write_text(json.dumps(product, indent=1) + "\n", encoding="utf-8")


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _message(kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, "msg": text[:MESSAGE_LENGTH]}


def _find(output: Path, prefix: str, space: str, rest: str) -> Path | None:
    """The product of a series in an atlas space or, with `space` empty, on the reference's grid."""
    found = sorted(output.glob(f"sub-*/**/{prefix}_space-*{rest}"))
    is_atlas = [path for path in found if "_res-" in path.name.split("_space-")[1].split("_desc-")[0]]
    chosen = is_atlas if space == "atlas" else [path for path in found if path not in is_atlas]
    return chosen[0] if chosen else None


def _datasets(output: Path, row: dict[str, str], number: int) -> None:
    """The folders of one image."""
    folder, file = DATATYPES[row["suffix"]]
    prefix = row["series"].removesuffix(f"_{row['suffix']}")
    for space in ("", "atlas"):
        source = _find(output, prefix, space, f"_desc-preproc_{row['suffix']}.nii.gz")
        if source is not None:
            name = "_".join([folder, *([str(number)] if number > 1 else []), *([space] if space else [])])
            _copy(source, Path(name) / file)


def _masks(output: Path, reference: dict[str, str]) -> list[dict[str, Any]]:
    """The folders of the reference's brain mask, and its picture."""
    suffix = reference["suffix"]
    prefix = reference["series"].removesuffix(f"_{suffix}")
    for space, folder in (("", "mask"), ("atlas", "mask_atlas")):
        source = _find(output, prefix, space, f"_label-brain_desc-{suffix}_mask.nii.gz")
        if source is not None:
            _copy(source, Path(folder) / "mask.nii.gz")
    image = _find(output, prefix, "", f"_desc-preproc_{suffix}.nii.gz")
    if image is None or not Path("mask/mask.nii.gz").is_file():
        return []
    png = picture(nib.load(image), nib.load("mask/mask.nii.gz"))
    told = "The reference, without face and bias field; outlined: its brain mask"
    return [{"type": "image/png", "name": told, "base64": base64.b64encode(png).decode("ascii")}]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)


def picture(image: Any, mask: Any) -> bytes:
    """Three slices through the middle of the mask, in neurological order, with its outline in white: a small PNG."""
    image, mask = nib.as_closest_canonical(image), nib.as_closest_canonical(mask)
    data, inside = np.asarray(image.dataobj, dtype=np.float32), np.asarray(mask.dataobj) > 0
    spacing = image.header.get_zooms()[:3]
    middle = np.round(np.argwhere(inside).mean(axis=0)).astype(int) if inside.any() else np.array(data.shape) // 2
    low, high = np.percentile(data[inside], [1, 99]) if inside.any() else (float(data.min()), float(data.max()))
    grey = np.clip((data - low / 2) / max(high * 1.1 - low / 2, 1e-6), 0, 1) * (GREYS - 2)
    panels = []
    for axis in range(3):
        rows, columns = [other for other in range(3) if other != axis][::-1]
        plane = np.flipud(np.take(grey, middle[axis], axis).T)
        outline = np.flipud(np.take(inside, middle[axis], axis).T)
        width = round(plane.shape[1] * spacing[columns] / (plane.shape[0] * spacing[rows]) * PICTURE_HEIGHT)
        size = (max(width, 1), PICTURE_HEIGHT)
        small = np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX)).round()
        shape = np.asarray(Image.fromarray(outline).resize(size, Image.Resampling.NEAREST))
        core = shape.copy()
        for shift, along in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            core &= np.roll(shape, shift, along)
        panels.append(np.where(shape & ~core, GREYS - 1, small))
    picture = Image.fromarray(np.concatenate(panels, axis=1).astype(np.uint8), mode="P")
    levels = np.linspace(0, 255, GREYS).astype(np.uint8)
    picture.putpalette(np.repeat(levels, 3).tobytes())
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.stdin.read())
