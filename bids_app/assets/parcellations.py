"""Parcellations: a label image in the space of an atlas, and the table of its regions."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.assets.fetching import AssetError, user_home
from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.steps.images import Image, ImageError, grid_affine, new_image
from bids_app.steps.regions import Hemisphere, Region, hemisphere_of

_SPEC = re.compile(r"(?P<atlas>[A-Za-z0-9]+)(:desc-(?P<desc>[A-Za-z0-9]+))?")
#: A line of FreeSurfer's colour tables: index, name, red, green, blue, alpha.
_LUT_LINE = re.compile(r"\s*(\d+)\s+(\S+)(\s+\d+){3,4}\s*")
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Parcellation:
    """A parcellation at hand.

    Attributes
    ----------
    name
        Value of `seg-` in the names of what is made with it.
    image
        The label image.
    regions
        What the table says, in its order, background left out.
    space
        Label of the atlas' space that it is in (`space-` or `tpl-` in its name); None where the name does not say.
    content
        Hash of image and table.
    source
        What sidecars call it: nothing of this machine.
    """

    name: str
    image: Path
    regions: tuple[Region, ...]
    space: str | None
    content: str
    source: str


def find_parcellation(spec: str, spaces: list[str], home: Path, templateflow_home: Path | None) -> Parcellation:
    """Find a parcellation on this machine; nothing is fetched.

    Parameters
    ----------
    spec
        The path of a label image, its table beside it (`read_regions`), or the name of an atlas in TemplateFlow,
        `Schaefer2018:desc-100Parcels7Networks`, looked for in the templates of `spaces`, the first one first.
    spaces
        Names of the spaces that the reference is brought to.

    Raises
    ------
    AssetError
        Code 66: not at hand, or no table; 64: not a name, or a table or an image that makes no sense.
    """
    if spec.endswith((".nii", ".nii.gz")) or "/" in spec:
        return _loaded(Path(spec))
    named = _SPEC.fullmatch(spec)
    if named is None:
        raise AssetError(f"--parcellation {spec}: write the path of a label image, or ATLAS[:desc-X]", USAGE)
    roots = [templateflow_home, home / "templateflow"]
    if (user := user_home()) is not None:
        roots.append(user / ".cache" / "templateflow")
    for space in spaces:
        for root in roots:
            found = templateflow_parcellation(root, space, named["atlas"], named["desc"]) if root else None
            if found is not None:
                return _loaded(found)
    where = " or ".join(f"tpl-{space}" for space in spaces) or "any template"
    raise AssetError(
        f"--parcellation {spec}: TemplateFlow's {where} on this machine has no such atlas; fetch it with `bids_app "
        f"fetch SPACE:atlas-{spec}`, SPACE being one of --output-spaces that TemplateFlow has it for, or give the path "
        "of a label image",
        NO_INPUT,
    )


def templateflow_parcellation(
    root: Path, space: str, atlas: str, desc: str | None, *, with_empty: bool = False
) -> Path | None:
    """The finest label image of an atlas in a TemplateFlow home; None: not there. `with_empty` as in
    `templateflow_space`."""
    folder = root / f"tpl-{space}"
    entity = f"_desc-{desc}" if desc else ""
    pattern = re.compile(rf"tpl-{space}(_res-0*(\d+))?_atlas-{atlas}{entity}_dseg\.nii(\.gz)?")
    found = []
    for path in sorted(folder.glob(f"*_atlas-{atlas}*_dseg.nii*")):
        match = pattern.fullmatch(path.name)
        if match and path.is_file() and (with_empty or path.stat().st_size > 0):
            found.append((int(match[2] or 0), path))
    return min(found)[1] if found else None


def load_parcellation(parcellation: Parcellation) -> Image:
    """The label image (int32), on its own grid.

    Raises
    ------
    AssetError
        It cannot be read, is not three-dimensional, or holds something else than whole numbers from 0 on.
    """
    path = parcellation.image
    try:
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
        affine = grid_affine(image)
    except ImageError as error:
        raise AssetError(f"{path}: {error}") from error
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise AssetError(f"{path}: cannot be read as an image ({error})") from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise AssetError(f"{path}: its shape is {array.shape}; one three-dimensional label image is needed", USAGE)
    with np.errstate(invalid="ignore"):
        whole = np.rint(array)
    if not np.array_equal(whole, array) or array.min() < 0 or array.max() > _LARGEST:
        raise AssetError(f"{path}: not a label image: its voxels are not all whole numbers from 0 on", USAGE)
    return new_image(whole.astype(np.int32), affine)


def read_regions(image: Path) -> tuple[tuple[Region, ...], bytes]:
    """The table of a label image's regions, and its bytes.

    It lies beside the image under its name as `.tsv`, or without the `res-` of the image (as in TemplateFlow): columns
    `index` and `name`, perhaps `hemisphere` (BIDS derivatives, "Common image-derived labels"; tab, or comma as `.csv`).
    Or as `.txt` or `.lut`: a colour table of FreeSurfer (index, name, red, green, blue, alpha).

    Raises
    ------
    AssetError
        Code 66: there is none; 64: it cannot be understood.
    """
    stem = re.sub(r"\.nii(\.gz)?$", "", image.name)
    stems = dict.fromkeys((stem, re.sub(r"_res-[A-Za-z0-9]+", "", stem)))
    names = [f"{one}{extension}" for one in stems for extension in (".tsv", ".csv", ".txt", ".lut")]
    path = next((image.with_name(name) for name in names if image.with_name(name).is_file()), None)
    if path is None:
        raise AssetError(
            f"{image}: there is no table of its labels; put {stem}.tsv with the columns index and name beside it",
            NO_INPUT,
        )
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f"{path}: cannot be read ({error})") from error
    regions = _lut(text) if path.suffix in (".txt", ".lut") else _table(path, text)
    kept = tuple(region for region in regions if region.index != 0)
    if not kept:
        raise AssetError(f"{path}: no region is in it", USAGE)
    indices = [region.index for region in kept]
    if twice := sorted({one for one in indices if indices.count(one) > 1}):
        raise AssetError(f"{path}: the index {twice[0]} stands for more than one region", USAGE)
    return kept, content


def _table(path: Path, text: str) -> list[Region]:
    rows = csv.DictReader(io.StringIO(text), delimiter="," if path.suffix == ".csv" else "\t")
    columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    if "index" not in columns or not {"name", "label"} & set(columns):
        raise AssetError(f"{path}: its columns are {', '.join(columns) or 'none'}; index and name are needed", USAGE)
    named, side = columns.get("name") or columns["label"], columns.get("hemisphere") or columns.get("hemi")
    result = []
    for number, row in enumerate(rows, start=2):
        index, name = (row[columns["index"]] or "").strip(), _clean(row[named] or "")
        if not re.fullmatch(r"[0-9]+(\.0+)?", index) or not name:
            raise AssetError(f"{path}, line {number}: a whole number from 0 on and a name are needed", USAGE)
        result.append(Region(int(float(index)), name, _side((row[side] or "") if side else "", name)))
    return result


def _lut(text: str) -> list[Region]:
    found = [match for line in text.splitlines() if (match := _LUT_LINE.fullmatch(line))]
    return [Region(int(match[1]), _clean(match[2]), hemisphere_of(match[2])) for match in found]


def _side(said: str, name: str) -> Hemisphere | None:
    return hemisphere_of(said) if said.strip() else hemisphere_of(name)


def _clean(name: str) -> str:
    """A name as a cell of a table can hold it."""
    return " ".join(name.split())


def _loaded(image: Path) -> Parcellation:
    if not image.is_file():
        raise AssetError(f"--parcellation {image}: there is no such image", NO_INPUT)
    stem = re.sub(r"\.nii(\.gz)?$", "", image.name)
    if stem == image.name:
        raise AssetError(f"--parcellation {image}: not a .nii or .nii.gz image", USAGE)
    regions, table = read_regions(image)
    entities = dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9]+)", stem))
    parts = [entities.get(key, "") for key in ("atlas", "seg", "desc") if entities.get(key)]
    name = re.sub(r"[^A-Za-z0-9]", "", "".join(parts) or re.sub(r"_dseg$", "", stem))
    if not name:
        raise AssetError(f"--parcellation {image}: its name has no letter or digit to call it by", USAGE)
    content = hashlib.sha256(image.read_bytes() + b"\0" + table).hexdigest()
    space = entities.get("tpl") or entities.get("space")
    found = Parcellation(name, image, regions, space, content, image.name)
    labels = np.unique(np.asanyarray(load_parcellation(found).dataobj))
    if not set(labels.tolist()) & {region.index for region in regions}:
        raise AssetError(f"--parcellation {image}: none of its labels is in its table", USAGE)
    return found
