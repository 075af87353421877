"""What an export does: one frozen object beside `Settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

Format = Literal["mr-rate", "slices", "webdataset", "nnunet"]
Plane = Literal["acquisition", "axial", "coronal", "sagittal"]

FORMATS: tuple[str, ...] = get_args(Format)
PLANES: tuple[str, ...] = get_args(Plane)
SPLITS = ("train", "val", "test")
#: `[CONTRAST@]SPACE[:res-LABEL]/DESC`, such as `atlas/brainzscore`, `T1w@native/preproc`, `MNI152:res-2/brain`
#: (the first form takes every contrast that there is); `T1w+ce` is T1w with contrast agent, which T1w alone is not.
_IMAGE = re.compile(
    r"(?:(?P<contrast>[A-Za-z0-9]+(?:\+ce)?)@)?(?P<space>[A-Za-z0-9]+)(?::res-(?P<res>[A-Za-z0-9]+))?/(?P<desc>[A-Za-z0-9]+)"
)
#: Images that each format takes where nothing else is said: MRI-CORE's slices are of images as scanned; a network of
#: several channels needs them on one grid.
DEFAULT_IMAGES = {
    "mr-rate": ("native/defaced", "reference/preproc", "atlas/preproc"),
    "slices": ("native/preproc",),
    "webdataset": ("atlas/preproc",),
    "nnunet": ("atlas/preproc",),
}
#: The options that shape the files of a format, beside those of all.
_SHAPING: Mapping[str, tuple[str, ...]] = {
    "mr-rate": ("batch_studies",),
    "slices": ("planes", "png_bits", "png_scale", "png_square", "png_size"),
    "webdataset": ("shard_mb",),
    "nnunet": ("dataset_id",),
}


@dataclass(frozen=True)
class Wanted:
    """A kind of image: the space (native, isotropic, reference, atlas, or a space's name), its `desc-`, and perhaps
    one contrast and one resolution."""

    space: str
    desc: str
    res: str | None = None
    contrast: str | None = None

    def __str__(self) -> str:
        contrast = f"{self.contrast}@" if self.contrast else ""
        return f"{contrast}{self.space}" + (f":res-{self.res}" if self.res else "") + f"/{self.desc}"


def parse_wanted(text: str) -> Wanted:
    """A kind of image from its words.

    Raises
    ------
    ValueError
        They are none.
    """
    found = _IMAGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no kind of image; write SPACE/DESC, such as native/preproc or atlas/brainzscore")
    return Wanted(found["space"], found["desc"], found["res"], found["contrast"])


@dataclass(frozen=True)
class ExportSettings:
    """All choices of an export; see the command line's help for what each means."""

    format: Format
    export_dir: Path
    export_key: Path | None = None
    export_images: tuple[str, ...] = ()
    export_label: str | None = None
    split: tuple[float, ...] = (0.8, 0.1, 0.1)
    stratify: tuple[str, ...] = ()
    batch_studies: int = 3500
    planes: tuple[str, ...] = ("acquisition",)
    png_bits: int = 8
    png_scale: Literal["slice", "volume"] = "slice"
    png_square: bool = False
    png_size: int | None = None
    shard_mb: float = 1000.0
    dataset_id: int = 1
    embed: Path | None = None
    embed_size: int | None = None
    embed_batch: int = 8
    embed_format: Literal["parquet", "zarr"] = "parquet"
    probe: tuple[str, ...] = ()
    kmeans: tuple[int, ...] = ()

    def wanted(self) -> tuple[Wanted, ...]:
        """The kinds of images to export."""
        return tuple(parse_wanted(text) for text in self.export_images or DEFAULT_IMAGES.get(self.format, ()))

    def three_images(self) -> tuple[Wanted, Wanted, Wanted]:
        """For MR-RATE's layout: the images in native space, on the reference's grid and in the atlas.

        Raises
        ------
        ValueError
            They are no such three.
        """
        native, reference, *atlas = self.wanted()
        if (native.space, reference.space) != ("native", "reference") or len(atlas) != 1:
            raise ValueError("three kinds of images are needed: native/…, reference/… and atlas/…, in this order")
        return native, reference, atlas[0]

    def public(self) -> dict[str, Any]:
        """What shapes the files, as JSON can hold it; paths of this machine and how fast it goes are left out."""
        names = ("format", "export_images", "export_label", "split", "stratify", *_SHAPING[self.format])
        values = {name: getattr(self, name) for name in names}
        values["export_images"] = [str(one) for one in self.wanted()]
        return {name: list(one) if isinstance(one, tuple) else one for name, one in values.items()}


#: Names of all options of an export in a parser's namespace.
EXPORT_OPTIONS = tuple(one.name for one in fields(ExportSettings))
