"""Keeps sessions and votes on disk: rows in SQLite, images as files beside it. `journal.py` is what the gateway uses."""
