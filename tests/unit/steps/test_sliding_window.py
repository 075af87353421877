"""The sliding window: nnU-Net's tiles and weights, the answer of known networks, and what does not fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bids_app.steps.brain_mask.sliding_window import Batch, Window, gaussian, predict, tile_starts


def volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def first(patches: torch.Tensor) -> torch.Tensor:
    """A network whose scores are the image."""
    return patches[:, 0]


def from_its_place(patches: torch.Tensor) -> torch.Tensor:
    """A network whose scores depend on where in its patch a voxel lies."""
    _, _, *shape = patches.shape
    ramp = torch.arange(float(np.prod(shape))).reshape(shape)
    return patches[:, 0] * torch.cos(ramp)


@pytest.mark.parametrize("shape", [(20, 17, 31), (7, 40, 12), (5, 6, 7)])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_network_that_repeats_the_image_gives_the_image(shape: tuple[int, ...], size: int) -> None:
    image = volume(*shape)
    result = predict(image, first, Window((8, 10, 12), 0.5, (0, 1, 2)), batch=Batch(size))
    assert (result.dtype, result.shape) == (np.float32, shape)
    np.testing.assert_allclose(result, image, atol=1e-5)


def test_tiles_and_weights_are_nnunets() -> None:
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

    for size, edge in itertools.product((96, 110, 144, 192, 193, 240, 256, 511), (64, 96)):
        (theirs,) = compute_steps_for_sliding_window((size,), (edge,), 0.5)
        assert tile_starts(size, edge, 0.5) == theirs, (size, edge)
    theirs = compute_gaussian((12, 16, 9), dtype=torch.float64, device=torch.device("cpu")).numpy()
    ours = gaussian(12)[:, None, None] * gaussian(16)[None, :, None] * gaussian(9)
    inside = theirs > theirs.min()  # what lies further than four standard deviations out is made one small weight
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=1e-9)
    assert ours[~inside].max(initial=0) < 1e-3


def test_scores_are_the_weighted_mean_of_the_tiles_and_views() -> None:
    image, edges = volume(14, 9, 16), (8, 6, 8)
    result = predict(image, from_its_place, Window(edges, 0.5, (0, 2)))

    weight = gaussian(8)[:, None, None] * gaussian(6)[None, :, None] * gaussian(8)
    total, covered = np.zeros(image.shape), np.zeros(image.shape)
    for corner in itertools.product(*(tile_starts(n, edge, 0.5) for n, edge in zip(image.shape, edges, strict=True))):
        tile = tuple(slice(start, start + edge) for start, edge in zip(corner, edges, strict=True))
        for axes in ((), (0,), (2,), (0, 2)):
            seen = np.flip(image[tile].astype(float), axes)
            score = seen * np.cos(np.arange(seen.size, dtype=float)).reshape(seen.shape)
            total[tile] += np.flip(score, axes) * weight
            covered[tile] += weight
    np.testing.assert_allclose(result, total / covered, atol=1e-4)


def test_the_views_are_every_combination_of_the_axes() -> None:
    assert Window((8, 8, 8)).views() == [()]
    assert len(set(Window((8, 8, 8), mirror_axes=(0, 1, 2)).views())) == 8


@pytest.mark.parametrize("room", [1, 2, 5])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")]
)
def test_what_does_not_fit_is_tried_with_fewer_patches(room: int, error: RuntimeError) -> None:
    tried = []

    def network(patches: torch.Tensor) -> torch.Tensor:
        tried.append(len(patches))
        if len(patches) > room:
            raise error
        return from_its_place(patches)

    image, window, batch = volume(14, 9, 16), Window((8, 6, 8), 0.5, (0, 1, 2)), Batch(16)
    result = predict(image, network, window, batch=batch)

    np.testing.assert_allclose(result, predict(image, from_its_place, window), atol=1e-5)
    assert batch.size <= room
    assert batch.size * 2 > room
    tried.clear()
    predict(image, network, window, batch=batch)  # the next volume does not try it again
    assert max(tried) <= room


def test_where_one_patch_does_not_fit_it_ends() -> None:
    def network(_patches: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")

    with pytest.raises(torch.OutOfMemoryError):
        predict(volume(8, 8, 8), network, Window((8, 8, 8), 0.5, (0,)), batch=Batch(4))


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def network(_patches: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        predict(volume(8, 8, 8), network, Window((8, 8, 8)), batch=Batch(4))
