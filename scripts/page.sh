#!/bin/sh
# Bundles the page: src/llava_gateway/web/built/ from its scripts and style sheets. Run it after changing them, and commit both.
#   page.sh FOLDER    keeps the bundler in FOLDER, in the versions of scripts/page/package-lock.json; npm installs it.
set -eu

here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd)
web=$(CDPATH='' cd -- "${2:-$here/../src/llava_gateway/web}" && pwd)

mkdir -p "$1"
cd "$1"
if ! cmp -s "$here/page/package-lock.json" installed.json; then
    cp "$here/page/package.json" "$here/page/package-lock.json" .
    npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >&2
    cp package-lock.json installed.json
fi
cp "$here/page/build.js" .
node build.js "$web" "$here/page"
