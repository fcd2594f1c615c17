#include "measure.h"

#include <chrono>

namespace gancli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double fma_peak(const Kernels& kernels, int threads, double seconds) {
  constexpr std::int64_t ROUNDS = 1 << 14;
  double operations = 0;
  const auto start = std::chrono::steady_clock::now();
#pragma omp parallel num_threads(threads) reduction(+ : operations)
  {
    float sink;
    do {
      operations += kernels.multiply_add(ROUNDS, &sink);
    } while (seconds_since(start) < seconds);
  }
  return operations / seconds_since(start);
}

double read_bandwidth(const Kernels& kernels, const float* data, std::int64_t count, int threads) {
  constexpr std::int64_t BLOCK = 1 << 16;
  const std::int64_t blocks = (count + BLOCK - 1) / BLOCK;
  float total = 0;
  const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for num_threads(threads) reduction(+ : total) schedule(static)
  for (std::int64_t b = 0; b < blocks; ++b) {
    total += kernels.stream(data + b * BLOCK, b + 1 < blocks ? BLOCK : count - b * BLOCK);
  }
  const double seconds = seconds_since(start);
  volatile float keep = total;
  (void)keep;
  return double(count) * sizeof(float) / seconds;
}

}  // namespace gancli
