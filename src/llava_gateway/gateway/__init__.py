"""One question, from the request to the answer: `gateway.py` walks, each module beside it is one step."""
