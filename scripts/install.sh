#!/bin/sh
# Installs one lock file of constraints/ and the package itself into .venv: scripts/install.sh run|dev|dialects|bench
# Does nothing if they are installed and unchanged. PYTHON names the interpreter to use.
set -eu

what=$1
CDPATH='' cd -- "$(dirname "$0")/.."
venv=.venv
lock=constraints/$what.txt

say() { printf '%s\n' "$*" >&2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

can_make_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Sets $python: the first interpreter that is new enough and can make virtual environments.
find_python() {
    without_venv=
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.14 python3.13 python3.12 python3.11 python; fi
    for python; do
        new_enough "$python" || continue
        can_make_venvs "$python" && return
        without_venv=${without_venv:-$python}
    done
    if [ -n "$without_venv" ]; then
        version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "$without_venv is Python $version but can't make virtual environments: a part of it is packaged on its own."
        say "On Debian and Ubuntu: sudo apt install python$version-venv"
    else
        say "Python 3.11 or newer is needed, and none was found as ${PYTHON:-python3, python3.14 ... python3.11 or python}."
        say "Debian, Ubuntu: sudo apt install python3 python3-venv    Fedora: sudo dnf install python3.13    macOS: brew install python"
        say "An interpreter that stands elsewhere: make run PYTHON=/path/to/python3"
    fi
    exit 1
}

# Prints a checksum of everything that an installation depends on.
state() { cat "$lock" pyproject.toml | cksum; }

# A virtual environment can't be moved: one from another folder, or without its Python, is created again.
is_usable() { [ "$(cat $venv/made-in 2>/dev/null)" = "$(pwd)" ] && new_enough $venv/bin/python; }

is_current() { [ "$(cat "$venv/installed-$what" 2>/dev/null)" = "$(state)" ] && is_usable; }

# If two `make`s run at once, the second one waits for the first. It takes over the lock of a process that has ended.
guard=.cache/install.lock
take_turn() {
    mkdir -p .cache
    [ ! -d $guard ] || say "Waiting for another installation (if there is none, remove $guard) ..."
    until mkdir $guard 2>/dev/null; do
        owner=$(cat $guard/pid 2>/dev/null || true)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            rm -rf $guard
        else
            sleep 1
        fi
    done
    echo $$ > $guard/pid
    trap 'rm -rf $guard' EXIT
    trap 'exit 130' INT TERM HUP
}

is_current && exit
take_turn
is_current && exit

if ! is_usable; then
    find_python
    say "Making a virtual environment in $venv with $("$python" --version) ..."
    "$python" -m venv --clear $venv
    pwd > $venv/made-in
fi
rm -f "$venv/installed-$what"
say "Installing $(grep -c '==' "$lock") packages from $lock ..."
$venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
# Editable, so that `git pull` is enough for an update; the build backend comes from the lock file, so nothing else is downloaded.
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
state > "$venv/installed-$what"
