"""Fetches images from addresses that clients name."""
