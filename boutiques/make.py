"""Write the Boutiques descriptor, boutiques/bids_app.json, from the parser of the command line.

    python boutiques/make.py

Boutiques (Glatard et al., GigaScience 2018, doi:10.1093/gigascience/giy016) lets platforms run a command from its
description. The schema is its version 0.5.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.cli.parser import build_parser

FILE = Path(__file__).with_name("bids_app.json")
#: What a command line says that a platform has no use for.
_LEFT_OUT = ("help", "version")
_ERROR_CODES = {
    1: "some session or series failed, the others are there",
    2: "words that the command does not know",
    16: "the input is no BIDS dataset",
    18: "nothing matches what was asked for",
    64: "wrong usage",
    66: "an input is missing",
    73: "the output cannot be made",
    74: "an error while reading or writing",
    75: "try again: stopped from outside, or another run works on a session",
}


def _input(action: argparse.Action) -> dict[str, Any]:
    """One option or positional argument."""
    flag = next((word for word in action.option_strings if word.startswith("--")), None)
    is_flag = action.nargs == 0
    name = (flag or action.dest).lstrip("-").replace("-", "_")
    entry: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        "description": (action.help or "").replace("%%", "%"),
        "type": "Flag" if is_flag else "String",
        "value-key": f"[{name.upper()}]",
        "optional": flag is not None,
    }
    if action.type is Path:
        entry["type"] = "File"
    elif action.type in (int, float):
        entry["type"] = "Number"
        entry["integer"] = action.type is int
    if action.choices is not None:
        entry["value-choices"] = list(action.choices)
    if action.nargs == "+":
        entry["list"] = True
    if flag is not None:
        entry["command-line-flag"] = flag
    return entry


def descriptor() -> dict[str, Any]:
    """The descriptor of the command as it is now."""
    parser = build_parser()
    actions = [action for action in parser._actions if action.dest not in _LEFT_OUT]
    inputs = [_input(action) for action in actions]
    next(each for each in inputs if each["id"] == "output_dir")["type"] = "String"  # it need not exist
    return {
        "name": "bids_app",
        "description": "Anonymised, spatially standardised derivatives from any BIDS dataset of brain MRI",
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": " ".join(["bids_app", *(each["value-key"] for each in inputs)]),
        "container-image": {"type": "docker", "image": f"bids_app:{__version__}"},
        "inputs": inputs,
        "output-files": [
            {
                "id": "derivatives",
                "name": "BIDS derivatives",
                "description": "Images, masks, transforms and tables, each with a sidecar",
                "path-template": "[OUTPUT_DIR]",
                "optional": False,
            }
        ],
        "error-codes": [{"code": code, "description": text} for code, text in _ERROR_CODES.items()],
        "suggested-resources": {"cpu-cores": 2, "ram": 5, "walltime-estimate": 600},
        "tags": {"domain": ["neuroinformatics", "bids", "mri"]},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(descriptor(), indent=2) + "\n", encoding="utf-8")
