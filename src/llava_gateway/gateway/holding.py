"""Keeps images from being evicted while a request needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from llava_gateway.images.store import ImageStore, StoredImage

Hold: TypeAlias = Callable[[StoredImage], StoredImage]
"""Keeps an image from being evicted, and returns it."""


@contextmanager
def holding(images: ImageStore) -> Iterator[Hold]:
    """Yield a function that keeps an image from being evicted until the end of the block."""
    held: list[StoredImage] = []

    def hold(image: StoredImage) -> StoredImage:
        images.hold(image)
        held.append(image)
        return image

    try:
        yield hold
    finally:
        for image in held:
            images.release(image)
