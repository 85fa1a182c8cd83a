"""Reads token probabilities. llama.cpp, vLLM and Ollama all write them as OpenAI does (pure)."""

from __future__ import annotations

from typing import Any

from llava_gateway.chat import Logprob
from llava_gateway.errors import UpstreamProtocolError


def read_logprobs(given: Any, wanted: int | None) -> tuple[Logprob, ...]:
    """Return one entry for each token of a piece of an answer, with at most `wanted` alternatives (None: return nothing).

    While a stop text may be coming, llama.cpp reports the tokens that it holds back as one. Raises UpstreamProtocolError.
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
