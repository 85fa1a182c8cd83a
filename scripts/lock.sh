#!/bin/sh
# Writes constraints/: every version and its hashes, for every system and Python that we support. Needs the network and `uv` (in the lock "dev").
# Keeps the current versions; scripts/lock.sh --upgrade uses the newest ones.
set -eu

CDPATH='' cd -- "$(dirname "$0")/.."

# Also locks the build backend, with its requirements for an editable install.
build_requirements() {
    .venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "editables", sep="\n")'
}

compile() {
    out=constraints/$1.txt
    shift
    build_requirements | .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        "$@" --output-file "$out" pyproject.toml -
    if grep -n '://' "$out"; then
        echo "$out holds an address" >&2
        exit 1
    fi
}

compile run --extra embedded "$@"
# The later ones keep the versions of the first, so that all of them fit into one virtual environment.
compile dev --extra embedded --extra dev --constraints constraints/run.txt "$@"
compile dialects --extra embedded --extra dev --extra dialects --constraints constraints/dev.txt "$@"
compile bench --extra embedded --extra dev --extra bench --constraints constraints/dev.txt "$@"
