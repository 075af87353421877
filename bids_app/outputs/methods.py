"""The methods text: what was done, in words for a paper, with the references that it cites.

An output can be made by several runs, each with some of the steps. `logs/methods.json` has what the text says of each
step, as the last run with that step did it; the text is made from all of it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.settings import STEPS, Settings

#: Where what was done is kept, below the output.
DONE = "logs/methods.json"


def steps_done(output: Path, settings: Settings, *, extraction: str, mirroring: bool) -> dict[str, dict[str, Any]]:
    """What the text says of each step of this run, and of those of earlier runs on the output that it leaves out.

    Parameters
    ----------
    extraction
        The method of the brain masks that the run resolved to ("hd-bet", "synth" or "template").
    mirroring
        Whether HD-BET averages over mirrored views.
    """
    fwhm = f"{settings.smoothing_fwhm:g}" if settings.smoothing_fwhm else ""
    said: dict[str, dict[str, Any]] = {
        "mask": {"extraction": extraction, "mirroring": mirroring},
        "deface": {"deface": settings.deface},
        "denoise": {"denoise": settings.denoise},
        "coregister": {"reference": settings.reference},
        "template": {"within_subject": settings.reference == "subject"},
        "atlas": {
            "spaces": settings.public()["output_spaces"],
            "mni": any(space.startswith("MNI") for space in settings.output_spaces),
            "atlas_registration": settings.atlas_registration,
        },
        "resample": {"interpolation": settings.interpolation},
        "normalize": {"normalizers": list(settings.wanted_normalizers())},
        "vbm": {"modulation": settings.modulation, "smoothing_fwhm": fwhm},
    }
    said = {step: said.get(step, {}) for step in STEPS}
    earlier = {step: entry for step, entry in _earlier(output).items() if entry.keys() == said[step].keys()}
    return dict(sorted({**earlier, **{step: said[step] for step in settings.steps}}.items()))


def _earlier(output: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads((output / DONE).read_text(encoding="utf-8"))
        return {step: dict(entry) for step, entry in content.items() if step in STEPS}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def methods_text(done: Mapping[str, Mapping[str, Any]]) -> str:
    """The text in Markdown for the steps that were done (`steps_done`)."""
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
        steps=set(done),
        **{"extraction": "", **{name: value for entry in done.values() for name, value in entry.items()}},
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
