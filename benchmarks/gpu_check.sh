#!/usr/bin/env bash
# Build, test and measure the CUDA kernels on a machine with a GPU, in one go and without a network.
#
# Usage: benchmarks/gpu_check.sh      (PYTHON chooses the interpreter, OUT the folder of the results)
#
# Needs nvcc, a C++17 compiler and a Python with torch ≥ 2.6, numpy, click, rich, pytest, pybind11, ninja, setuptools;
# Pillow, matplotlib and hypothesis are not needed. Nothing is installed: the modules are built in place. Every step runs, whatever
# became of the one before; gpu-check.txt ends with what failed, gpu-check.json holds the figures.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

python="${PYTHON:-python3}"
out="$(mkdir -p "${OUT:-.}" && cd "${OUT:-.}" && pwd)"
log="$out/gpu-check.txt"
failed=()
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
: >"$log"

say() { printf '%s\n' "$*" | tee -a "$log"; }

# step NAME SECONDS COMMAND…: run it with a time limit, in the log and on the screen.
step() {
    local name="$1" limit="$2" start="$SECONDS" status
    shift 2
    say "" "== $name"
    timeout "$limit" "$@" 2>&1 | tee -a "$log"
    status="${PIPESTATUS[0]}"
    say "-- $name: exit status $status, $((SECONDS - start)) s"
    if [ "$status" -ne 0 ]; then
        failed+=("$name ($status)")
    fi
    return "$status"
}

finish() {
    say ""
    if [ "${#failed[@]}" -eq 0 ]; then
        say "everything passed; $log"
        exit 0
    fi
    say "failed: ${failed[*]}; $log"
    exit 1
}

step "build in place" 240 env GANCLI_WERROR=1 "$python" setup.py -q build_ext --inplace || finish
step "gancli info" 60 "$python" -m gancli info

if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
    say "" "There is no GPU here that torch sees: the modules were built, nothing was run on a GPU."
    failed+=("no GPU")
    finish
fi

for folder in data ../data shared/data ../shared/data; do
    if [ -z "${GANCLI_DATA:-}" ] && [ -d "$folder/mnist" ]; then
        GANCLI_DATA="$(cd "$folder" && pwd)"
        export GANCLI_DATA
    fi
done

step "tests on the GPU" 180 "$python" -m pytest -q -p no:cacheprovider -m cuda tests/*/test_*_cuda.py
step "figures" 200 "$python" -m benchmarks gpu --json "$out/gpu-check.json"

sanitizer="$(command -v compute-sanitizer || true)"
if [ -z "$sanitizer" ]; then
    sanitizer="$(find /usr/local/cuda*/bin /opt/nvidia -name compute-sanitizer -type f 2>/dev/null | head -n 1)"
fi
if [ -n "$sanitizer" ]; then
    for tool in memcheck racecheck; do
        step "compute-sanitizer $tool" 100 "$sanitizer" --tool "$tool" --error-exitcode 9 \
            "$python" -m benchmarks.gpu_kernels
    done
else
    say "" "compute-sanitizer is not here: memory and races were not checked."
    failed+=("no compute-sanitizer")
fi
finish
