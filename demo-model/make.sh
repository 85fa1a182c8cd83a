#!/bin/sh
# Train the demo model and write its GGUF pair to build/demo-model: make.sh [SECONDS]    (default: four hours)
set -eu
CDPATH='' cd -- "$(dirname "$0")/.."
seconds=${1:-14400}
venv=.cache/demo-model-venv
out=build/demo-model

sh scripts/install.sh run
[ -x $venv/bin/python ] || .venv/bin/python -m venv $venv
# PyTorch is not in the lock files: it is large, and nothing else needs it.
$venv/bin/python -m pip install --quiet --disable-pip-version-check '.[demo-model,embedded]'
mkdir -p $out
# Without these variables glibc returns memory after each step, and training takes four times as long.
export MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_MMAP_THRESHOLD_=4294967296
$venv/bin/python demo-model/train.py --steps 1000000 --batch 24 --rate 0.001 --seconds "$seconds" --out $out/checkpoint.pt
$venv/bin/python demo-model/export.py $out/checkpoint.pt $out
echo "Written to $out. Compare it with what ships: $venv/bin/python demo-model/evaluate.py 1500 $out"
