"""Conversations: `session.py` has the pure value, `memory.py` keeps them."""
