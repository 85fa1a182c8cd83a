"""A share of `make fuzz`."""

from __future__ import annotations

from tests.fuzz import images


async def test_a_broken_image_is_stored_or_refused_with_a_code() -> None:
    outcomes = await images.fuzz(500)
    assert outcomes.total() == 500
    assert {"stored", "image_parse_error", "unsupported_image_media_type"} <= set(outcomes)
    assert not [outcome for outcome in outcomes if outcome in ("internal_error", "overloaded")]
    assert images.table(outcomes).row_count == len(outcomes)
