"""What a table of participants says of them, as far as it may be passed on: the rule for every table, name and page."""

from __future__ import annotations

import re

from bids_app.outputs.anonymise import capped_age, safe_text

#: What a cell of a column that the user names may look like: short words or a number (and no date, `safe_text`).
_VALUE = re.compile(r"[\w .+<>=%/()-]{1,40}")


def public_cell(column: str, text: str) -> str | None:
    """A cell as it may be written; None where it could tell who somebody is, or, of an age, where it is none.

    An age is whole and capped. Of any other column a word or a number stays, and nothing with a date in it.
    """
    if column.lower() == "age":
        return capped_age(text)
    text = " ".join(text.split())
    return text if _VALUE.fullmatch(text) and safe_text(text) == text else None
