"""Why a case of a suite fails without a fault of the gateway: {(suite, part of the case's name): reason}."""

from __future__ import annotations

REASONS: dict[tuple[str, str], str] = {}
