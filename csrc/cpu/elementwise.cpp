#include "elementwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "layer_kernels.h"
#include "parallel.h"

namespace gancli {
namespace {

// Floats per work item: 64 KiB an array, long enough for the hardware to read ahead.
constexpr std::int64_t CHUNK = 1 << 14;
static_assert(CHUNK % DROPOUT_BLOCK == 0, "items begin at whole blocks of random numbers");

}  // namespace

void dropout(const Kernels& kernels, std::int64_t count, std::uint64_t seed, double keep, const float* x,
             float* y, int threads) {
  // keep·2^32 of the 2^32 numbers, the last of them.
  const auto last = std::uint32_t(std::max(std::llround(keep * 4294967296.0), 1LL) - 1);
  const float scale = float(1.0 / keep);
  parallel_for(threads, ceil_div(count, CHUNK), [&](Workspace&, std::int64_t item) {
    const std::int64_t begin = item * CHUNK;
    kernels.layers->dropout(begin / DROPOUT_BLOCK, std::min(CHUNK, count - begin), seed, last, scale,
                            x + begin, y + begin);
  });
}

void momentum_update(const Kernels& kernels, const Updated* tensors, std::int64_t num, float momentum,
                     float lr, int threads) {
  std::vector<Updated> chunks;
  for (std::int64_t i = 0; i < num; ++i) {
    const Updated& whole = tensors[i];
    for (std::int64_t begin = 0; begin < whole.count; begin += CHUNK) {
      chunks.push_back({whole.parameter + begin, whole.velocity + begin, whole.gradient + begin,
                        std::min(CHUNK, whole.count - begin), whole.parts, whole.stride});
    }
  }
  parallel_for(threads, std::int64_t(chunks.size()), [&](Workspace&, std::int64_t item) {
    const Updated& chunk = chunks[item];
    kernels.layers->momentum(chunk.count, momentum, lr, chunk.gradient, chunk.parts, chunk.stride,
                             chunk.velocity, chunk.parameter);
  });
}

}  // namespace gancli
