// The pooling kernels of csrc/cuda, run on the CPU (cuda_emulation.h), against plain loops: windows that overlap, leave
// gaps and reach over the edge, and ties. Every array is a heap block of exactly its size.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cuda/maxout_pool.cu"

namespace {

using namespace gancli::cuda;

std::mt19937 rng(1);

std::int64_t windows(std::int64_t side, int pool, int stride) {
  std::int64_t count = 1;  // begins inside and after one that did not reach the edge yet
  while ((count - 1) * stride + pool < side && count * stride < side) ++count;
  return count;
}

void check(bool good, const char* what, PoolShape s) {
  if (good) return;
  std::fprintf(stderr, "%s: wrong for %d × %d, pieces %d, pool %d, stride %d\n", what, int(s.height),
               int(s.width), s.pieces, s.pool, s.stride);
  std::exit(1);
}

void test(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width, int pieces,
          int pool, int stride) {
  const PoolShape s{
      batch,  channels, height, width, windows(height, pool, stride), windows(width, pool, stride),
      pieces, pool,     stride};
  const std::int64_t count = batch * channels * pieces * height * width;
  const std::int64_t outputs = batch * channels * s.pooled_height * s.pooled_width;
  std::uniform_int_distribution<int> few(-2, 2);  // so that there are ties
  std::vector<float> z(count), bias(channels * pieces), v_y(outputs), v_z(count), found_v_z(count, NAN);
  for (auto* values : {&z, &bias, &v_y}) {
    for (float& value : *values) value = float(few(rng));
  }
  std::vector<float> y(outputs, NAN), found_y(outputs, NAN);
  std::vector<std::uint8_t> index(outputs, 255);
  std::int64_t output = 0;
  for (std::int64_t image = 0; image < batch * channels; ++image) {
    for (std::int64_t wr = 0; wr < s.pooled_height; ++wr) {
      for (std::int64_t wc = 0; wc < s.pooled_width; ++wc, ++output) {
        std::int64_t winner = -1;
        for (std::int64_t r = wr * stride; r < std::min(wr * stride + pool, height); ++r) {
          for (std::int64_t c = wc * stride; c < std::min(wc * stride + pool, width); ++c) {
            for (int j = 0; j < pieces; ++j) {
              const std::int64_t at = ((image * pieces + j) * height + r) * width + c;
              const float value = z[at] + bias[image % channels * pieces + j];
              if (winner >= 0 && !(value > y[output])) continue;
              winner = at;
              y[output] = value;
            }
          }
        }
        v_z[winner] += v_y[output];
      }
    }
  }
  const Queue queue{0, nullptr};
  maxout_pool_forward(s, z.data(), bias.data(), found_y.data(), index.data(), queue);
  check(found_y == y, "y", s);
  maxout_pool_backward(s, v_y.data(), index.data(), found_v_z.data(), queue);
  check(found_v_z == v_z, "v_z", s);
}

}  // namespace

int main() {
  test(1, 1, 1, 1, 1, 1, 1);
  test(2, 3, 9, 7, 2, 4, 2);
  test(3, 2, 8, 8, 5, 3, 1);
  test(1, 4, 11, 5, 3, 2, 3);  // windows leave gaps
  test(2, 1, 5, 6, 64, 2, 2);
  test(1, 2, 33, 34, 1, 16, 7);
  std::printf("all passed\n");
}
