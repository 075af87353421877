"""ANTs' library without the package around it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bids_app.steps import ants, images

#: What `import ants` brings, for seconds and hundreds of MB in each process.
HEAVY = ("pandas", "sklearn", "statsmodels", "matplotlib")

_USES_ALL = """
import sys
import numpy as np
from bids_app.steps import images
from bids_app.steps.denoise import denoise
from bids_app.steps.registration import register

array = np.random.default_rng(0).random((24, 24, 24), np.float32)
image = images.new_image(array * 100 + 100, np.diag([4.0, 4.0, 4.0, 1.0]))
register(image, image, kind="rigid")
denoise(image, images.like(np.ones((24, 24, 24), np.uint8), image))
print(*sys.modules)
"""


def _run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_registration_and_denoising_load_the_library_alone() -> None:
    loaded = set(_run(_USES_ALL))
    assert "ants.lib" in loaded
    assert not loaded & {"ants", *HEAVY}


def test_the_package_can_be_used_beside_it() -> None:
    code = """
import numpy as np
from bids_app.steps import ants as ours
library = ours.load_ants()
import ants
from ants import lib
assert lib is library
image = ants.from_numpy(np.ones((3, 4, 5), np.float32))
print(ants.smooth_image(image, 1.0).numpy().mean())
"""
    assert _run(code) == ["1.0"]


def test_ants_sees_the_voxels_and_the_grid_of_an_image() -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    turn = np.array([[0.0, -2.0, 0.0, 7.0], [1.5, 0.0, 0.0, -3.0], [0.0, 0.0, 3.0, 11.0], [0.0, 0.0, 0.0, 1.0]])
    seen = ants.to_ants(images.new_image(array, turn))
    library = ants.load_ants()
    assert np.array_equal(seen.array(), array)
    assert np.allclose(library.getSpacing(seen._pointer), (1.5, 2.0, 3.0))
    assert np.allclose(library.getOrigin(seen._pointer), (-7.0, 3.0, 11.0))
    assert np.allclose(library.getDirection(seen._pointer), (0, 1, 0, -1, 0, 0, 0, 0, 1))


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_is_bytes(value: int) -> None:
    mask = images.new_image(np.full((2, 3, 4), value, np.uint8), np.eye(4))
    seen = ants.mask_to_ants(mask).array()
    assert seen.dtype == np.uint8
    assert (seen == value).all()
