"""The methods text: what was done, in words for a paper, with the references that it cites."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Any

from bids_app import __version__
from bids_app.settings import Settings


def methods_text(settings: Settings, *, extraction: str, mirroring: bool) -> str:
    """The text for a run, in Markdown.

    Parameters
    ----------
    extraction
        The method of the brain masks that the run resolved to ("hd-bet", "synth" or "template").
    mirroring
        Whether HD-BET averages over mirrored views.
    """
    from jinja2 import Environment, StrictUndefined

    data = files("bids_app") / "data"
    references = tomllib.loads((data / "references.toml").read_text(encoding="utf-8"))
    order: list[str] = []

    def cite(key: str) -> str:
        if key not in order:
            references[key]  # an unknown key is an error of ours
            order.append(key)
        return f"[{order.index(key) + 1}]"

    def cited() -> list[Any]:
        return [references[key] for key in order]

    environment = Environment(undefined=StrictUndefined, trim_blocks=False, autoescape=False)
    template = environment.from_string((data / "methods.md.j2").read_text(encoding="utf-8"))
    text = template.render(
        cite=cite,
        cited=cited,
        version=__version__,
        steps=settings.steps,
        extraction=extraction,
        mirroring=mirroring,
        deface=settings.deface,
        denoise=settings.denoise,
        reference=settings.reference,
        spaces=settings.public()["output_spaces"],
        mni=any(space.startswith("MNI") for space in settings.output_spaces),
        atlas_registration=settings.atlas_registration,
        interpolation=settings.interpolation,
        modulation=settings.modulation,
        smoothing_fwhm=f"{settings.smoothing_fwhm:g}" if settings.smoothing_fwhm else "",
        normalizers=settings.wanted_normalizers(),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
