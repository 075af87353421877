"""MR-RATE's names of series: `{modality}-{role}-{plane}[-N]`, such as `t1w-raw-axi-2`; of a session or a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

_PLANES: Mapping[str, str] = {"axial": "axi", "sagittal": "sag", "coronal": "cor", "oblique": "obl"}


def series_stem(modality: str, plane: str, derived: bool) -> str | None:
    """The name before its number; None where the plane is not known."""
    if plane not in _PLANES:
        return None
    return f"{modality.lower()}-{'der' if derived else 'raw'}-{_PLANES[plane]}"


def numbered(stems: Iterable[str]) -> Iterator[str]:
    """The names of series in the order in which they were acquired: those of one stem are counted from 2."""
    counts: Counter[str] = Counter()
    for stem in stems:
        counts[stem] += 1
        yield stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"
