"""Gives every English sentence of the gateway another wording, in whichever process of the tests this folder is on PYTHONPATH.

`pytest --other-words` does it to its own process and to all that it starts: commands, servers, workers.
"""

from __future__ import annotations

from llava_gateway.notes import SENTENCES

SENTENCES.update({code: f"~{code}~" for code in SENTENCES})
