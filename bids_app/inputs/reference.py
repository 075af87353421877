"""The reference series of a session: the one that every other series is co-registered to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bids_app.exit_codes import NOTHING_MATCHES, USAGE
from bids_app.inputs.errors import InputError
from bids_app.inputs.filters import matches
from bids_app.inputs.series import Series

#: A candidate whose largest voxel edge is over this, and more than twice that of the best other one, stands back.
THICK_MM = 3.0
THICK_RATIO = 2.0
#: Contrasts in order of preference; T1w without contrast agent comes first. UNIT1 is a T1w image (BIDS, MP2RAGE).
_ORDER = ("T1w", "UNIT1", "T1w with contrast agent", "T2w", "FLAIR")
_REST = ("PDw", "T2starw", "FLASH", "SWI", "angio", "S0map", "trace")


@dataclass(frozen=True)
class Reference:
    """The chosen series, the rule that chose it, and why each other one stands behind it, best first."""

    series: Series
    rule: str
    runners_up: tuple[tuple[str, str], ...]


def choose_reference(session_series: Sequence[Series], rule: str = "auto") -> Reference:
    """Choose the reference among the accepted series of a session.

    Parameters
    ----------
    rule
        `auto` (and `subject`, which is about several sessions): by contrast, slice thickness, field of view and run.
        `mr-rate`: the T1w with the lowest SeriesNumber (`auto` where there is no T1w). Else a BIDS filter such as
        `acq=mprage,suffix=T1w`; several matches are ordered as by `auto`, an empty value means that the entity is
        absent.

    Raises
    ------
    InputError
        No series at all, the filter matches none (18), or the rule cannot be understood (64).
    """
    if not session_series:
        raise InputError("the session has no accepted series", NOTHING_MATCHES)
    ordered = _by_preference(session_series)
    if rule in ("auto", "subject"):
        best = ordered[0]
        return Reference(best, rule, tuple((one.name, _why(one, best, session_series)) for one in ordered[1:]))
    if rule == "mr-rate":
        return _mr_rate(ordered)
    query = _parse_filter(rule)
    chosen = [one for one in ordered if matches(one, query)]
    if not chosen:
        names = ", ".join(one.name for one in ordered)
        raise InputError(f"--reference {rule} matches no accepted series of the session ({names})", NOTHING_MATCHES)
    best = chosen[0]
    others = chosen[1:] + [one for one in ordered if one not in chosen]
    return Reference(
        best,
        rule,
        tuple((one.name, _why(one, best, chosen) if one in chosen else f"does not match {rule}") for one in others),
    )


def check_rule(rule: str) -> None:
    """Raise InputError (64) for a rule that cannot be understood, whatever series there are."""
    if rule not in ("auto", "mr-rate", "subject"):
        _parse_filter(rule)


def _mr_rate(ordered: Sequence[Series]) -> Reference:
    t1w = sorted((one for one in ordered if one.contrast == "T1w"), key=lambda one: (_series_number(one), one.run))
    if not t1w:
        auto = choose_reference(ordered, "auto")
        return Reference(auto.series, "auto (mr-rate finds no T1w)", auto.runners_up)
    reasons = [(one.name, f"its SeriesNumber ({_series_number(one):g}) is not the lowest") for one in t1w[1:]]
    reasons += [(one.name, f"{one.contrast} is not T1w") for one in ordered if one not in t1w]
    return Reference(t1w[0], "mr-rate", tuple(reasons))


def _kind(series: Series) -> str:
    if series.contrast == "T1w" and series.contrast_agent:
        return "T1w with contrast agent"
    return series.contrast


def _kind_rank(series: Series) -> int:
    kind = _kind(series)
    if kind in _ORDER:
        return _ORDER.index(kind)
    return len(_ORDER) + (_REST.index(kind) if kind in _REST else len(_REST))


def _edge_mm(series: Series) -> float:
    """The largest voxel edge, rounded so that noise in a header decides nothing."""
    return round(max(series.header.spacing_mm), 2) if series.header else math.inf


def _fov_litres(series: Series) -> float:
    return round(math.prod(series.header.fov_mm) / 1e6, 2) if series.header else 0.0


def _stands_back(series: Series, candidates: Sequence[Series]) -> bool:
    """Whether the slices are so thick that a better resolved contrast comes first.

    The yardstick is the finest other candidate; SWI, angiography and the like, which often cover a part of the brain
    only, are a yardstick only for one another.
    """
    rest = _kind_rank(series) >= len(_ORDER)
    others = [_edge_mm(one) for one in candidates if one is not series and (rest or _kind_rank(one) < len(_ORDER))]
    edge = _edge_mm(series)
    return bool(others) and edge > THICK_MM and edge > THICK_RATIO * min(others)


def _key(series: Series, candidates: Sequence[Series]) -> tuple[bool, bool, int, float, float, int, str]:
    rest = _kind_rank(series) >= len(_ORDER)
    back = _stands_back(series, candidates)
    return rest, back, _kind_rank(series), _edge_mm(series), -_fov_litres(series), series.run, series.name


def _by_preference(candidates: Sequence[Series]) -> list[Series]:
    return sorted(candidates, key=lambda one: _key(one, candidates))


def _why(series: Series, best: Series, candidates: Sequence[Series]) -> str:
    """Why a series stands behind the chosen one, by the first rule that tells them apart."""
    if _stands_back(series, candidates) and not _stands_back(best, candidates):
        return f"its voxels are {_edge_mm(series):g} mm long, more than twice the best other series'"
    if _kind_rank(series) != _kind_rank(best):
        return f"{_kind(series)} comes after {_kind(best)}"
    if _edge_mm(series) != _edge_mm(best):
        return f"its largest voxel edge is {_edge_mm(series):g} mm, not {_edge_mm(best):g} mm"
    if _fov_litres(series) != _fov_litres(best):
        return "its field of view is smaller"
    return "a later run" if series.run != best.run else "its name comes later"


def _series_number(series: Series) -> float:
    value = series.metadata.get("SeriesNumber")
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.inf
    except (ValueError, OverflowError):
        return math.inf
    return math.inf if math.isnan(number) else number


def _parse_filter(rule: str) -> dict[str, str | None]:
    query: dict[str, str | None] = {}
    for part in rule.split(","):
        key, equals, value = part.strip().partition("=")
        if not key or not equals:
            raise InputError(
                f"--reference {rule}: neither auto, nor mr-rate, nor a filter such as acq=mprage,suffix=T1w", USAGE
            )
        query[key.strip()] = value.strip() or None
    return query
