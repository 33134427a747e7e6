#!/usr/bin/env bash
# Install landbridge with the lowest versions that it allows into build/lowest, and try what users do first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
mkdir -p build
rm -rf build/lowest
"$python" -m venv build/lowest
bin="$PWD/build/lowest/bin"
"$bin/pip" install --quiet packaging
"$bin/python" tools/dependencies.py lowest > build/lowest.txt
"$bin/pip" install --quiet -c build/lowest.txt '.[report,serve]' duckdb pandas pyarrow pytest hypothesis httpx
unset PYTHONPATH
"$bin/python" -m pytest tests/unit/test_public_api.py tests/unit/test_import_time.py tests/unit/data \
    -p no:cacheprovider -W default
