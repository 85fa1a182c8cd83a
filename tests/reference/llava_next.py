"""What LLaVA-NeXT's own processor makes of images, kept for tests: `python -m tests.reference.llava_next` writes llava_next.npz anew.

It needs the extra `reference` (transformers; no weights, no PyTorch). The tests need only the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

FILE = Path(__file__).with_name("llava_next.npz")
SIDE = 336
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
"""(height, width), as LLaVA-1.6's configuration has them."""
LENGTHS = (40, 300, 337, 400, 500, 619, 672, 701, 850, 1000, 1008, 1200, 1344, 1600, 2016, 2500, 3000, 4032)
SIZES = [(width, height) for width in LENGTHS for height in LENGTHS if max(width, height) > SIDE]
"""(width, height) whose grid and fit are kept."""
DRAWN = [
    *((672, 672), (672, 336), (336, 672), (1008, 336), (336, 1008), (337, 337), (337, 40), (300, 1000), (500, 400), (640, 480), (480, 640)),
    *((701, 350), (850, 619), (619, 1008), (1000, 400), (900, 300), (800, 600), (1280, 720), (1024, 1365), (2000, 500), (1500, 1100)),
    (2500, 1700),
]
"""(width, height) whose pixels are kept."""
_CELL = 28


def image(size: tuple[int, int]) -> Image.Image:
    """Smooth waves, fine ones, hard edges: other in every channel, the same on every machine."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = np.sin(x / 37) + np.cos(y / 23)
    fine = np.sin(x * 1.3 + y * 0.7)
    edges = ((x // 19 + y // 13) % 2) * 2 - 1
    channels = (waves / 2 + fine / 3, edges / 2 + fine / 4 + waves / 8, waves / 3 - edges / 3)
    return Image.fromarray(np.stack([np.clip(127.5 + 127.5 * channel, 0, 255).astype(np.uint8) for channel in channels], axis=-1))


def sample(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A pixel of each 28 x 28 of a tile of (336, 336, 3), each time another: (12, 12, 3)."""
    row, column = np.meshgrid(np.arange(SIDE // _CELL), np.arange(SIDE // _CELL), indexing="ij")
    chosen: npt.NDArray[np.uint8] = tile[row * _CELL + (11 * row + 5 * column) % _CELL, column * _CELL + (3 * row + 13 * column) % _CELL]
    return chosen


def load() -> Mapping[str, npt.NDArray[Any]]:
    """`fits`: (grid width, grid height, image's width and height in it) for each of SIZES; `WIDTHxHEIGHT`: the samples of each of
    DRAWN, the overview first, then the tiles row by row."""
    with np.load(FILE) as file:
        return dict(file)


def main() -> None:
    from transformers import LlavaNextImageProcessorPil
    from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
    from transformers.image_utils import ChannelDimension

    square = {"height": SIDE, "width": SIDE}
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size=square, image_grid_pinpoints=PINPOINTS, do_rescale=False, do_normalize=False
    )
    kept: dict[str, npt.NDArray[Any]] = {}
    fits = []
    for width, height in SIZES:
        grid = select_best_resolution((height, width), PINPOINTS)
        fit = get_patch_output_size(np.broadcast_to(np.uint8(0), (3, height, width)), grid, ChannelDimension.FIRST)
        fits.append((*grid[::-1], *fit[::-1]))
    kept["fits"] = np.array(fits, np.int16)
    for size in DRAWN:
        (tiles,) = processor(image(size), return_tensors="np")["pixel_values"]
        kept["{}x{}".format(*size)] = np.stack([sample(np.round(tile).astype(np.uint8).transpose(1, 2, 0)) for tile in tiles])
    np.savez_compressed(FILE, **kept)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
