"""The echoes of one acquisition: the combined image is processed, else the first echo; the others are its relatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bids_app.inputs.series import Series

_Key = tuple[object, ...]


def one_echo(series: Sequence[Series]) -> list[Series]:
    """The series of a session, of each multi-echo acquisition only the combined image or the first echo accepted.

    Combined is what has the same name without `echo-`, also where a `rec-` says how (BIDS 1.10, entities `echo` and
    `rec`). The first echo has the most signal and the least distortion. What could not be read counts for nothing.
    """
    combined = {_key(one): one for one in _accepted(series) if one.entity("echo") is None}
    first: dict[_Key, Series] = {}
    for one in sorted(_accepted(series), key=lambda one: int(one.entity("echo") or 0)):
        if one.entity("echo") is not None:
            first.setdefault((one.entity("rec"), *_key(one)), one)
    return [_judged(one, combined.get(_key(one)), first.get((one.entity("rec"), *_key(one)))) for one in series]


def _judged(one: Series, combined: Series | None, first: Series | None) -> Series:
    if not one.accepted or one.entity("echo") is None:
        return one
    if combined is not None:
        return replace(one, rejection=f"an echo of {combined.name}, which is processed")
    if first is not None and first is not one:
        return replace(one, rejection=f"a later echo; the first one, {first.name}, is processed")
    return one


def _accepted(series: Iterable[Series]) -> list[Series]:
    return [one for one in series if one.accepted]


def _key(series: Series) -> _Key:
    """What the echoes of an acquisition and their combination have in common; `part-mag` is what has no `part-`."""
    rest = frozenset(pair for pair in series.entities if pair[0] not in ("echo", "rec", "part"))
    return series.datatype, series.suffix, rest
