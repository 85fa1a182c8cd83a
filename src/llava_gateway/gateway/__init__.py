"""Answers one question, from the request to the answer: `gateway.py` is the walk, and each module beside it is one step of it."""
