#!/bin/sh
# Build the CPU kernels, and the CUDA kernels in emulation, with their self-tests under AddressSanitizer and UndefinedBehaviorSanitizer, and run them.
# Usage: csrc/tests/check_sanitizers.sh    (CXX chooses the compiler)
set -eu
cd "$(dirname "$0")/.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
echo "leak:libomp" >"$build/suppressions" # clang's OpenMP runtime keeps its own state to the end
for test in tests/*_test.cpp; do
  program="$build/$(basename "$test" .cpp)"
  "${CXX:-c++}" -std=c++17 -O1 -g -fno-omit-frame-pointer -fopenmp -Wall -Wextra -Werror \
    -fsanitize=address,undefined -fno-sanitize-recover=all -I. "$test" cpu/*.cpp -o "$program"
  echo "$test"
  LSAN_OPTIONS="suppressions=$build/suppressions" "$program"
done
for test in tests/cuda_*_check.cpp; do
  program="$build/$(basename "$test" .cpp)"
  "${CXX:-c++}" -std=c++17 -O1 -g -fno-omit-frame-pointer -Wall -Wextra -Werror -Wno-unknown-pragmas \
    -fsanitize=address,undefined -fno-sanitize-recover=all -I. "$test" -o "$program"
  echo "$test"
  "$program"
done
