"""Reads the probabilities of tokens, which llama.cpp, vLLM and Ollama all write as OpenAI does (pure)."""

from __future__ import annotations

from typing import Any

from llava_gateway.chat import Logprob
from llava_gateway.errors import UpstreamProtocolError


def read_logprobs(given: Any, wanted: int | None) -> tuple[Logprob, ...]:
    """One for each token of a piece of an answer, with at most `wanted` alternatives; none where that is None.

    While llama.cpp waits to see whether a stop text comes, it gives what it holds back as one token. Raises UpstreamProtocolError.
    """
    if not given or wanted is None:
        return ()
    try:
        return tuple(
            Logprob(
                str(one["token"]),
                float(one["logprob"]),
                tuple((str(other["token"]), float(other["logprob"])) for other in (one.get("top_logprobs") or ())[:wanted]),
            )
            for one in given
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise UpstreamProtocolError from error
