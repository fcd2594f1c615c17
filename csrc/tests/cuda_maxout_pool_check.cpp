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

std::vector<Bfloat16> shortened(const std::vector<float>& values) {
  std::vector<Bfloat16> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) store(&result[i], values[i]);
  return result;
}
std::vector<float> lengthened(const std::vector<Bfloat16>& values) {
  std::vector<float> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = as_float(values[i]);
  return result;
}

void test_rounding() {
  const float step = std::ldexp(1.0f, -7);  // between neighbours from 1 to 2
  const struct {
    float from, to;
  } cases[] = {{1 + 0.5f * step, 1},
               {1 + 1.5f * step, 1 + 2 * step},
               {1 + 0.6f * step, 1 + step},
               {-1 - 0.4f * step, -1},
               {2 - 0.25f * step, 2},
               {INFINITY, INFINITY},
               {0, 0}};
  for (const auto& c : cases) {
    const float found = lengthened(shortened({c.from}))[0];
    if (found == c.to) continue;
    std::fprintf(stderr, "bfloat16: %.9g became %.9g instead of %.9g\n", c.from, found, c.to);
    std::exit(1);
  }
  if (!std::isnan(lengthened(shortened({NAN}))[0])) std::exit(1);
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

  // Small whole numbers, of which bfloat16 holds every one.
  std::vector<Bfloat16> short_z = shortened(z), short_y(outputs), short_v_y = shortened(v_y),
                        short_v_z(count);
  std::fill(index.begin(), index.end(), std::uint8_t(255));
  maxout_pool_forward(s, short_z.data(), bias.data(), short_y.data(), index.data(), queue);
  check(lengthened(short_y) == y, "y in bfloat16", s);
  maxout_pool_backward(s, short_v_y.data(), index.data(), short_v_z.data(), queue);
  check(lengthened(short_v_z) == v_z, "v_z in bfloat16", s);
}

// A NaN wins in every window that holds it, wherever it lies there.
void test_nan() {
  for (std::int64_t at = 0; at < 2 * 9; ++at) {
    const PoolShape s{1, 1, 3, 3, 2, 2, 2, 2, 1};
    std::vector<float> z(2 * 9, 1), bias(2, 0), y(4, 0);
    std::vector<std::uint8_t> index(4);
    z[at] = NAN;
    maxout_pool_forward(s, z.data(), bias.data(), y.data(), index.data(), Queue{0, nullptr});
    const std::int64_t row = at % 9 / 3, column = at % 3;
    for (std::int64_t w = 0; w < 4; ++w) {
      const bool inside = (row == w / 2 || row == w / 2 + 1) && (column == w % 2 || column == w % 2 + 1);
      check(std::isnan(y[w]) == inside, "NaN", s);
    }
  }
}

}  // namespace

int main() {
  test_rounding();
  test_nan();
  test(1, 1, 1, 1, 1, 1, 1);
  test(2, 3, 9, 7, 2, 4, 2);
  test(3, 2, 8, 8, 5, 3, 1);
  test(1, 4, 11, 5, 3, 2, 3);  // windows leave gaps
  test(2, 1, 5, 6, 64, 2, 2);
  test(1, 2, 33, 34, 1, 16, 7);
  std::printf("all passed\n");
}
