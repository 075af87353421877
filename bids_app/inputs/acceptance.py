"""Which series are processed, and in which words the others are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bids_app.inputs.diffusion_roles import DIFFUSION_SUFFIXES, diffusion_name_rejection
from bids_app.inputs.series import GRADIENT_ECHO, Header, ParsedName, Series, names_swi

Rule = Literal["lenient", "mr-rate"]

#: Suffixes that are processed. PD and T2star are the names that PDw and T2starw had before BIDS 1.5.
#: FLASH is one that says no contrast (deprecated, too); SWAN, TOF and MRA were never suffixes and are in use.
ACCEPTED_SUFFIXES = frozenset(
    {"T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "swi", "SWI", "angio", "PD", "T2star", "FLASH"}
    | {"SWAN", "TOF", "MRA"}
)
_MAP = "a quantitative map, not an image as acquired"
_COLLECTION = "one of a set of images for a quantitative map, not processed"
#: Structural relatives that are refused, and why.
_REFUSED_SUFFIXES: Mapping[str, str] = {
    "defacemask": "a mask made by defacing, not an image",
    **dict.fromkeys(("CT", "ct", "PET", "pet"), "not an MR image, by its suffix"),
    "mask": "a mask, not an image",
    "inplaneT1": "an in-plane localizer of a functional run",
    "inplaneT2": "an in-plane localizer of a functional run",
    "PDT2": "two contrasts in one file (PDT2); split it into PDw and T2w",
    "minIP": "a minimum-intensity projection, not an image as acquired",
    **dict.fromkeys(("MP2RAGE", "VFA", "IRT1", "MPM", "MTR", "MTS", "MESE", "MEGRE", "TB1TFL", "TB1EPI"), _COLLECTION),
    **dict.fromkeys(("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat"), _MAP),
    **dict.fromkeys(("MTVmap", "MWFmap", "Chimap", "M0map", "S0map", "T1rho", "TB1map", "RB1map"), _MAP),
    **dict.fromkeys(("ADC", "FA", "trace", "dwi", "sbref"), "a diffusion image outside of dwi/; move it there"),
}
_OTHER_KNOWN = frozenset({"bold", "roi", "msk", "lesion", "dseg", "probseg"}) | DIFFUSION_SUFFIXES | GRADIENT_ECHO
_KNOWN_SUFFIXES = frozenset(one.lower() for one in {*ACCEPTED_SUFFIXES, *_REFUSED_SUFFIXES, *_OTHER_KNOWN})

#: Lenient limits. A volume of fewer slices holds no brain; no clinical slice is thicker than 15 mm (10 mm is the
#: thickest in common use); an adult brain is at least 130 mm long and 100 mm wide and high, a newborn's about 80 mm.
LENIENT_MIN_SLICES = 5
LENIENT_MAX_EDGE_MM = 15.0
LENIENT_MIN_FOV_MM = 80.0
#: No head coil sees more; a larger field of view is one of the whole body, or a wrong voxel size.
LENIENT_MAX_FOV_MM = 1000.0
#: MR-RATE's limits, on every axis (MR-RATE dataset guide).
MR_RATE_MIN_VOXELS = 16
MR_RATE_FOV_MM = (140.0, 350.0)
MR_RATE_MIN_AGE = 13.0
MR_RATE_CONTRASTS = frozenset({"T1w", "T2w", "FLAIR", "SWI", "angio"})

_LOCALIZER = re.compile(
    r"(?<![a-z])(localiz|localis|scout|survey|aahead|3[- _]?plane|3-?pl[ _-]loc|loc(?![a-z]))", re.I
)
_SUBTRACTION = re.compile(r"(?<![a-z])(subtract(ion|ed)?|sub(?![a-z]))", re.I)
_SPINE = re.compile(r"(?<![a-z])([ctl][- _]?spine|spine|spinal|cervical|thoracic|lumbar)(?![a-z])", re.I)
#: Contrast turned round for display; "inversion" (recovery) is none.
_INVERTED = re.compile(r"(?<![a-z])(inverted|inverse|negative|inv[-_ ]contrast)(?![a-z])", re.I)
_PROJECTION = re.compile(r"(?<![a-z])(m(in)?[-_ ]?ip|max[-_ ]?ip|pjn|projection)(?![a-z])", re.I)
_PHASE = re.compile(r"(?<![a-z])(pha(se)?[-_ ]images?|filtered[-_ ]phase)(?![a-z])", re.I)
_MAP_WORDS = re.compile(
    r"(?<![a-z])(adc|e?adc map|r?cbf|r?cbv|mtt|ttp|tmax|fa map|colfa|[rt]1[-_ ]?map|[rt]2(star)?[-_ ]?map)(?![a-z])",
    re.I,
)
_PHANTOM = re.compile(r"(?<![a-z])phantom", re.I)
#: What is in the field of view where no brain is (DICOM PS3.16 annex L, the common terms for body parts).
_NO_HEAD = frozenset(
    {"ABDOMEN", "ANKLE", "ARM", "BREAST", "CHEST", "ELBOW", "EXTREMITY", "FOOT", "HAND", "HEART", "HIP", "KNEE", "LEG"}
    | {"LIVER", "PELVIS", "PHANTOM", "PROSTATE", "SHOULDER", "THIGH", "WRIST"}
)
#: DICOM modalities (PS3.3 C.7.3.1.1.1) whose images are none of MR; OT (other) says nothing.
_NOT_MR = frozenset({"CT", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "SEG", "RTSTRUCT", "RTDOSE"})
_PROJECTIONS = frozenset({"PROJECTION IMAGE", "MIP", "MINIP", "MNIP", "MIN IP"})
_REFORMATS = frozenset({"MPR", "REFORMATTED", "CPR", "REFORMATTED AVERAGE"})
_MAPS = frozenset(
    {"ADC", "FA", "T1 MAP", "T2 MAP", "T2_STAR MAP", "T2_STAR_MAP", "T1_MAP", "T2_MAP", "CBF", "CBV", "MTT"}
)
_PHASES = frozenset({"P", "PHASE", "PHASE MAP", "PHASE_MAP"})


@dataclass(frozen=True)
class ContentFlags:
    """What a sidecar says of how the image came about (DICOM Image Type and Series Description)."""

    derived: bool
    localizer: bool
    subtraction: bool
    reformat: bool  # a multiplanar reformat (MPR) of another series
    projection: bool  # a maximum- or minimum-intensity projection
    parametric_map: bool
    phase: bool
    inverted: bool
    spine: bool
    phantom: bool
    body_part: str  # in upper case where it is one without a brain, else empty
    modality: str  # where it is none of MR, else empty


def content_flags(metadata: Mapping[str, Any]) -> ContentFlags:
    """The flags of a series from its sidecar's `ImageType`, `SeriesDescription` and `BodyPartExamined`."""
    image_type = _image_type(metadata.get("ImageType"))
    tokens = set(image_type)
    description = _text(metadata.get("SeriesDescription"))
    body_part = _text(metadata.get("BodyPartExamined")).strip().upper()
    modality = _text(metadata.get("Modality")).strip().upper()
    return ContentFlags(
        derived=image_type[:1] == ["DERIVED"],
        localizer="LOCALIZER" in tokens or bool(_LOCALIZER.search(description)),
        subtraction="SUBTRACTION" in tokens or "SUBTRACT" in tokens or bool(_SUBTRACTION.search(description)),
        reformat=bool(tokens & _REFORMATS),
        projection=bool(tokens & _PROJECTIONS) or bool(_PROJECTION.search(description)),
        parametric_map=bool(tokens & _MAPS) or bool(_MAP_WORDS.search(description)),
        phase=(bool(tokens & _PHASES) or bool(_PHASE.search(description))) and not tokens & {"M", "MAGNITUDE"},
        inverted=bool(_INVERTED.search(description)),
        spine=bool(_SPINE.search(description)) or "SPINE" in body_part,
        phantom=bool(_PHANTOM.search(description)),
        body_part=body_part if body_part in _NO_HEAD else "",
        modality=modality if modality in _NOT_MR else "",
    )


