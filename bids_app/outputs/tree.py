"""From the table of products to the files of one session: path, data type and what the sidecar says beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from bids_app.inputs.series import Series
from bids_app.outputs.names import file_name
from bids_app.outputs.products import PRODUCTS, RESOLUTION, SUFFIX, Product, SpaceKind
from bids_app.outputs.sidecars import acquisition_fields


@dataclass(frozen=True)
class OutputSpace:
    """A space in which products are written.

    Attributes
    ----------
    kind
        native, isotropic (native with cubic voxels), reference or atlas.
    label
        Value of `space-`; empty for native.
    resolution
        Value of `res-`, or `None`.
    spatial_reference
        Value of `SpatialReference`, or `None` for a standard space that BIDS lists.
    resolution_text
        Value of `Resolution`, when there is a `res-`.
    """

    kind: SpaceKind
    label: str = ""
    resolution: str | None = None
    spatial_reference: str | None = "orig"
    resolution_text: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether the series of a session meet in it, and carry the reference's masks there."""
        return self.kind in ("reference", "atlas")


NATIVE = OutputSpace("native")


@dataclass(frozen=True)
class Target:
    """A file to be written: where (below the output's root), as what, and the sidecar known before the work."""

    product: str
    path: PurePosixPath
    dtype: str | None
    sidecar: Mapping[str, Any]


def target(
    product: str,
    series: Series,
    space: OutputSpace = NATIVE,
    *,
    reference: Series | None = None,
    variant: str = "",
    extension: str | None = None,
    transforms: tuple[PurePosixPath, ...] = (),
    masked_by: Series | None = None,
) -> Target:
    """The file of a product for a series in a space.

    Parameters
    ----------
    variant
        Name of the variant (`brainzscore`), for the products that have several.
    extension
        In place of the table's (a non-linear transform is `.h5`).
    transforms
        The transform files that an output in another space was made with: they are sources too.
    masked_by
        The series whose brain mask cuts a stripped image in another space: the session's reference.
    """
    row = PRODUCTS[product]
    if space.kind not in row.spaces:
        raise ValueError(f"{product} does not exist in the {space.kind} space")
    path = _path(row, series, space, reference, variant, extension)
    is_transform = row.suffix == "xfm"
    sidecar: dict[str, Any] = {"Sources": _sources(row.sources, series, transforms)}
    if masked_by is not None and masked_by is not series:
        sidecar["Sources"].insert(1, product_uri("brain_mask", masked_by))
    stripped = (
        variant.startswith("brain") if row.stripped is None and row.suffix == SUFFIX and variant else row.stripped
    )
    if stripped is not None:
        sidecar["SkullStripped"] = stripped
    if not is_transform and space.spatial_reference is not None:
        sidecar["SpatialReference"] = space.spatial_reference
    if RESOLUTION in row.entities.values() and space.resolution_text:
        sidecar["Resolution"] = space.resolution_text
    sidecar.update(row.fields)
    if stripped is not None:
        sidecar.update(acquisition_fields(series.metadata))
        sidecar.update(_diffusion_fields(product, series))
    return Target(product, path, row.dtype, sidecar)


def _diffusion_fields(product: str, series: Series) -> dict[str, Any]:
    """What a diffusion image's sidecar says of it; the scanner's own ADC keeps its unit in the defaced image only."""
    part = series.diffusion
    if part is None:
        return {}
    result: dict[str, Any] = {} if part.b_value is None else {"DiffusionBValue": round(part.b_value, 3)}
    if part.role == "adc" and (part.made_of or product != "defaced"):
        result["Units"] = "mm^2/s"
    if part.made_of:
        result["Formula"] = "ADC = -ln(trace / b0) / (b - b of b0), 0 where the trace is brighter than the b0 image"
    return result


def _path(
    row: Product, series: Series, space: OutputSpace, reference: Series | None, variant: str, extension: str | None
) -> PurePosixPath:
    """Where a product of a series in a space is, below the output's root."""
    words = {
        "suffix": series.suffix,
        "space": space.label,
        "reference": reference.suffix if reference else "",
        "variant": variant,
        "res": space.resolution or "",
    }
    entities = {key: value.format(**words) for key, value in row.entities.items()}
    entities = {key: value for key, value in entities.items() if value}
    suffix = row.suffix.format(**words)
    return file_name(series.entities, entities, suffix, extension or row.extension, _datatype(series))


def _datatype(series: Series) -> str:
    """The folder of a series' derivatives."""
    return "dwi" if series.datatype == "dwi" else "anat"


def product_uri(product: str, series: Series) -> str:
    """The BIDS URI of a native product of a series."""
    return _native_uri(product, series.entities, series.suffix, _datatype(series))


@lru_cache(maxsize=1024)  # the many outputs of a session name the same few sources
def _native_uri(product: str, entities: tuple[tuple[str, str], ...], suffix: str, datatype: str) -> str:
    row = PRODUCTS[product]
    added = {key: value.format(suffix=suffix) for key, value in row.entities.items()}
    return output_uri(file_name(entities, added, row.suffix.format(suffix=suffix), row.extension, datatype))


def raw_uris(series: Series) -> list[str]:
    """The BIDS URIs of the raw files of a series: one, but for an ADC that is computed from two."""
    return [f"bids:raw:{file}" for file in series.files]


def output_uri(path: PurePosixPath) -> str:
    """The BIDS URI of a file of our own output."""
    return f"bids::{path.as_posix()}"


def _sources(names: tuple[str, ...], series: Series, transforms: tuple[PurePosixPath, ...]) -> list[str]:
    """BIDS URIs of the direct parents."""
    uris: list[str] = []
    for name in names:
        uris += raw_uris(series) if name == "raw" else [product_uri(name, series)]
    return uris + [output_uri(path) for path in transforms]


__all__ = ["NATIVE", "OutputSpace", "Target", "output_uri", "product_uri", "raw_uris", "target"]
