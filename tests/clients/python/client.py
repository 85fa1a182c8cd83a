"""What an app does with a client that was generated from /openapi.json. Run by tests/clients/test_generated.py: client.py URL KEY IMAGE"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from gateway_client import AuthenticatedClient
from gateway_client.api.images import store_image
from gateway_client.api.questions import ask
from gateway_client.api.sessions import ask_in_session, create_session, get_session
from gateway_client.models import (
    Answer,
    CreateSessionSessionBody,
    DeltaEvent,
    Problem,
    Question,
    QuestionImageRef,
    Session,
    StoredImage,
    StoreImageBody,
)
from gateway_client.types import File


def main(url: str, key: str, path: str) -> None:
    with AuthenticatedClient(url, token=key) as client:
        with Path(path).open("rb") as file:
            stored = store_image.sync(client=client, body=StoreImageBody(image=File(file, "circle.png")))
        assert isinstance(stored, StoredImage)
        answer = ask.sync(client=client, body=Question(prompt="Describe this image.", images=[QuestionImageRef(image_id=stored.id)]))
        assert isinstance(answer, Answer)
        words: str = answer.message.content
        tokens: int | None = answer.images[0].sent.tokens

        refused = ask.sync(client=client, body=Question(prompt="Hello", model="nowhere"))
        assert isinstance(refused, Problem)
        code: str = refused.error.code

        session = create_session.sync(client=client, body=CreateSessionSessionBody(title="Shapes"))
        assert isinstance(session, Session)
        first = ask_in_session.sync(session.id, client=client, body=Question(prompt="Hello"))
        assert isinstance(first, Answer), first
        kept = get_session.sync(session.id, client=client)
        assert isinstance(kept, Session)
        turns: int = len(kept.turns)

        body = {"prompt": "Describe this image.", "images": [base64.b64encode(Path(path).read_bytes()).decode()]}
        written = ""
        with client.get_httpx_client().stream("POST", "/ask", json=body, headers={"Accept": "text/event-stream"}) as stream:
            event = ""
            for line in stream.iter_lines():
                name, _, value = line.partition(": ")
                event = value if name == "event" else event
                if name == "data" and event == "delta":
                    written += DeltaEvent.from_dict({"event": event, "data": json.loads(value)}).data.text
    print(json.dumps({"words": words, "tokens": tokens, "code": code, "turns": turns, "written": written}))


if __name__ == "__main__":
    main(*sys.argv[1:])