def is_known_suffix(suffix: str) -> bool:
    """Whether a suffix is one that BIDS has or that is in use, in whatever case; any other can be a person's name."""
    return suffix.lower() in _KNOWN_SUFFIXES


def name_rejection(name: ParsedName, datatype: str) -> str | None:
    """Why a file is refused by its name and folder alone, or None."""
    if datatype == "dwi":
        return diffusion_name_rejection(name)
    entities = dict(name.entities)
    if name.suffix in _REFUSED_SUFFIXES:
        return _REFUSED_SUFFIXES[name.suffix]
    if name.suffix not in ACCEPTED_SUFFIXES and not _is_swi(name):
        return f"its suffix '{name.suffix}' is none of {', '.join(sorted(ACCEPTED_SUFFIXES))}"
    if entities.get("part", "mag") != "mag":
        return f"a {entities['part']} image (part-{entities['part']}), not a magnitude"
    if "inv" in entities:
        return "one inversion of an MP2RAGE; the combined UNIT1 is processed"
    return None


def rejection(series: Series, rule: Rule = "lenient", age_years: float | None = None) -> str | None:
    """Why a series whose name and header can be read is refused, or None when it is accepted.

    `age_years` is the participant's age; None, when nothing tells it, refuses nobody.
    """
    assert series.header is not None
    flags = content_flags(series.metadata)
    diffusion = series.datatype == "dwi"  # there a file may hold many volumes, and an ADC map is wanted
    reason = _lenient_header(series.header, volumes=diffusion) or _lenient_content(flags, maps=diffusion)
    if reason is None and rule == "mr-rate":
        reason = _mr_rate(series, flags, age_years)
    return reason


