"""Tasks between spaces: the transforms, and what is written in each space through them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from bids_app.inputs.series import Series
from bids_app.outputs.tree import NATIVE, OutputSpace, Target, target
from bids_app.workflow.context import INDIVIDUAL, AtlasSpace
from bids_app.workflow.plan.ledger import Ledger, is_map
from bids_app.workflow.plan.tasks import FileInput

#: Longest by shortest edge of a voxel from which an image counts as highly anisotropic (the class of a review of 54
#: public datasets of brain MRI).
ANISOTROPIC = 2.0


def coregister(ledger: Ledger, series: Series) -> None:
    """The rigid transform of a series to the reference."""
    if series is ledger.reference or series.follows:
        return
    made = target("to_reference", series, ledger.reference_space, reference=ledger.reference)
    made = _between(made, ledger.uri(series), ledger.uri(ledger.reference))
    files = {**ledger.moving(series), **ledger.fixed(ledger.reference), **ledger.lesion(series, at_once=True)}
    files |= {f"reference_{name}": file for name, file in ledger.lesion(ledger.reference, at_once=True).items()}
    parameters = {"kind": "rigid", **ledger.computing}
    ledger.add("coregister", series, {"to_reference": made}, parameters, files)


def atlas(ledger: Ledger, atlas: AtlasSpace) -> None:
    """The reference's transform to an atlas."""
    kind = ledger.settings.atlas_registration
    made = target("to_atlas", ledger.reference, atlas.output, extension=".h5" if kind == "syn" else ".mat")
    targets = {"to_atlas": _between(made, ledger.uri(ledger.reference), atlas.uri)}
    if kind == "syn":
        back = target("from_atlas", ledger.reference, atlas.output)
        targets["from_atlas"] = _between(back, atlas.uri, ledger.uri(ledger.reference))
    parameters = {"kind": kind, "atlas": atlas.label, "content": atlas.content, **ledger.computing}
    files = {**ledger.moving(ledger.reference), **ledger.lesion(ledger.reference)}
    if ledger.individual is not None:
        found = ledger.individual.atlases.get(atlas.label)
        if found is None or ledger.to_template is None:
            return
        parameters = {"kind": kind, "atlas": atlas.label, "through": INDIVIDUAL}
        files = {f"template_{role}": FileInput(INDIVIDUAL, role, path) for role, path in found.items()}
        files["to_template"] = FileInput(INDIVIDUAL, "to_template", ledger.to_template)
    ledger.add("atlas", ledger.reference, targets, parameters, files, atlas.output)


def spaces(ledger: Ledger, series: Series) -> list[OutputSpace]:
    """Where images are written: a space is left out when its step was not chosen and never done."""
    done = {name.split("/")[0] for name in ledger.manifest.tasks} | set(ledger.settings.steps)
    result = [NATIVE]
    if _wants_cubes(series, ledger.settings.isotropic):
        result.append(_isotropic(series, ledger.settings.isotropic_mm))
    placed = ledger.individual is None or ledger.to_template is not None
    if "coregister" in done and placed:
        result.append(ledger.reference_space)
    if "atlas" in done and placed:
        known = ledger.individual.atlases if ledger.individual else None
        result += [atlas.output for atlas in ledger.context.spaces if known is None or atlas.label in known]
    return result


def resample(ledger: Ledger, series: Series, space: OutputSpace) -> None:
    """The variants that are no normalisation, and the reference's masks."""
    parameters = ledger.interpolation(space)
    files = ledger.chain(series, space)
    through = _transforms(files)
    wanted = set(ledger.settings.wanted_variants())
    if is_map(series) and any(variant.startswith("brain") for variant in wanted):
        wanted.add("brain")  # in place of a normalisation: its numbers have a unit
    for variant in ("preproc", "brain"):
        if variant not in wanted or (space.kind, variant) == ("native", "preproc"):
            continue
        product = f"native_{variant}" if space.kind == "native" else f"space_{variant}"
        mask = ledger.reference if variant == "brain" and space.is_shared else None
        made = {str(variant): target(product, series, space, transforms=through, masked_by=mask)}
        ledger.add("resample", series, made, parameters, files, space, variant=variant)
    if space.kind == "isotropic" or (series is ledger.reference and space.is_shared):
        made = {"brain_mask": target("space_brain_mask", series, space, transforms=through)}
        if ledger.settings.deface:
            made["face_mask"] = target("space_face_mask", series, space, transforms=through)
        ledger.add("resample", series, made, {}, files, space, variant="masks")
    if "segment" in ledger.settings.steps and series is ledger.reference and space.is_shared:
        made = {"segmentation": target("space_segmentation", series, space, transforms=through)}
        files = {**files, "segmentation": ledger.file("segment", series, "segmentation")}
        ledger.add("resample", series, made, {}, files, space, variant="segmentation")


def resample_lesion(ledger: Ledger, series: Series, space: OutputSpace) -> None:
    """A lesion mask in a space, by nearest neighbour."""
    if series.name in ledger.with_lesion and space.kind != "native":
        files = ledger.chain(series, space)
        files["lesion"] = ledger.file("lesion", series, "lesion_mask")
        made = target("space_lesion_mask", series, space, transforms=_transforms(files))
        ledger.add("resample", series, {"lesion_mask": made}, {}, files, space, variant="lesion")


def normalize(ledger: Ledger, series: Series, space: OutputSpace) -> None:
    """The normalised variants; every space is given the intensities that were fitted in native space."""
    if is_map(series):
        return
    files = {**ledger.chain(series, space), **ledger.lesion(series)}
    product = "native_variant" if space.kind == "native" else "space_variant"
    parameters = {**ledger.interpolation(space), "contrast": series.contrast}
    for variant in ledger.settings.wanted_variants():
        if variant not in ("preproc", "brain"):
            mask = ledger.reference if variant.startswith("brain") and space.is_shared else None
            made = target(
                product, series, space, variant=variant, transforms=_transforms(files), masked_by=mask
            )  # fmt: skip
            said = {**parameters, **ledger.standard(series, variant.removeprefix("brain"))}
            ledger.add("normalize", series, {variant: made}, said, files, space, variant=variant)


def _wants_cubes(series: Series, rule: str) -> bool:
    """Whether a series is also written with cubic voxels."""
    if rule == "anisotropic":
        edges = series.header.spacing_mm if series.header else (1.0,)
        return max(edges) >= ANISOTROPIC * min(edges)
    return rule == "always"


def _isotropic(series: Series, edge_mm: float) -> OutputSpace:
    """A series' own space with cubic voxels."""
    before = " x ".join(f"{edge:.3g}" for edge in series.header.spacing_mm) if series.header else "unknown"
    text = f"{edge_mm:g} mm isotropic, interpolated from voxels of {before} mm"
    return OutputSpace("isotropic", "", re.sub(r"\D", "", f"{edge_mm:g}"), "orig", text)


def _between(made: Target, moving: str, fixed: str) -> Target:
    """A transform's sidecar names both of its images."""
    return replace(made, sidecar={**made.sidecar, "Sources": [moving, fixed], "From": moving, "To": fixed})


def _transforms(files: Mapping[str, FileInput]) -> tuple[PurePosixPath, ...]:
    """The transforms from an output space back to a series, in the order in which a point goes through them."""
    return tuple(files[role].path for role in ("to_atlas", "to_template", "to_reference") if role in files)
