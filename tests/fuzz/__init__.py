"""Broken images for the worker processes, and odd requests for the API: `make fuzz`."""
