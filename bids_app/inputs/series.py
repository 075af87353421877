"""A series (one image file with its sidecar), a session (the series of one visit), and their BIDS names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

#: Entities that a structural or diffusion image may carry: BIDS short key -> long name (that pybids and filter files
#: use), in the order in which BIDS 1.10 wants them in a file name.
ENTITY_NAMES: Mapping[str, str] = {
    "sub": "subject",
    "ses": "session",
    "sample": "sample",
    "task": "task",
    "acq": "acquisition",
    "nuc": "nucleus",
    "voi": "volume",
    "ce": "ceagent",
    "trc": "tracer",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "mod": "modality",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "chunk": "chunk",
}
#: What BIDS takes for a label.
LABEL = re.compile(r"[A-Za-z0-9+]+")
_ENTITY = re.compile(r"([a-z]+)-([a-zA-Z0-9+]+)", re.ASCII)
_SUFFIX = re.compile(r"[a-zA-Z0-9]+", re.ASCII)
_INDEX_ENTITIES = frozenset({"run", "echo", "flip", "inv", "chunk"})
#: Names that contrasts have in the wild, and ours.
_CONTRAST_OF_SUFFIX: Mapping[str, str] = {
    "swi": "SWI", "SWI": "SWI", "SWAN": "SWI", "PD": "PDw", "T2star": "T2starw", "TOF": "angio", "MRA": "angio",
}  # fmt: skip
#: Names of susceptibility-weighted imaging and of the makers' sequences for it (Siemens, GE, Philips).
_SWI_NAMES = re.compile(r"swi|swan|venobold|ven_bold", re.I)
#: Suffixes of gradient-echo images of which a susceptibility-weighted one may be made known by `acq-` or `rec-` only.
GRADIENT_ECHO = frozenset({"T2starw", "T2star", "GRE", "FLASH"})

#: Why a series is rejected that would perhaps be processed without `--bids-filter-file`.
LEFT_OUT_BY_FILTER = "left out by the BIDS filter"


class BadNameError(ValueError):
    """A file name that BIDS does not allow; the message says which part of it."""


@dataclass(frozen=True)
class Header:
    """What the header of an image says, before a voxel is read; axes are those of the file."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    orientation: str  # where the axes point to, such as "LAS"
    plane: str  # "axial", "sagittal", "coronal" or "oblique"
    fov_mm: tuple[float, float, float]
    dtype: str
    warnings: tuple[str, ...] = ()  # what is odd about its orientation and does not stop it
    affine: tuple[float, ...] = ()  # voxels to RAS+ mm, the upper three rows one after another


@dataclass(frozen=True)
class Diffusion:
    """What a diffusion image is in its group, the images of one acquisition.

    Attributes
    ----------
    role
        b0 (without diffusion weighting), trace (weighted, mean over directions), adc (apparent diffusion coefficient).
    leader
        Name of the series whose mask, face and transform it takes; its own where it leads, empty where nothing leads.
    b_value
        In s/mm^2; None where nothing tells it. Of a b0 image what weighting it has nevertheless.
    volumes, weights
        The volumes of a 4-D file that make the image, and the weights of their logarithms in a trace.
    made_of
        b0 and trace that an ADC is computed from; empty for the scanner's own.
    """

    role: Literal["b0", "trace", "adc"]
    leader: str = ""
    b_value: float | None = None
    volumes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    made_of: tuple[Series, ...] = ()


@dataclass(frozen=True)
class Series:
    """One image file of a session, with its sidecar, header and the decision about it."""

    path: Path
    relative: str  # posix, relative to the dataset root; what cannot be printed is written as an escape
    entities: tuple[tuple[str, str], ...]  # BIDS short keys, in file name order
    suffix: str
    datatype: str
    extension: str
    metadata: Mapping[str, Any] = field(default_factory=dict)  # the sidecar, inheritance applied
    header: Header | None = None
    rejection: str | None = None  # None: accepted; else the reason, in words for a user
    unreadable: bool = False  # rejected because the file is broken: something to mend, not a choice
    warnings: tuple[str, ...] = ()  # what is odd about its sidecar, name or header and does not stop it
    title: str = ""  # its name, where that is not the file's: one of the images that a diffusion file holds
    diffusion: Diffusion | None = None
    doubts: tuple[str, ...] = ()  # what of its sidecar contradicts its suffix; for the series table

    @cached_property
    def name(self) -> str:
        """The file name without its extension."""
        return self.title or printable(self.path.name.removesuffix(self.extension))

    @property
    def follows(self) -> bool:
        """Whether it takes its mask, face and transform from another series of its diffusion group."""
        return self.diffusion is not None and self.diffusion.leader not in ("", self.name)

    @property
    def files(self) -> tuple[str, ...]:
        """The files, relative to the dataset, that its image is made from."""
        parts = self.diffusion.made_of if self.diffusion else ()
        return tuple(dict.fromkeys(file for part in parts for file in part.files)) or (self.relative,)

    @property
    def accepted(self) -> bool:
        """Whether the series is processed."""
        return self.rejection is None

    @property
    def filtered(self) -> bool:
        """Whether the BIDS filter left it out; its name is good, its header and content were not looked at."""
        return self.rejection == LEFT_OUT_BY_FILTER

    def entity(self, key: str) -> str | None:
        """The value of an entity by its BIDS short key (`"run"`), or None."""
        return dict(self.entities).get(key)

    @property
    def contrast(self) -> str:
        """The contrast: the suffix, with the names that SWI, PDw and T2starw have in the wild made one."""
        if self.suffix in GRADIENT_ECHO and names_swi(self.entities):
            return "SWI"
        return _CONTRAST_OF_SUFFIX.get(self.suffix, self.suffix)

    @property
    def contrast_agent(self) -> bool:
        """Whether a contrast agent was given: `ce-`, or the sidecar's `ContrastBolusIngredient`."""
        if self.entity("ce"):
            return True
        ingredient = self.metadata.get("ContrastBolusIngredient")
        return isinstance(ingredient, str) and ingredient.strip().lower() not in ("", "none", "no", "n/a")

    @property
    def run(self) -> int:
        """The number of the run; 0 where the name has none."""
        value = self.entity("run") or "0"
        return int(value) if value.isdigit() else 0


