#!/bin/sh
# Checks the types that the page's scripts name in JSDoc: the TypeScript compiler over src/llava_gateway/web/js.
#   check.sh FOLDER    keeps the compiler and the libraries' types in FOLDER, as package-lock.json has them; they come through npm.
# Where there is no npm it says so and checks nothing; on CI that is a failure.
set -eu

here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd)
web=$(CDPATH='' cd -- "$here/../../../src/llava_gateway/web" && pwd)

cannot() {
    echo "The page's types are not checked: $1" >&2
    if [ "${CI:-}" = true ]; then exit 1; else exit 0; fi
}

mkdir -p "$1/web"
cd "$1"
if ! cmp -s "$here/package-lock.json" installed.json; then
    command -v npm >/dev/null || cannot "there is no npm to install the compiler with"
    cp "$here/package.json" "$here/package-lock.json" .
    npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >&2 || cannot "npm could not install the compiler"
    cp package-lock.json installed.json
fi

# The compiler sees our scripts beside the published types of the libraries, rather than beside the libraries themselves.
ln -sfn "$web/js" web/js
ln -sfn "$here/vendor" web/vendor
cp "$here/tsconfig.json" .
node_modules/.bin/tsc --project .
