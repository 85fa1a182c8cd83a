"""Compare our tiles with those of LLaVA-NeXT's own processor (tests/reference)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from llava_gateway.images.anyres import SquareEye, best_grid, fit_inside
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, ingest
from llava_gateway.images.plan import Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.parts import Sight
from tests.odd_images import saved
from tests.reference.llava_next import DRAWN, PINPOINTS, SIDE, SIZES, image, load, sample

REFERENCE = load()
EYE = SquareEye(SIDE, 576)
LARGE = 4_000_000
"""Number of pixels above which we average boxes of pixels before the filter (resize.py)."""


def test_our_grids_are_its_grids() -> None:
    assert EYE.usual_grids == tuple((width, height) for height, width in PINPOINTS)


def test_grids_and_fits_are_its_own() -> None:
    ours = [(*grid, *fit_inside(size, grid)) for size in SIZES for grid in [best_grid(size, EYE.usual_grids)]]
    assert ours == [tuple(row) for row in REFERENCE["fits"].tolist()]


# A longer image is sent in parts, which its own code does not do.
@pytest.mark.parametrize("size", [size for size in DRAWN if max(size) <= 3 * min(size)], ids=lambda size: "{}x{}".format(*size))
def test_the_pixels_of_tiles_and_overview_are_its_own(size: Size) -> None:
    ready = next(ingest(saved(image(size), "BMP"), Limits(), VisionProfile(SquareEye(SIDE, overview="first")), Sight(detail="high")))
    assert isinstance(ready, Ready)
    assert ready.rendered
    ours = np.stack([sample(np.asarray(Image.open(BytesIO(piece.data)))) for piece in ready.rendered.pieces]).astype(int)
    theirs = REFERENCE["{}x{}".format(*size)]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= (1 if size[0] * size[1] <= LARGE else 8)