@dataclass(frozen=True)
class LesionMask:
    """A lesion mask and the series that it was drawn on.

    Attributes
    ----------
    relative
        Below the dataset's root, or `lesion:` and a number where it lies elsewhere or its name says more than entities.
    series
        Name of the series.
    """

    path: Path
    relative: str
    series: str


@dataclass(frozen=True)
class Session:
    """The series of one visit of one participant; `session` is None where the dataset has no `ses-`."""

    subject: str
    session: str | None
    series: tuple[Series, ...]
    rejected: tuple[Series, ...]
    lesions: tuple[LesionMask, ...] = ()

    @property
    def label(self) -> str:
        """`sub-01_ses-1`, or `sub-01` without sessions."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session is not None else "")


@dataclass(frozen=True)
class ParsedName:
    """The parts of a BIDS file name."""

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str


def names_swi(entities: tuple[tuple[str, str], ...]) -> bool:
    """Whether `acq-` or `rec-` says that a gradient-echo image is susceptibility-weighted."""
    return any(key in ("acq", "rec") and _SWI_NAMES.search(value) for key, value in entities)


def printable(text: str) -> str:
    """A file's name as it can be shown and stored: bytes that are no UTF-8 and control characters become escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def split_extension(file_name: str) -> tuple[str, str]:
    """The name and the extension of an image or sidecar file; `.nii.gz` is one extension."""
    for extension in (".nii.gz", ".nii", ".json"):
        if file_name.endswith(extension):
            return file_name.removesuffix(extension), extension
    stem, dot, extension = file_name.partition(".")
    return stem, dot + extension


def parse_entities(stem: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """The entities and the suffix of a BIDS name without its extension; a sidecar may have no entity at all.

    Raises
    ------
    BadNameError
        A part is not `key-value`, a key is unknown or there twice, an index is not a number, or no suffix.
    """
    *parts, suffix = stem.split("_")
    entities: list[tuple[str, str]] = []
    for part in parts:
        match = _ENTITY.fullmatch(part)
        if match is None:
            raise BadNameError(f"'{part}' in its name is not a key-value pair of letters and digits")
        key, value = match.groups()
        if key not in ENTITY_NAMES:
            raise BadNameError(f"'{key}-' in its name is not an entity that BIDS knows for MRI")
        if key in dict(entities):
            raise BadNameError(f"'{key}-' is in its name twice")
        if key in _INDEX_ENTITIES and not value.isdigit():
            raise BadNameError(f"'{part}' in its name must be a number")
        entities.append((key, value))
    if _SUFFIX.fullmatch(suffix) is None:
        raise BadNameError("its name does not end in a suffix such as _T1w")
    return tuple(entities), suffix


def parse_name(file_name: str, subject: str, session: str | None) -> ParsedName:
    """The parts of an image's file name, checked against the folders that it lies in.

    Raises
    ------
    BadNameError
        Not a BIDS name, or one of another participant or session.
    """
    stem, extension = split_extension(file_name)
    entities, suffix = parse_entities(stem)
    found = dict(entities)
    if not entities or entities[0][0] != "sub":
        raise BadNameError(f"its name does not begin with sub-{subject}")
    if found["sub"] != subject:
        raise BadNameError(f"it is named for sub-{found['sub']} and lies in the folder of sub-{subject}")
    if found.get("ses") != session:
        where = f"the folder of ses-{session}" if session is not None else "a folder without ses-"
        named = f"for ses-{found['ses']}" if "ses" in found else "without ses-"
        raise BadNameError(f"it is named {named} and lies in {where}")
    return ParsedName(entities, suffix, extension)


def in_bids_order(entities: tuple[tuple[str, str], ...]) -> bool:
    """Whether the entities stand in the order that BIDS wants."""
    order = list(ENTITY_NAMES)
    places = [order.index(key) for key, _ in entities]
    return places == sorted(places)
