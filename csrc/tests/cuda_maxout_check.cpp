// The maxout kernels of csrc/cuda, run on the CPU (cuda_emulation.h), against plain loops in double: both forward kernels,
// every gradient, sizes at the edges of tiles. Every array is a heap block of exactly its size.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cuda/maxout.cu"
#include "cuda/maxout_backward.cu"

namespace {

using namespace gancli::cuda;
using gancli::emulation::options;

std::mt19937 rng(1);

std::vector<float> random_floats(std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(rng);
  return values;
}

void check(bool good, const char* what, MaxoutShape s) {
  if (good) return;
  std::fprintf(stderr, "%s: wrong for batch %d, in %d, units %d, pieces %d\n", what, int(s.batch), int(s.in),
               int(s.units), int(s.pieces));
  std::exit(1);
}

bool near(const std::vector<float>& actual, const std::vector<double>& expected) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(std::fabs(actual[i] - expected[i]) <= 2e-6 * (10 + std::fabs(expected[i])))) return false;
  }
  return true;
}

void test_layer(MaxoutShape s) {
  const auto x = random_floats(s.batch * s.in), weight = random_floats(s.units * s.pieces * s.in),
             bias = random_floats(s.units * s.pieces), v_y = random_floats(s.batch * s.units);
  std::vector<double> y(s.batch * s.units), v_x(x.size()), v_weight(weight.size()), v_bias(bias.size());
  std::vector<std::uint8_t> index(y.size());
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t u = 0; u < s.units; ++u) {
      double best = 0;
      std::int64_t winner = -1;
      for (std::int64_t j = 0; j < s.pieces; ++j) {
        double z = bias[u * s.pieces + j];
        for (std::int64_t k = 0; k < s.in; ++k)
          z += double(x[b * s.in + k]) * weight[(u * s.pieces + j) * s.in + k];
        if (winner < 0 || z > best) best = z, winner = j;
      }
      y[b * s.units + u] = best;
      index[b * s.units + u] = std::uint8_t(winner);
      const std::int64_t row = u * s.pieces + winner;
      const double v = v_y[b * s.units + u];
      v_bias[row] += v;
      for (std::int64_t k = 0; k < s.in; ++k) {
        v_x[b * s.in + k] += v * weight[row * s.in + k];
        v_weight[row * s.in + k] += v * x[b * s.in + k];
      }
    }
  }
  const Queue queue{0, nullptr};
  std::vector<double> workspace((Memory(s, nullptr).bytes + 7) / 8, NAN);
  for (bool large : {false, true}) {
    std::vector<float> found(y.size(), NAN);
    std::vector<std::uint8_t> found_index(y.size(), 255);
    if (large) {
      forward_large(s, x.data(), weight.data(), bias.data(), found.data(), found_index.data(),
                    workspace.data(), queue);
    } else {
      forward_small(s, x.data(), weight.data(), bias.data(), found.data(), found_index.data(), queue);
    }
    check(near(found, y), large ? "y, large" : "y, small", s);
    check(found_index == index, large ? "index, large" : "index, small", s);
  }
  std::vector<float> found_v_x(x.size(), NAN), found_v_weight(weight.size(), NAN),
      found_v_bias(bias.size(), NAN);
  maxout_backward(s, v_y.data(), index.data(), x.data(), weight.data(), found_v_x.data(),
                  found_v_weight.data(), found_v_bias.data(), queue);
  check(near(found_v_x, v_x), "v_x", s);
  check(near(found_v_weight, v_weight), "v_weight", s);
  check(near(found_v_bias, v_bias), "v_bias", s);
  std::vector<float> many(x.size(), NAN);
  input_gradient<8>({s, v_y.data(), index.data(), x.data(), weight.data(), many.data(), nullptr, nullptr},
                    queue);
  check(near(many, v_x), "v_x, eight rows a warp", s);
}

}  // namespace

int main() {
  for (MaxoutShape shape :
       {MaxoutShape{1, 1, 1, 1}, MaxoutShape{33, 31, 13, 5}, MaxoutShape{130, 33, 30, 5},
        MaxoutShape{2, 129, 3, 64}, MaxoutShape{31, 32, 129, 1}, MaxoutShape{5, 300, 9, 7}}) {
    options.late_copies = !options.late_copies;
    options.reverse_warps = shape.pieces == 5;
    test_layer(shape);
  }
  std::printf("all passed\n");
}
