"""Who is who in an export: keyed pseudonyms in the place of labels, and days in the place of dates.

A pseudonym is HMAC-SHA-256 (RFC 2104) of the label under a secret that stays with whoever exports: the same key gives
the same pseudonyms again, so that an export can grow; without it they can neither be computed from a list of labels nor
be turned back. Without a key the labels of the derivatives are used as they are.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from bids_app.outputs.anonymise import date_shift, shifted

#: Hexadecimal digits of a pseudonym: 80 bits, two among a million are equal with a chance under 1e-12.
_DIGITS = 20


@dataclass(frozen=True)
class Names:
    """The names of patients and studies in an export; `date_key` moves dates, by default with the same secret."""

    key: bytes | None = None
    date_key: bytes | None = None

    def patient(self, subject: str) -> str:
        """The name of a participant."""
        return self._pseudonym(f"patient\0{subject}") if self.key else f"sub-{subject}"

    def study(self, subject: str, session: str | None) -> str:
        """The name of a session."""
        if self.key:
            return self._pseudonym(f"study\0{subject}\0{session or ''}")
        return f"sub-{subject}" + (f"_ses-{session}" if session else "")

    def day(self, subject: str, moment: str | None) -> str | None:
        """The day of a date and time, moved back by whole days that are the same for all of a participant."""
        key = self.date_key or self.key
        if key is None or not moment:
            return None
        if "T" not in moment:
            moment = f"{moment.strip()}T00:00:00"
        moved = shifted(moment, timedelta(days=date_shift(key, subject).days))
        return moved[:10] if moved else None

    def _pseudonym(self, text: str) -> str:
        assert self.key is not None
        return hmac.new(self.key, b"pseudonym\0" + text.encode(), hashlib.sha256).hexdigest()[:_DIGITS]
