#!/bin/sh
# A real Ollama for the tests, on the CPU: its server built by `go install`, and as its engine the llama.cpp server of the xllamacpp wheel.
#   setup.sh PREFIX PYTHON    makes PREFIX/bin/ollama; PYTHON can import xllamacpp. Takes about a minute the first time, nothing after that.
# OLLAMA_VERSION picks another version, from v0.30.5 on.
set -eu

version=${OLLAMA_VERSION:-v0.34.2}
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd)
mkdir -p "$1/bin" "$1/lib/ollama"
prefix=$(CDPATH='' cd -- "$1" && pwd)
python=$(CDPATH='' cd -- "$(dirname "$2")" && pwd)/$(basename "$2")

if ! { [ -x "$prefix/bin/ollama" ] && [ "$(cat "$prefix/version" 2>/dev/null)" = "$version" ]; }; then
    if ! command -v go >/dev/null; then
        echo "there is no Go to build Ollama with" >&2
        exit 3
    fi
    echo "Building Ollama $version for the tests ..." >&2
    GOBIN=$prefix/bin go install -ldflags "-X github.com/ollama/ollama/version.Version=${version#v}" "github.com/ollama/ollama@$version"
    echo "$version" > "$prefix/version"
fi

# Ollama looks for its engine in ../lib/ollama, seen from itself.
cat > "$prefix/lib/ollama/llama-server" <<WRAPPER
#!/bin/sh
exec "$python" "$here/llama_server.py" "\$@"
WRAPPER
cp "$here/llama-quantize" "$prefix/lib/ollama/llama-quantize"
chmod +x "$prefix/lib/ollama/llama-server" "$prefix/lib/ollama/llama-quantize"
