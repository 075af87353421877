"""What a registration returns, and the error that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import SimpleITK as sitk


class RegistrationError(RuntimeError):
    """Two images could not be aligned; the message says what failed and why, for a user."""


@dataclass(frozen=True)
class Registration:
    """A transform from fixed to moving space, how well it fits and how it was found."""

    transform: sitk.Transform  # maps points (LPS+ mm) of the fixed space to the moving space
    inverse: sitk.Transform | None  # SyN only; a linear one has `transform.GetInverse()`
    similarity: float  # Mattes mutual information in the fixed mask, higher is better
    similarity_before: float
    rotation_deg: float
    translation_mm: float  # of the fixed centre of mass
    scale: tuple[float, float, float]  # singular values of the linear part, largest first
    attempts: int
    settings: Mapping[str, Any]
