#!/usr/bin/env bash
# Install landbridge with the lowest versions that it allows into build/lowest, and run the tests of the core there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
mkdir -p build
rm -rf build/lowest
"$python" -m venv build/lowest
bin="$PWD/build/lowest/bin"
"$bin/pip" install --quiet packaging
"$bin/python" tools/dependencies.py lowest > build/lowest.txt
"$bin/pip" install --quiet -c build/lowest.txt '.[report,serve,tensorboard]' \
    duckdb filelock pandas pyarrow pytest hypothesis httpx pyyaml
unset PYTHONPATH
tests=(tests/unit/test_public_api.py tests/unit/test_import_time.py)
for part in core data datasets evaluation models/linear models/als store selection; do
    tests+=("tests/unit/$part")
done
"$bin/python" -m pytest "${tests[@]}" -p no:cacheprovider -W default "$@"
