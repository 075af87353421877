"""The dataset card: what a person who thinks of using a dataset asks first, as YAML, one document a dataset."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.group.datasets import Source
from bids_app.group.profile import Profile
from bids_app.group.summaries import text_of


def cards(profile: Profile, sources: Sequence[Source]) -> bytes:
    """The cards of all datasets; values that differ between series are lists, the most frequent one first."""
    import yaml

    documents = [_card(profile, source) for source in sources]
    return str(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100)).encode()


def _card(profile: Profile, source: Source) -> dict[str, Any]:
    columns = profile.columns
    chosen = [index for index in profile.used() if columns["dataset"][index] == source.label]

    def frequent(name: str) -> Any:
        counted = Counter(text_of(columns[name][i]) for i in chosen if columns[name][i] is not None)
        listed = [level for level, _ in sorted(counted.items(), key=lambda one: (-one[1], one[0]))]
        return listed if len(listed) > 1 else listed[0] if listed else None

    edges = Counter(
        " x ".join(f"{columns[f'spacing_{axis}_mm'][i]:.3g}" for axis in (1, 2, 3))
        for i in chosen
        if columns["spacing_1_mm"][i] is not None
    )
    used = _settings(source.output) if source.output else {}
    spaces = [str(one).partition(":")[0] for one in used.get("output_spaces", ())]
    return {
        "dataset_id": source.label,
        "name": source.label,
        "modality": "MRI",
        "sequence": frequent("contrast"),
        "n_subjects": len({columns["participant_id"][i] for i in chosen}),
        "n_sessions": len({(columns["participant_id"][i], columns["session_id"][i]) for i in chosen}),
        "n_series": len(chosen),
        "resolution_mm": [name for name, _ in sorted(edges.items(), key=lambda one: (-one[1], one[0]))][:5],
        "anisotropy": dict(sorted(Counter(text_of(columns["anisotropy"][i]) for i in chosen).items())),
        "field_strength_t": frequent("field_strength_t"),
        "manufacturer": frequent("manufacturer"),
        "scanner": frequent("manufacturer_model"),
        "sex": dict(sorted(_people(profile, chosen, "sex").items())),
        "preprocessing": _preprocessing(used),
        "standard_space": spaces or None,
        "atlas": list(spaces) or None,
        "made_by": f"bids_app {__version__}",
    }


def _people(profile: Profile, chosen: Sequence[int], name: str) -> Counter[str]:
    people = {(profile.columns["participant_id"][i], text_of(profile.columns[name][i])) for i in chosen}
    return Counter(level for _, level in people)


def _preprocessing(used: dict[str, Any]) -> Any:
    """The steps of the run, and how."""
    if not used:
        return None
    keys = ("brain_extraction", "atlas_registration", "normalize", "interpolation", "isotropic", "deface")
    return {"steps": used.get("steps"), **{key: used[key] for key in keys if key in used}}


def _settings(output: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((output / "logs" / "settings.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
