"""Conversations as sessions: `session.py` has the pure value, `memory.py` stores them."""
