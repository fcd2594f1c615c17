#!/usr/bin/env bash
# Build, test and measure the CUDA kernels on a machine with a GPU, in one go and without a network.
#
# Usage: benchmarks/gpu_check.sh      (PYTHON chooses the interpreter, OUT the folder of the results)
#
# Needs nvcc, a C++17 compiler and a Python with torch ≥ 2.6, numpy, Pillow, matplotlib, click, rich, pytest, pybind11,
# setuptools. Nothing is installed: the modules are built in place. Once they are built every step runs, whatever became of
# the one before, and all together take less than ten minutes; gpu-check.txt ends with what failed, gpu-check.json and
# gpu-train.json hold the figures.
#
# What is aimed at on an H100, and the step that says whether it holds:
#   mnist: captured step ≥ 5 × eager, ≥ 1.5 × torch.compile with CUDA graphs, 500 steps < 0.25 s   figures of the step
#   cifar10: captured step ≥ 2 × eager; two runs of either preset end in the same bits             figures of the step
#   maxout forward and backward ≥ 2 × eager, at both sizes                                          figures of the kernels
#   Parzen: rate, ratios, error and memory                                                          figures of the kernels
#   gradients of every layer to float32 rounding                                                    tests on the GPU
#   a graph plays the bits of its operations, a run repeats itself, a resumed one ends alike,
#   means of an epoch are alike on GPU and CPU                                        tests of the captured step
#   no access beyond an array, no race                                                              compute-sanitizer
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

python="${PYTHON:-python3}"
out="$(mkdir -p "${OUT:-.}" && cd "${OUT:-.}" && pwd)"
log="$out/gpu-check.txt"
failed=()
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
: >"$log"

say() { printf '%s\n' "$*" | tee -a "$log"; }

# Seconds for all steps together; the last ones get what the others left.
readonly total=560

# step NAME SECONDS COMMAND…: run it with a time limit, in the log and on the screen.
step() {
    local name="$1" limit="$2" start="$SECONDS" left=$((total - SECONDS)) status
    shift 2
    say "" "== $name"
    if [ "$left" -lt 5 ]; then
        say "-- $name: no time left"
        failed+=("$name (no time left)")
        return 1
    fi
    # Interrupted, as Ctrl-C does: pytest then still tells what failed until then.
    timeout -s INT -k 10 "$((limit < left ? limit : left))" "$@" 2>&1 | tee -a "$log"
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

build() { step "$1" 150 env GANCLI_WERROR="$2" "$python" setup.py -q build_ext --inplace; }

if ! build "build in place, warnings are errors" 1; then
    say "Once more, with warnings as warnings:"
    build "build in place" 0 || finish
fi
# The build leaves out what does not compile: only an import shows that the module is there.
step "import gancli._cuda" 40 "$python" -c 'import torch, gancli._cuda; print(*gancli._cuda.archs())' || finish
step "gancli info" 40 "$python" -m gancli info

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

# The files that have such tests: others import packages that are not needed here.
mapfile -t on_gpu < <(grep -l 'mark\.cuda' tests/ops/*.py)
step "tests on the GPU" 120 "$python" -m pytest -q -p no:cacheprovider -m cuda "${on_gpu[@]}" tests/faults/test_device_memory.py
step "tests of the captured step" 120 "$python" -m pytest -q -p no:cacheprovider -m cuda tests/train

runs="$(mktemp -d)"
trap 'rm -rf "$runs"' EXIT
dataset=digits
if [ -n "${GANCLI_DATA:-}" ]; then
    dataset=mnist
fi
step "gancli train" 60 "$python" -m gancli train --dataset "$dataset" --device cuda --steps 20 --out "$runs/run"
step "gancli parzen" 60 "$python" -m gancli parzen --run "$runs/run" --device cuda --num-samples 2000
step "gancli evaluate" 60 "$python" -m gancli evaluate "$runs/run" --device cuda --num-samples 2000

sanitizer="$(command -v compute-sanitizer || true)"
if [ -z "$sanitizer" ]; then
    sanitizer="$(find /usr/local/cuda*/bin /opt/nvidia -name compute-sanitizer -type f 2>/dev/null | head -n 1)"
fi
if [ -n "$sanitizer" ]; then
    # Every tensor its own allocation, so that a step beyond one is seen; calls of torch that fail by design are not.
    step "compute-sanitizer memcheck" 70 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool memcheck \
        --report-api-errors no --error-exitcode 9 "$python" -m benchmarks.gpu_kernels
    step "compute-sanitizer racecheck" 70 "$sanitizer" --tool racecheck --error-exitcode 9 \
        "$python" -m benchmarks.gpu_kernels
else
    say "" "compute-sanitizer is not here: memory and races were not checked."
    failed+=("no compute-sanitizer")
fi
step "figures of the training step" 150 "$python" -m benchmarks gpu-train --json "$out/gpu-train.json"
step "figures of the kernels" 200 "$python" -m benchmarks gpu --json "$out/gpu-check.json"
finish
