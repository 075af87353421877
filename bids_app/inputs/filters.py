"""BIDS filters: which of the accepted kinds of series are wanted, in fMRIPrep's `--bids-filter-file` format.

A filter file maps a kind ("t1w", "t2w", "flair", ...) to entities under their pybids names:
`{"t1w": {"acquisition": "mprage", "run": [1, 2], "ceagent": null}}`. A value is matched exactly, a list by any of its
members, null by absence, "*" by presence. Each kind has a query (`QUERIES`) that the file's entries are laid over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.exit_codes import NO_INPUT, USAGE
from bids_app.inputs.errors import InputError
from bids_app.inputs.series import ENTITY_NAMES, Series

Filters = Mapping[str, Mapping[str, Any]]

#: What each kind of series means without a filter; fMRIPrep's keys, and one for every further contrast.
QUERIES: Mapping[str, Mapping[str, Any]] = {
    "t1w": {"suffix": "T1w"},
    "t2w": {"suffix": "T2w"},
    "flair": {"suffix": "FLAIR"},
    "pdw": {"suffix": ["PDw", "PD"]},
    "t2starw": {"suffix": ["T2starw", "T2star"]},
    "unit1": {"suffix": "UNIT1"},
    "swi": {"suffix": ["swi", "SWI", "SWAN", "GRE"]},
    "angio": {"suffix": ["angio", "TOF", "MRA"]},
    "flash": {"suffix": "FLASH"},
    "dwi": {"datatype": "dwi", "suffix": ["dwi", "DWI"]},
    # of diffusion images that are files of their own; what answers such an entry of a filter file is taken for it
    "b0": {"datatype": "dwi", "suffix": ["S0map", "S0", "b0", "B0", "b0map"]},
    "trace": {"datatype": "dwi", "suffix": ["trace", "TRACE", "tracew", "TRACEW", "isoDWI"]},
    "adc": {"datatype": "dwi", "suffix": ["ADC", "adc", "ADCmap"]},
}
#: Kinds that other apps read from the same file.
_OTHER_KINDS = frozenset({"bold", "sbref", "fmap", "roi", "asl", "m0scan", "anat_only_ref", "pet"})
_FILE_PROPERTIES = ("suffix", "datatype", "extension")
_ANY = ("*", "Query.ANY", "Query.REQUIRED")
_NONE = ("Query.NONE",)
_INDEX = re.compile(r"[0-9]{1,18}")


def read_filter_file(path: Path) -> dict[str, dict[str, Any]]:
    """The filters of a `--bids-filter-file`.

    Raises
    ------
    InputError
        No such file (66), or not JSON, not an object of objects, or an unknown kind (64).
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"the BIDS filter file {path} cannot be read: {error.strerror}", NO_INPUT) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"the BIDS filter file {path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            USAGE,
        ) from None
    except (ValueError, RecursionError):
        raise InputError(f"the BIDS filter file {path} is not valid JSON", USAGE) from None
    if not isinstance(value, dict) or not all(isinstance(query, dict) for query in value.values()):
        raise InputError(
            f'the BIDS filter file {path} must hold an object of objects, such as {{"t1w": {{"run": 1}}}}', USAGE
        )
    unknown = sorted(set(value) - set(QUERIES) - _OTHER_KINDS)
    if unknown:
        raise InputError(
            f"the BIDS filter file {path} has unknown kind(s) {', '.join(unknown)}; known: {', '.join(QUERIES)}", USAGE
        )
    _check_expressions(path, value)
    return value


def _check_expressions(path: Path, filters: Filters) -> None:
    for query in filters.values():
        values = [one for value in query.values() for one in (value if isinstance(value, list) else [value])]
        for one in values if query.get("regex_search") is True else ():
            try:
                re.compile(str(one))
            except (re.error, OverflowError, RecursionError) as error:
                raise InputError(
                    f"the BIDS filter file {path}: {one!r} is no regular expression ({error})", USAGE
                ) from None


def wanted(series: Series, filters: Filters) -> bool:
    """Whether a series answers one of the queries; without filters every series does."""
    if not filters:
        return True
    return any(matches(series, {**query, **filters.get(kind, {})}) for kind, query in QUERIES.items())


def matches(series: Series, query: Mapping[str, Any]) -> bool:
    """Whether a series has every value of a query; keys are pybids' names, BIDS short keys or sidecar fields.

    A text is matched exactly (but `run`, where 01 is 1), a number by value. `regex_search: true` in the query searches
    each value as a case-insensitive regular expression. This is what pybids' `BIDSLayout.get` does.
    """
    regex = query.get("regex_search") is True
    return all(
        _value_matches(_value(series, key), value, regex, number=key == "run")
        for key, value in query.items()
        if key != "regex_search"
    )


def _value(series: Series, key: str) -> Any:
    if key in _FILE_PROPERTIES:
        return getattr(series, key)
    for short, long in ENTITY_NAMES.items():
        if key in (short, long):
            return series.entity(short)
    return series.metadata.get(key)


def _value_matches(found: Any, wanted_value: Any, regex: bool, number: bool) -> bool:
    options = wanted_value if isinstance(wanted_value, list) else [wanted_value]
    if not options or "Query.OPTIONAL" in options:
        return True
    return any(_one_matches(found, option, regex, number) for option in options)


def _one_matches(found: Any, option: Any, regex: bool, number: bool) -> bool:
    if option is None or option in _NONE:
        return found is None
    if option in _ANY:
        return found is not None
    if found is None:
        return False
    if regex:
        return re.search(str(option), str(found), re.IGNORECASE) is not None
    if (number or isinstance(option, int)) and _INDEX.fullmatch(str(found)) and _INDEX.fullmatch(str(option)):
        return int(found) == int(option)
    return bool(found == option)
