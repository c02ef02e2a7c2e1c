#!/usr/bin/env bash
# Runs the tests on the lowest versions that pyproject.toml allows: a bound is what was run.
#
#     bash tests/lowest.sh [options of pytest]
#
# In an environment of its own that is gone afterwards. uv is installed there too: pip takes the
# newest versions only. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install -q uv
"$python" -m uv pip install -q --python "$python" --resolution lowest-direct \
    ".[demo,test]"
"$python" -m uv pip list --python "$python"
"$python" -m pytest -n 2 --dist worksteal "$@"
