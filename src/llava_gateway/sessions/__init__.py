"""Conversations: `session.py` is the pure value, `memory.py` keeps them."""
