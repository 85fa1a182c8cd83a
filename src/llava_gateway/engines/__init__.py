"""Engines: each one talks to one kind of model server and yields `chat.EngineEvent`s. `base.py` is the protocol they share."""
