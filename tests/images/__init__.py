"""Tests of llava_gateway.images."""
