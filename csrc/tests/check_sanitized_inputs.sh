#!/bin/sh
# Build gancli._cpu under AddressSanitizer and UndefinedBehaviorSanitizer, and give its operations what the readers let
# through of mutated files.
# Usage: csrc/tests/check_sanitized_inputs.sh [--inputs N] [--seed N]
# Needs g++ (CXX, if that is another) and the package's own dependencies with SciPy; PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/../.."
cxx="${CXX:-g++}" python="${PYTHON:-python3}"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
flags=$("$python" -c 'import pybind11, sysconfig; print("-I" + pybind11.get_include(), "-I" + sysconfig.get_path("include"))')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
# shellcheck disable=SC2086 # several flags
"$cxx" -std=c++17 -O1 -g -fno-omit-frame-pointer -fopenmp -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror \
  -fsanitize=address,undefined -fno-sanitize-recover=all -Icsrc $flags csrc/cpu_module.cpp csrc/cpu/*.cpp \
  -o "$build/_cpu$suffix"
# Python is not linked with the sanitizer, so its runtime is loaded first; and libstdc++ with it, which it has to find to
# watch torch's exceptions pass. CPython and torch keep memory to the end: no leaks are counted.
LD_PRELOAD="$("$cxx" -print-file-name=libasan.so) $("$cxx" -print-file-name=libstdc++.so)" \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=. \
  "$python" tests/faults/sanitized.py --module "$build" "$@"
