"""The gate of the tissue segmentation: which images it can be made of."""

from __future__ import annotations


class TissueGateError(ValueError):
    """An image whose tissues cannot be told apart; the message says why, in a few words for a user."""
