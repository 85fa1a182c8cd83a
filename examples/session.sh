#!/bin/sh
# Ask several questions about one image, which is uploaded once: sh session.sh IMAGE QUESTION...
set -eu

url=${LLAVA_GATEWAY_URL:-http://127.0.0.1:8000}
call() {
    curl --silent --show-error --fail-with-body ${LLAVA_GATEWAY_API_KEY:+-H "Authorization: Bearer $LLAVA_GATEWAY_API_KEY"} "$@"
}

image=$1
shift
session=$(call -H 'Content-Type: application/json' -d '{}' "$url/sessions" | sed 's/.*"id": *"\([^"]*\)".*/\1/')
for question; do
    printf '%s\n  ' "$question"
    if [ -n "$image" ]; then
        call -H 'Accept: text/plain' -F "image=@$image" -F "prompt=$question" "$url/sessions/$session/turns"
    else
        call -H 'Accept: text/plain' -F "prompt=$question" "$url/sessions/$session/turns"
    fi
    image=''  # the session has it now
done
call -X DELETE "$url/sessions/$session" > /dev/null
