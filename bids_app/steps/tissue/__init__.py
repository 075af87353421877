"""Tissue: how much of every voxel is grey matter, white matter or fluid, and what that comes to in millilitres."""

from __future__ import annotations

from bids_app.steps.tissue.gate import TissueGateError, check_contrast, check_coverage, check_grid
from bids_app.steps.tissue.segment import TISSUES, TissueSegmentation, segment_tissue
from bids_app.steps.tissue.ventricles import VENTRICLES

__all__ = [
    "TISSUES",
    "VENTRICLES",
    "VERSION",
    "TissueGateError",
    "TissueSegmentation",
    "check_contrast",
    "check_coverage",
    "check_grid",
    "segment_tissue",
]

VERSION = "2"
