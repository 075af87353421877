"""Pictures of known arrays: which pixels, which way round, how large."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from bids_app.reports import charts, drawing
from bids_app.reports.atlases import brightest_from
from bids_app.reports.drawing import AXIAL, CORONAL, SAGITTAL, Layout, Tile
from bids_app.reports.encoding import ORANGE, SKY, lines_uri, picture_uri
from bids_app.reports.surface import head_surface
from bids_app.steps.images import new_image


def _one(shape: tuple[int, int, int], plane: int, index: int, spacing=(1.0, 1.0, 1.0), pixel: float = 1.0) -> Layout:
    return Layout(tuple((0, size) for size in shape), spacing, pixel, ((Tile(plane, index),),))


@pytest.mark.parametrize(
    ("plane", "voxel", "pixel"),
    [  # an image in RAS+: the person's right is on the left, up is up; in sagittal slices the front is on the left
        (AXIAL, (9, 7, 2), (0, 0)),
        (AXIAL, (0, 0, 2), (7, 9)),
        (CORONAL, (9, 3, 5), (0, 0)),
        (SAGITTAL, (4, 7, 5), (0, 0)),
        (SAGITTAL, (4, 0, 5), (0, 7)),
        (SAGITTAL, (4, 7, 0), (5, 0)),
    ],
)
def test_a_voxel_is_where_it_should_be(plane: int, voxel: tuple[int, ...], pixel: tuple[int, int]) -> None:
    array = np.zeros((10, 8, 6), np.float32)
    array[voxel] = 5
    picture = _one(array.shape, plane, voxel[plane]).image(array)
    assert np.argwhere(picture).tolist() == [list(pixel)]
    assert picture[pixel] == 5


@pytest.mark.parametrize(
    ("spacing", "pixel", "size"),
    [((1, 1, 1), 1.0, (8, 10)), ((0.5, 2, 5), 1.0, (16, 5)), ((1, 1, 1), 2.0, (4, 5)), ((0.9, 0.9, 5), 1.0, (7, 9))],
)
def test_pixels_are_square_in_millimetres(spacing, pixel: float, size: tuple[int, int]) -> None:
    layout = _one((10, 8, 6), AXIAL, 0, spacing, pixel)
    assert layout.image(np.zeros((10, 8, 6))).shape == size
    assert layout.mask(np.zeros((10, 8, 6))).shape == size


def test_a_thick_slice_is_a_block_and_not_a_gradient() -> None:
    array = np.zeros((4, 4, 3), np.float32)
    array[..., 1] = 10
    picture = _one(array.shape, CORONAL, 0, (1.0, 1.0, 5.0)).image(array)
    assert picture.shape == (15, 4)
    assert picture[:, 0].tolist() == [0] * 5 + [10] * 5 + [0] * 5


def test_an_outline_is_the_outermost_pixels_of_the_mask_and_nothing_else() -> None:
    array = np.zeros((12, 10, 3), bool)
    array[3:9, 2:8, 1] = True
    outline = _one(array.shape, AXIAL, 1).outline(array)
    wanted = np.zeros((10, 12), bool)
    wanted[2:8, 3:9] = True
    wanted[3:7, 4:8] = False
    assert (outline == wanted).all()
    assert not _one(array.shape, AXIAL, 0).outline(array).any()


def test_an_outline_lies_in_the_mask_and_touches_its_outside_on_grids_of_any_shape() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((9, 7, 5)) > 0.4
    layout = drawing.mosaic(mask, (1.3, 0.7, 4.0), width=80)
    inside, outline = layout.mask(mask), layout.outline(mask)
    assert not (outline & ~inside).any()
    beside = np.zeros_like(inside)
    outside = np.pad(~inside, 1, constant_values=True)
    same, before, after = slice(1, -1), slice(-2), slice(2, None)
    for rows, columns in ((before, same), (after, same), (same, before), (same, after)):
        beside |= outside[rows, columns]
    assert (outline <= beside).all()
    assert layout.image(mask.astype(np.float32)).shape == inside.shape


def test_a_mask_at_the_border_of_the_picture_has_an_outline_there() -> None:
    assert drawing.border(np.ones((3, 4), bool)).sum() == 10


def test_slices_are_cut_to_the_brain_and_a_margin() -> None:
    mask = np.zeros((100, 120, 40), bool)
    mask[30:60, 50:90, 10:30] = True
    assert drawing.box_around(mask, (1.0, 2.0, 4.0)) == ((20, 70), (45, 95), (7, 33))
    assert drawing.box_around(np.zeros_like(mask), (1, 1, 1)) == ((0, 100), (0, 120), (0, 40))


def test_a_mosaic_has_slices_of_three_planes_within_the_mask() -> None:
    mask = np.zeros((60, 60, 9), bool)
    mask[10:50, 5:55, 1:8] = True
    layout = drawing.mosaic(mask, (3.0, 3.0, 20.0))
    assert [row[0].plane for row in layout.rows] == [AXIAL, CORONAL, SAGITTAL]
    for row in layout.rows:
        indices = [tile.index for tile in row]
        assert indices == sorted(set(indices))
        reached = np.flatnonzero(mask.any(axis=tuple(axis for axis in range(3) if axis != row[0].plane)))
        assert set(indices) <= set(reached.tolist())
    assert drawing.strip(mask, (3.0, 3.0, 20.0)).image(mask).ndim == 2
    one_slice = np.zeros((60, 60, 1), bool)
    assert drawing.mosaic(one_slice, (3.0, 3.0, 5.0)).image(one_slice.astype(float)).ndim == 2


def test_a_window_is_that_of_the_brain() -> None:
    low, high = drawing.window(np.linspace(0, 100, 1001))
    assert low == 0
    assert high == pytest.approx(104.5, abs=0.2)
    assert drawing.window(np.linspace(-1, 1, 1001))[0] == pytest.approx(-0.98)
    assert drawing.window(np.array([])) == (0.0, 1.0)
    assert drawing.window(np.full(9, 3.0))[1] > drawing.window(np.full(9, 3.0))[0]
    assert drawing.grey(np.array([[-1, 0, 5, 10, 99]], np.float32), (0, 10)).tolist() == [[0, 0, 128, 255, 255]]


def test_a_ratio_has_one_colour_for_each_side() -> None:
    colours = drawing.coloured_ratio(np.array([[0, 0.5, 1, 2, 9]], np.float32), 2.0)[0].astype(int)
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1][2] > colours[1][0] + 100  # blue
    assert np.ptp(colours[2]) == 0  # white
    assert colours[3][0] > colours[3][2] + 100  # orange
    assert (colours[4] == colours[3]).all()


def test_a_sample_of_a_mask_is_even_and_small() -> None:
    mask = np.zeros((40, 30, 20), bool)
    mask[5:35] = True
    some = drawing.sample(mask, most=500)
    assert len(some[0]) == 500
    assert mask[some].all()
    assert np.mean(some[0]) == pytest.approx(19.5, abs=0.5)
    assert len(drawing.sample(np.zeros_like(mask))[0]) == 0


def test_a_checkerboard_begins_anew_in_each_slice() -> None:
    layout = Layout(((0, 4), (0, 4), (0, 1)), (1, 1, 1), 1.0, ((Tile(AXIAL, 0), Tile(AXIAL, 0)),))
    board = layout.checkerboard(side_mm=2)
    assert board[:2, :2].all()
    assert not board[:2, 2:4].any()
    assert board[2:4, 2:4].all()
    assert (board[:, 6:10] == board[:, :4]).all()


def test_pictures_are_read_back_as_they_were_drawn() -> None:
    first, second = np.zeros((6, 5), bool), np.zeros((6, 5), bool)
    first[1, 1], second[4, 3] = True, True
    kind, _, content = lines_uri((first, ORANGE), (second, SKY)).partition(",")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))
    assert kind == "data:image/png;base64"
    assert (picture[..., 3] > 0).tolist() == (first | second).tolist()
    assert tuple(picture[1, 1, :3]) == ORANGE
    assert tuple(picture[4, 3, :3]) == SKY
    ramp = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (25, 1))
    again = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture_uri(ramp).partition(",")[2]))).convert("L"))
    assert np.abs(again.astype(int) - ramp).max() < 12
    assert picture_uri(ramp) == picture_uri(ramp)


def test_the_surface_shows_what_sticks_out() -> None:
    """A block with a nose: from the front its edges are seen, from the left it sticks out."""
    array = np.zeros((60, 80, 60), np.float32)
    array[10:50, 10:60, 5:55] = 100
    flat = head_surface(new_image(array, np.eye(4)))
    array[27:33, 60:72, 25:35] = 100
    nosed = head_surface(new_image(array, np.eye(4)))
    assert flat.shape == nosed.shape
    front = slice(0, 48)
    assert (flat[:, front] > 0).sum() == (nosed[:, front] > 0).sum()  # within the block's shadow
    assert np.abs(flat[:, front].astype(int) - nosed[:, front]).max() > 50
    left = nosed[:, 56:]
    columns = np.flatnonzero((left > 0).any(axis=0))
    assert columns[0] == pytest.approx(8 / 1.25, abs=1.5)  # the nose is to the left: 80 - 72 voxels from the front
    assert not head_surface(new_image(np.zeros((8, 8, 8), np.float32), np.eye(4))).any()


def test_a_histogram_has_its_peak_where_the_values_are() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 0.5, 20_000).astype(np.float32)
    chart = charts.histogram([("before", values), ("after", values + 2)], "x", limits=(0, 10))
    assert chart is not None
    for line, middle in zip(chart.lines, (3, 5), strict=True):
        points = [tuple(map(float, one.split(","))) for one in line.path[1:].split("L")]
        assert min(points, key=lambda point: point[1])[0] == pytest.approx(middle / 10 * charts.WIDTH, abs=12)
        assert all(0 <= y <= charts.HEIGHT for _, y in points)
    assert "before: median 3" in chart.alt
    assert charts.histogram([("a", np.array([], np.float32))], "x") is None
    assert charts.histogram([("a", np.full(5, 2.0, np.float32))], "x") is None
    assert charts.histogram([("a", np.array([np.nan, 1.0, 2.0], np.float32))], "x") is not None


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-3.1, 3.2, [-2, 0, 2]), (0.92, 1.31, [1, 1.1, 1.2, 1.3]), (0, 1e6, None)],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float] | None) -> None:
    found = charts.round_ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low <= tick <= high * 1.0001 for tick in found)
    if ticks is not None:
        assert found == pytest.approx(ticks)


@pytest.mark.parametrize(("low", "high"), [(np.nan, np.nan), (0, np.inf), (np.nan, 1), (1, 1), (2, 1)])
def test_what_is_no_range_has_no_ticks(low: float, high: float) -> None:
    assert charts.round_ticks(low, high) == []


def test_the_brightest_tissue_begins_between_the_two_brighter_classes() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(middle, 4, 4000) for middle in (20, 60, 100)])
    assert 70 < brightest_from(values) < 90
