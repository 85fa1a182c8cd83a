"""Gives every English sentence of the gateway another wording, in whichever process of the tests this folder is on PYTHONPATH.

`pytest --other-words` does it to its own process and to all that it starts: commands, servers, workers.
"""

from __future__ import annotations

from llava_gateway.error_sentences import ERRORS
from llava_gateway.notes import SENTENCES

SENTENCES.update({code: f"~{code}~" for code in SENTENCES})
ERRORS.update({reason: (f"~{reason}~", hint and f"~what to do about {reason}~") for reason, (_, hint) in ERRORS.items()})
