"""Test that costly drawings end at the limits of their worker."""

from __future__ import annotations

import pytest

from llava_gateway.errors import ImageError
from llava_gateway.images.store import ImageStore
from llava_gateway.settings import Settings
from tests.images.test_svg import drawing


def costly() -> dict[str, bytes]:
    """Make drawings that would take hours, or all memory."""
    use = '<use href="#a{}"/>'
    groups = "".join(f'<g id="a{n}">{20 * use.format(n - 1)}</g>' for n in range(1, 12))
    blurred = '<filter id="f"><feMorphology radius="900"/><feGaussianBlur stdDeviation="500"/></filter>'
    return {
        "used": drawing(f'<defs><rect id="a0" width="1" height="1"/>{groups}</defs><use href="#a11"/>'),
        "filtered": drawing(f'{blurred}<rect width="500" height="500" filter="url(#f)"/>', 'width="2000" height="2000"'),
    }


@pytest.mark.parametrize("name", costly())
async def test_a_costly_drawing_ends_at_the_limits_of_its_worker(name: str) -> None:
    store = ImageStore(Settings(image_workers=1, image_timeout=2))
    await store.start()
    try:
        with pytest.raises(ImageError):
            await store.add(costly()[name])
        assert (await store.add(drawing())).info.original_format == "SVG"
    finally:
        await store.aclose()
