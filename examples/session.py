"""Ask several questions about one image, which is uploaded once: python session.py IMAGE QUESTION..."""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

URL = os.environ.get("LLAVA_GATEWAY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("LLAVA_GATEWAY_API_KEY")


def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers, method=method)) as response:
        return json.load(response) if response.status != 204 else None


def main() -> None:
    image, questions = Path(sys.argv[1]), sys.argv[2:]
    try:
        session = call("POST", "/sessions", {})["id"]
        images = [base64.b64encode(image.read_bytes()).decode()]
        for question in questions:
            answer = call("POST", f"/sessions/{session}/turns", {"prompt": question, "images": images})
            images = []  # the session has it now
            print(f"{question}\n  {answer['message']['content']}")
        call("DELETE", f"/sessions/{session}")
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"{problem['detail']} {problem['error']['hint']}")


if __name__ == "__main__":
    main()
