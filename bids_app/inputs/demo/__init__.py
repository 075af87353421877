"""A small BIDS dataset of computed heads whose truth is known, for trying and testing the app."""

from __future__ import annotations

from bids_app.inputs.demo.dataset import write_demo

__all__ = ["write_demo"]
