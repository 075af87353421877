"""The brain's border where the image has it: known brains, with a mask that is off by a known distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.steps.brain_mask.border import Belief, sharpened
from bids_app.steps.distance import grown, shrunk

_SHAPE = (88, 88, 88)
_SPACING = (1.0, 1.0, 1.0)
Mask = NDArray[np.bool_]


def _radius(centre: tuple[float, float, float] = (43.5, 43.5, 43.5)) -> NDArray[np.float64]:
    x, y, z = np.indices(_SHAPE)
    return np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)


@dataclass(frozen=True)
class _Head:
    """A ball of a brain (radius 30 mm) in fluid (to 35 mm) in a skull, and what a network of 2 mm says of it."""

    tissue: Mask
    brain: Belief
    inside: Belief

    def painted(self, tissue: float, fluid: float, noise: float = 0.0, skull: float = 0.5) -> NDArray[np.float32]:
        image = np.where(self.tissue, tissue, np.where(self.inside.mask, fluid, skull))
        return (image + np.random.default_rng(1).normal(0, 1, _SHAPE) * noise).astype(np.float32)

    def sharpened(self, image: NDArray[np.float32]) -> Mask:
        return sharpened(image, _SPACING, self.brain, self.inside)


def _believed(mask: Mask, counts_from: float = 0.3) -> Belief:
    probability = ndimage.gaussian_filter(mask.astype(np.float32), 1.2)
    return Belief(probability, probability > counts_from)


def _head(tissue: Mask, moved_mm: float = 1.5) -> _Head:
    """The network takes the brain for a ball that lies 1.5 mm to the side of the true one."""
    return _Head(tissue, _believed(_radius((43.5 + moved_mm, 43.5, 43.5)) < 30), _believed(_radius() < 35, 0.5))


def _dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize(("tissue", "fluid"), [(0.7, 0.2), (0.3, 0.9), (0.5, 0.7)])
def test_the_border_moves_to_where_the_image_has_it(tissue: float, fluid: float) -> None:
    head = _head(_radius() < 30)
    assert _dice(head.brain.mask, head.tissue) < 0.965
    assert _dice(head.sharpened(head.painted(tissue, fluid, noise=0.05)), head.tissue) > 0.99


def test_a_coil_that_sees_one_side_thrice_as_bright_changes_little() -> None:
    head = _head(_radius() < 30)
    field = np.exp(np.linspace(-0.55, 0.55, _SHAPE[1]))[None, :, None]
    image = (head.painted(0.7, 0.2, noise=0.03) * field).astype(np.float32)
    assert _dice(head.sharpened(image), head.tissue) > 0.985


def test_where_tissue_and_fluid_look_alike_the_network_is_believed() -> None:
    head = _head(_radius() < 30)
    assert _dice(head.sharpened(head.painted(0.5, 0.5, noise=0.05)), head.brain.probability > 0.5) > 0.99


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_the_unit_of_the_intensities_does_not_matter(unit: float) -> None:
    head = _head(_radius() < 30)
    image = head.painted(0.7, 0.2, noise=0.05)
    assert _dice(head.sharpened((image * unit).astype(np.float32)), head.sharpened(image)) > 0.9999


@pytest.mark.parametrize("spike", [100, 1e4, 1e30])
def test_a_spike_changes_nothing(spike: float) -> None:
    """As maps that were computed have them, at the border: the noise of all is not measured by it."""
    head = _head(_radius() < 30)
    image = head.painted(0.7, 0.2, noise=0.05)
    before = head.sharpened(image)
    image[73, 43, 43] = spike
    assert _dice(head.sharpened(image), before) > 0.999


def test_fluid_between_the_brain_and_the_end_of_the_image_stays_fluid() -> None:
    head = _head(_radius() < 30, moved_mm=0)
    image = head.painted(0.7, 0.2, noise=0.05)
    whole = head.sharpened(image)
    for top in (75, 76, 78):  # the brain ends at 73
        parts = [Belief(one.probability[..., :top], one.mask[..., :top]) for one in (head.brain, head.inside)]
        found = sharpened(image[..., :top], _SPACING, *parts)
        assert (found ^ whole[..., :top]).sum() < 60


def test_images_without_noise_and_without_anything() -> None:
    head = _head(_radius() < 30)
    assert _dice(head.sharpened(head.painted(0.7, 0.2)), head.tissue) > 0.99
    np.testing.assert_array_equal(head.sharpened(np.full(_SHAPE, 7, np.float32)), head.brain.mask)


def test_a_mask_too_small_to_learn_from_stays() -> None:
    small = _believed(_radius() < 2.5)
    image = np.random.default_rng(1).normal(size=_SHAPE).astype(np.float32)
    np.testing.assert_array_equal(sharpened(image, _SPACING, small, small), small.mask)


def test_sulci_are_closed_over_three_millimetres_and_wider_ones_are_seen() -> None:
    x, _, z = np.indices(_SHAPE) - 43.5
    radius = _radius()
    narrow, wide = (np.abs(x) < 2) & (radius > 24), (np.abs(z) < 8) & (radius > 28)
    head = _head((radius < 30) & ~narrow & ~wide, moved_mm=0)
    found = head.sharpened(head.painted(0.7, 0.2, noise=0.03))
    closed = shrunk(grown(head.tissue, _SPACING, 3), _SPACING, 3)
    assert found[(radius < 29) & narrow & (np.abs(z) > 12)].mean() > 0.95
    assert found[(radius > 28.7) & (radius < 30) & wide & (np.abs(z) < 4)].mean() < 0.1  # in the middle
    assert _dice(found, closed) > 0.985


def test_the_brain_does_not_grow_into_what_looks_like_it_beyond_the_fluid() -> None:
    head = _head(_radius() < 30)
    found = head.sharpened(head.painted(0.7, 0.2, noise=0.05, skull=0.7))
    assert not (found & ~(head.inside.mask | head.brain.mask)).any()
    assert _dice(found, head.tissue) > 0.98


def test_a_lesion_that_looks_like_fluid_is_not_cut_out() -> None:
    """Of one that reaches the surface at most the outermost millimetres go, where it cannot be told from a sulcus."""
    head = _head(_radius() < 30, moved_mm=0)
    lesion = (_radius((43.5, 43.5, 66)) < 12) & head.tissue
    image = head.painted(0.7, 0.2, noise=0.05)
    image[lesion] = (0.2 + np.random.default_rng(2).normal(0, 0.05, int(lesion.sum()))).astype(np.float32)
    found = head.sharpened(image)
    assert found[lesion & (_radius() < 27)].all()
    assert found[lesion].mean() > 0.85


def test_thick_slices() -> None:
    """Slices of 4 mm: the network's mask lies 1.5 mm to the side within the slice."""
    head = _head(_radius() < 30)
    slabs = (*_SHAPE[:2], _SHAPE[2] // 4, 4)

    def thick(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(volume.reshape(slabs).mean(axis=-1), dtype=np.float32)

    def belief(of: Belief) -> Belief:
        probability = thick(of.probability)
        return Belief(probability, probability > 0.5)

    truth = thick(head.tissue.astype(np.float32)) > 0.5
    brain = belief(head.brain)
    found = sharpened(thick(head.painted(0.7, 0.2, noise=0.05)), (1.0, 1.0, 4.0), brain, belief(head.inside))
    assert _dice(brain.mask, truth) < 0.965
    assert _dice(found, truth) > 0.98