def _lenient_header(header: Header, volumes: bool = False) -> str | None:
    if len(header.shape) > 3 and not volumes:
        return f"it holds {header.shape[3]} volumes; one is needed: split it into run-1, run-2 and so on"
    if min(header.shape[:3]) < LENIENT_MIN_SLICES:
        return f"it has {min(header.shape[:3])} slice(s) only; {LENIENT_MIN_SLICES} are needed"
    if max(header.spacing_mm) > LENIENT_MAX_EDGE_MM:
        return f"its voxels are {max(header.spacing_mm):.3g} mm long; {LENIENT_MAX_EDGE_MM:g} mm is the most"
    if max(header.fov_mm) > LENIENT_MAX_FOV_MM:
        return f"its field of view is {max(header.fov_mm):.4g} mm long: no head, or wrong voxel sizes in its header"
    if sum(fov < LENIENT_MIN_FOV_MM for fov in header.fov_mm) >= 2:
        fov = " x ".join(f"{edge:.3g}" for edge in header.fov_mm)
        return f"its field of view ({fov} mm) is under {LENIENT_MIN_FOV_MM:g} mm along two axes: too small for a head"
    return None


def _lenient_content(flags: ContentFlags, maps: bool = False) -> str | None:
    reasons = {
        "a localizer": flags.localizer,
        "a subtraction of two images": flags.subtraction,
        "an intensity projection": flags.projection,
        "a quantitative map": flags.parametric_map and not maps,
        "a phase image": flags.phase,
        "an image of inverted contrast": flags.inverted,
        "an image of the spine": flags.spine,
        "a phantom": flags.phantom,
    }
    for reason, present in reasons.items():
        if present:
            return f"{reason}, by its ImageType or SeriesDescription"
    if flags.body_part:
        return f"not an image of the head, by its BodyPartExamined ({flags.body_part})"
    if flags.modality:
        return f"not an MR image, by its Modality ({flags.modality})"
    return None


def _mr_rate(series: Series, flags: ContentFlags, age_years: float | None) -> str | None:
    assert series.header is not None
    low, high = MR_RATE_FOV_MM
    if series.contrast not in MR_RATE_CONTRASTS:
        return f"mr-rate: {series.contrast} is none of its contrasts"
    if age_years is not None and age_years < MR_RATE_MIN_AGE:
        return f"mr-rate: the participant is younger than {MR_RATE_MIN_AGE:g} years"
    if min(series.header.shape) < MR_RATE_MIN_VOXELS:
        return f"mr-rate: fewer than {MR_RATE_MIN_VOXELS} voxels along an axis ({min(series.header.shape)})"
    if not all(low <= fov <= high for fov in series.header.fov_mm):
        fov = " x ".join(f"{edge:.4g}" for edge in series.header.fov_mm)
        return f"mr-rate: field of view {fov} mm, not {low:g}-{high:g} mm along every axis"
    if flags.derived or flags.reformat:
        return "mr-rate: a derived image, by its ImageType"
    return None


def _is_swi(name: ParsedName) -> bool:
    """A gradient-echo image that says in `acq-` or `rec-` that it is susceptibility-weighted."""
    return name.suffix == "GRE" and names_swi(name.entities)


def _image_type(value: object) -> list[str]:
    """The values of DICOM Image Type in upper case; a list, or one string joined by backslashes."""
    if isinstance(value, str):
        value = value.replace("\\", "/").split("/")
    return [str(token).strip().upper() for token in value] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
