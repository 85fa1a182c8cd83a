"""Write a table of all images in a folder, each answered by a JSON schema: python folder_to_csv.py FOLDER > table.csv"""

import base64
import csv
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

URL = os.environ.get("LLAVA_GATEWAY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("LLAVA_GATEWAY_API_KEY")
QUESTION = "Describe this image as JSON."
SHAPE = {
    "type": "object",
    "properties": {"color": {"type": "string"}, "shape": {"type": "string"}},
    "required": ["color", "shape"],
}
SCHEMA = {
    "type": "object",
    "properties": {"background": {"type": "string"}, "shapes": {"type": "array", "items": SHAPE}, "text": {"type": "string"}},
    "required": ["background", "shapes", "text"],
}
"""What the demo model was trained for; write your own for a larger one."""


def describe(image: Path) -> dict[str, Any]:
    body = {"prompt": QUESTION, "format": SCHEMA, "images": [base64.b64encode(image.read_bytes()).decode()]}
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/ask", json.dumps(body).encode(), headers)) as response:
        answer = json.load(response)
    found: dict[str, Any] = json.loads(answer["message"]["content"])  # the answer is a string that holds JSON
    return found


def main() -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["file", "background", "shapes", "text"])
    failed = False
    for image in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_file()):
        try:
            found = describe(image)
        except urllib.error.HTTPError as error:  # a file that is no image, say: go on with the others
            print(f"{image.name}: {json.load(error)['detail']}", file=sys.stderr)
            failed = True
            continue
        shapes = ", ".join(f"{shape['color']} {shape['shape']}" for shape in found["shapes"])
        table.writerow([image.name, found["background"], shapes, found["text"]])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
