#!/bin/sh
# Ask about an image, and print the words as they come: sh ask.sh IMAGE QUESTION
# After a failure in the middle of an answer curl ends with a status that is not 0, and so does this.
set -eu

url=${LLAVA_GATEWAY_URL:-http://127.0.0.1:8000}
set -- -F "image=@$1" -F "prompt=$2"
[ -z "${LLAVA_GATEWAY_API_KEY:-}" ] || set -- "$@" -H "Authorization: Bearer $LLAVA_GATEWAY_API_KEY"
exec curl --silent --show-error --fail-with-body --no-buffer -H 'Accept: text/plain' "$@" "$url/ask"
