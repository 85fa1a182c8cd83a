"""Engines: each speaks to one kind of model server and yields `chat.ChatEvent`s. `base.py` is the protocol they share."""
