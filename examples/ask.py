"""Ask about an image, and print the words as they come: python ask.py IMAGE QUESTION"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

URL = os.environ.get("LLAVA_GATEWAY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("LLAVA_GATEWAY_API_KEY")


def events(image: Path, question: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of an answer: (name, data)."""
    body = {"prompt": question, "images": [base64.b64encode(image.read_bytes()).decode()]}
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(f"{URL}/ask", json.dumps(body).encode(), headers)
    name = ""
    with urllib.request.urlopen(request) as response:
        for line in response:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def main() -> None:
    image, question = Path(sys.argv[1]), sys.argv[2]
    try:
        for name, data in events(image, question):
            if name == "delta":
                print(data["text"], end="", flush=True)
            elif name == "error":  # after the first word: the status was already sent
                sys.exit(f"\n{data['detail']} {data['error']['hint']}")
        print()
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"{problem['detail']} {problem['error']['hint']}")


if __name__ == "__main__":
    main()
