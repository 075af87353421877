"""The one atlas of an export: images in two atlases, or at two resolutions, are on two grids and must not be mixed.

`atlas/…` is the atlas in which most studies have such images, first by name where two are even; so is a resolution
that is not named. It is chosen once, and what has no image there is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from bids_app.exports.options import Wanted
from bids_app.exports.studies import Study

_OWN = ("native", "isotropic", "reference")
#: A space's label and resolution.
Place = tuple[str, str | None]


@dataclass
class Places:
    """How many studies have the images that were asked for, for each place that may be meant."""

    wanted: tuple[Wanted, ...]
    _counts: dict[Place, Counter[Place]] = field(default_factory=dict)

    def see(self, study: Study) -> None:
        """Count a study."""
        for said in {(one.space, one.res) for one in self.wanted if one.space not in _OWN}:
            descs = {one.desc for one in self.wanted if (one.space, one.res) == said}
            counts = self._counts.setdefault(said, Counter())
            counts.update(set.intersection(*(_places(study, said, desc) for desc in descs)))

    def chosen(self) -> tuple[Wanted, ...]:
        """The kinds of images with their atlas and resolution; as they were said where no study has any."""
        return tuple(dict.fromkeys(self._settled(one) for one in self.wanted))

    def told(self) -> list[str]:
        """The choice in words, where there was one."""
        result = []
        for said, counts in sorted(self._counts.items(), key=str):
            if len(counts) > 1:
                best, *others = _ranked(counts)
                also = ", ".join(f"{_named(one)} ({counts[one]} studies)" for one in others)
                result.append(
                    f"{_named(said)} is {_named(best)} ({counts[best]} studies) in all of the export; there is also "
                    f"{also}: name it in --export-images to have it"
                )
        return result

    def _settled(self, one: Wanted) -> Wanted:
        counts = self._counts.get((one.space, one.res))
        if not counts:
            return one
        space, res = _ranked(counts)[0]
        return replace(one, space=space, res=res)


def _places(study: Study, said: Place, desc: str) -> set[Place]:
    space, res = said
    return {
        (file.space, file.entity("res"))
        for series in study.series
        for file in series.files
        if (file.suffix, file.extension, file.entity("desc")) == (series.series.suffix, ".nii.gz", desc)
        and file.space not in _OWN
        and space in ("atlas", file.space)
        and res in (None, file.entity("res"))
    }


def _ranked(counts: Counter[Place]) -> list[Place]:
    return sorted(counts, key=lambda place: (-counts[place], place[0], place[1] or ""))


def _named(place: Place) -> str:
    return place[0] + (f":res-{place[1]}" if place[1] else "")
