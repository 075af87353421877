"""Diffusion groups: which of a session's images in `dwi/` belong to one acquisition, and which of them leads.

A group is what one acquisition left: the b0 image, the trace (the diffusion-weighted image), the scanner's ADC, or one
4-D file that holds the first two. The b0 image leads, else the trace: the others take its brain mask, face and
transform. Where b0, trace and b-value are known, an ADC is computed and joins the group as a series of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_app.inputs.diffusion_images import GradientError, b_values_of, directions_of
from bids_app.inputs.diffusion_roles import SUFFIX_OF_ROLE, Role, b_value_of_name, b_value_of_sidecar, role_of, saying
from bids_app.inputs.series import ENTITY_NAMES, Diffusion, Series
from bids_app.steps.diffusion import B0_MAX, CLINICAL_B, b0_volumes, clinical_shell
from bids_app.steps.images import ImageError, grid_affine

log = logging.getLogger("bids_app")

_DEFAULT_ORDER: Mapping[Role, int] = {"b0": 0, "trace": 1, "adc": 2}
ASK_FOR_B = (
    "neither a sidecar (DiffusionBValue) nor a .bval file tells its b-value; give --b-value (in s/mm^2) to have the "
    "ADC computed"
)


@dataclass(frozen=True)
class DiffusionRule:
    """What a run says of diffusion images: the filters, and the b-value where the data do not tell it (s/mm^2)."""

    root: Path
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    b_value: float | None = None


def with_groups(series: Sequence[Series], rule: DiffusionRule) -> list[Series]:
    """The series of a session, its diffusion images told apart, grouped, and led; an ADC is added where it can be.

    What cannot be used gets a rejection that says why; images of other datatypes stay as they are.
    """
    result = [one for one in series if one.datatype != "dwi" or not one.accepted]
    members: list[Series] = []
    for one in series:
        if one.datatype == "dwi" and one.accepted:
            members += _images_in(one, rule)
    result += [one for one in members if not one.accepted]
    members = _one_of_a_name([one for one in members if one.accepted])
    result += [one for one in members if not one.accepted]
    for group in _groups([one for one in members if one.accepted]):
        result += _led([*group, *_computed(group, rule)])
    return sorted(result, key=lambda one: (one.relative, one.name))


def settled(series: Sequence[Series]) -> list[Series]:
    """The accepted series of a session after some of them turned out to be unusable: who leads is told anew."""
    left = {one.name for one in series if one.accepted}
    result: list[Series] = []
    groups: dict[str, list[Series]] = {}
    for one in series:
        part = one.diffusion
        if part is None or not one.accepted:
            result.append(one)
            continue
        lost = [other.name for other in part.made_of if other.name not in left]
        if lost:
            result.append(replace(one, rejection=f"{lost[0]}, which it is computed from, cannot be used"))
        else:
            groups.setdefault(part.leader, []).append(one)
    for group in groups.values():
        result += _led(group)
    return sorted(result, key=lambda one: (one.relative, one.name))


def _images_in(series: Series, rule: DiffusionRule) -> Iterator[Series]:
    """The image of a 3-D file, or b0 and trace of a 4-D one."""
    assert series.header is not None
    try:
        single = len(series.header.shape) < 4
        # the name of a single image (acq-b0) says more of it than a table that it would share with others
        inherited = not single or b_value_of_name(series) is None
        b_values = b_values_of(series.path, series.extension, rule.root, inherited)
        if single:
            yield _single(series, b_values, rule)
            return
        yield from _split(series, b_values, rule)
    except GradientError as error:
        yield replace(series, rejection=str(error))


def _single(series: Series, b_values: Sequence[float] | None, rule: DiffusionRule) -> Series:
    known = b_values[0] if b_values is not None and len(b_values) == 1 else b_value_of_sidecar(series.metadata)
    role = role_of(series, rule.filters, known)
    b_value = None
    if role == "trace":
        told = known if known is not None else b_value_of_name(series)
        b_value = told if told is not None and told > B0_MAX else rule.b_value
    elif role == "b0" and known is not None and known <= B0_MAX:
        b_value = known
    return _named(series, role, Diffusion(role, b_value=b_value))


def _split(series: Series, b_values: Sequence[float] | None, rule: DiffusionRule) -> Iterator[Series]:
    assert series.header is not None
    count = series.header.shape[3]
    if b_values is None:
        reason = f"it holds {count} volumes and no .bval file says which are b0; put one beside it, or split it"
        yield replace(series, rejection=reason)
        return
    if len(b_values) != count:
        yield replace(series, rejection=f"its .bval file has {len(b_values)} b-values for {count} volumes; correct it")
        return
    directions = directions_of(series.path, series.extension, rule.root, count)
    header = replace(series.header, shape=series.header.shape[:3])
    plain, shell = b0_volumes(b_values), clinical_shell(b_values, directions)
    if plain:
        b_value = sum(b_values[index] for index in plain) / len(plain)
        yield _named(replace(series, header=header), "b0", Diffusion("b0", b_value=b_value, volumes=plain))
    if shell is not None:
        warnings = series.warnings
        if not shell.exact:
            warnings = (*warnings, "its directions do not see all directions alike: the trace is their plain mean")
        part = Diffusion("trace", b_value=shell.b_value, volumes=shell.volumes, weights=shell.weights)
        yield _named(replace(series, header=header, warnings=warnings), "trace", part)


def _named(series: Series, role: Role, part: Diffusion) -> Series:
    """A series under the name that BIDS has for what it is: `sub-01_acq-b0_dwi` becomes `sub-01_acq-b0_S0map`."""
    suffix = SUFFIX_OF_ROLE[role]
    return replace(series, suffix=suffix, title=_title(series.entities, suffix), diffusion=part)


def _title(entities: Sequence[tuple[str, str]], suffix: str) -> str:
    return "_".join([*(f"{key}-{value}" for key, value in entities), suffix])


def _one_of_a_name(series: Sequence[Series]) -> list[Series]:
    """Of images that would be called the same, the first one; a file of its own comes before a part of a 4-D one."""
    first: dict[str, Series] = {}
    for one in sorted(series, key=lambda one: (bool(one.diffusion and one.diffusion.volumes), one.relative)):
        first.setdefault(one.name, one)
    return [
        one
        if first[one.name] is one
        else replace(one, rejection=f"it would be called {one.name}, as {first[one.name].relative}; rename one of them")
        for one in series
    ]


def _groups(series: Sequence[Series]) -> list[list[Series]]:
    """Images by acquisition: by their entities but for those that say what they are, then by their grid."""
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for one in series:
        ignored = saying(one)
        groups.setdefault(tuple(each for each in one.entities if each[0] not in ignored), []).append(one)
    whole = [group for group in groups.values() if _has(group, "b0")]
    result = list(whole)
    for group in groups.values():
        if _has(group, "b0"):
            continue
        # `run-1_trace` beside `run-2_S0map`: the one group on the same grid that lacks what this one has
        roles = {_role(one) for one in group}
        free = [other for other in whole if not roles & {_role(one) for one in other}]
        near = [other for other in free if _same_grid(group[0], other[0])]
        if len(near) == 1:
            near[0].extend(group)
        else:
            result.append(group)
    return result


def _led(group: Sequence[Series]) -> list[Series]:
    """The members with their leader; an ADC map without anything else to lead it is refused."""
    ordered = sorted(group, key=lambda one: (_DEFAULT_ORDER[_role(one)], one.run, one.name))
    candidates = [one for one in ordered if one.accepted and _role(one) != "adc"]
    if not candidates:
        reason = "an ADC map without the b0 or DWI of its acquisition: there is nothing to find the brain by"
        return [replace(one, rejection=reason) if one.accepted else one for one in ordered]
    leader = candidates[0]
    result = []
    for one in ordered:
        part = one.diffusion
        if one.accepted and part is not None:
            one = replace(one, diffusion=replace(part, leader=leader.name))
            if one.name == leader.name and _role(one) != "b0" and _NO_B0 not in one.warnings:
                one = replace(one, warnings=(*one.warnings, _NO_B0))
        result.append(one)
    return result


_NO_B0 = "there is no b0 image of its acquisition: it leads itself, and no ADC is computed"


def _computed(group: Sequence[Series], rule: DiffusionRule) -> list[Series]:
    """The ADC that can be computed from a group, or, as a rejected series, why it cannot."""
    b0s = sorted((one for one in group if _role(one) == "b0"), key=lambda one: (one.run, one.name))
    traces = [one for one in group if _role(one) == "trace"]
    if not b0s or not traces:
        return []
    trace = min(traces, key=lambda one: (abs((_b_value(one) or rule.b_value or 0.0) - CLINICAL_B), one.name))
    b_value = _b_value(trace) or rule.b_value
    entities = _with_rec([each for each in trace.entities if each[0] not in saying(trace)])
    path_of = replace(trace, entities=entities, metadata=trace.metadata, warnings=())
    part = Diffusion("adc", b_value=b_value, made_of=(b0s[0], trace))
    adc = _named(path_of, "adc", part)
    if b_value is None:
        log.warning("Warning: %s: %s", trace.relative, ASK_FOR_B)
        return [replace(adc, rejection=ASK_FOR_B)]
    if not _same_grid(b0s[0], trace):
        return [replace(adc, rejection="its b0 image and its trace are on different grids: no ADC can be computed")]
    return [adc]


def _with_rec(entities: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The entities with `rec-computed` at its place, so that it is not taken for the scanner's own."""
    before = dict(entities).get("rec", "")
    order = list(ENTITY_NAMES)
    kept = [each for each in entities if each[0] != "rec"]
    return tuple(sorted([*kept, ("rec", f"{before}computed")], key=lambda each: order.index(each[0])))


def _has(group: Sequence[Series], role: Role) -> bool:
    return any(_role(one) == role for one in group)


def _role(series: Series) -> Role:
    assert series.diffusion is not None
    return series.diffusion.role


def _b_value(series: Series) -> float | None:
    return series.diffusion.b_value if series.diffusion else None


def _same_grid(one: Series, other: Series) -> bool:
    """Whether two images have one grid, by their headers."""
    if one.header is None or other.header is None or one.header.shape != other.header.shape:
        return False
    if one.path == other.path:
        return True
    try:
        affines = [grid_affine(nib.load(each.path)) for each in (one, other)]
    except (OSError, ImageError, nib.filebasedimages.ImageFileError):
        return False
    return bool(abs(affines[0] - affines[1]).max() < 0.01)
