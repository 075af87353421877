"""Tissue: how much of every voxel is grey matter, white matter or fluid, and what that comes to in millilitres."""

from __future__ import annotations

from bids_app.steps.tissue.atropos import TISSUES, TissueSegmentation, segment_tissue
from bids_app.steps.tissue.gate import TissueGateError

__all__ = ["TISSUES", "VERSION", "TissueGateError", "TissueSegmentation", "segment_tissue"]

VERSION = "1"
