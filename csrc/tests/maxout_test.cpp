// The layers' kernels on every instruction set against plain loops in double, in buffers of their exact size, so that
// AddressSanitizer sees every step over an edge.
#include "cpu/maxout.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/elementwise.h"
#include "cpu/isa.h"

using gancli::Kernels;
using gancli::LayerShape;

namespace {

std::mt19937 rng(1);

std::vector<float> random_floats(std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(rng);
  return values;
}

void check(bool good, const char* what, const Kernels& kernels, LayerShape s) {
  if (good) return;
  std::fprintf(stderr, "%s: wrong on %s for batch %d, in %d, units %d, pieces %d\n", what, kernels.name,
               int(s.batch), int(s.in), int(s.units), int(s.pieces));
  std::exit(1);
}

bool near(const std::vector<float>& actual, const std::vector<double>& expected) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(std::fabs(actual[i] - expected[i]) <= 1e-4 * (1 + std::fabs(expected[i])))) return false;
  }
  return true;
}

// `density`: share of the cotangent that is not zero.
void test_layer(const Kernels& kernels, LayerShape s, double density, int threads) {
  const auto x = random_floats(s.batch * s.in), weight = random_floats(s.units * s.pieces * s.in),
             bias = random_floats(s.units * s.pieces);
  auto v_y = random_floats(s.batch * s.units);
  for (float& v : v_y) {
    if (std::uniform_real_distribution<>()(rng) >= density) v = 0;
  }
  std::vector<double> y(s.batch * s.units), v_x(x.size()), v_weight(weight.size()), v_bias(bias.size());
  std::vector<std::uint8_t> index(y.size()), found_index(y.size(), 255);
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
  std::vector<float> found_y(y.size()), found_v_x(x.size()), found_v_weight(weight.size()),
      found_v_bias(bias.size());
  gancli::maxout_forward(kernels, s, x.data(), weight.data(), bias.data(), false, found_y.data(),
                         found_index.data(), threads);
  check(near(found_y, y), "y", kernels, s);
  check(found_index == index, "index", kernels, s);
  gancli::maxout_backward(kernels, s, v_y.data(), index.data(), x.data(), weight.data(), found_v_x.data(),
                          found_v_weight.data(), found_v_bias.data(), threads);
  check(near(found_v_x, v_x), "v_x", kernels, s);
  check(near(found_v_weight, v_weight), "v_weight", kernels, s);
  check(near(found_v_bias, v_bias), "v_bias", kernels, s);
}

void test_elementwise(const Kernels& kernels, std::int64_t count, int threads) {
  const LayerShape shape{count, 0, 0, 0};
  const auto x = random_floats(count);
  std::vector<float> y(count, -1.0f);
  gancli::dropout(kernels, count, 7, 0.75, x.data(), y.data(), threads);
  for (std::int64_t i = 0; i < count; ++i)
    check(y[i] == 0 || std::fabs(y[i] * 0.75f - x[i]) < 1e-6f, "dropout", kernels, shape);

  auto parameter = random_floats(count), velocity = random_floats(count);
  const auto p = parameter, v = velocity;
  const gancli::Updated tensor{parameter.data(), velocity.data(), x.data(), count};
  gancli::momentum_update(kernels, &tensor, 1, 0.5f, 0.1f, threads);
  for (std::int64_t i = 0; i < count; ++i) {
    const double expected = 0.5 * v[i] - 0.1 * x[i];
    check(std::fabs(velocity[i] - expected) < 1e-6 && std::fabs(parameter[i] - p[i] - expected) < 1e-6,
          "momentum", kernels, shape);
  }
}

}  // namespace

int main() {
  for (const Kernels* kernels : gancli::supported_kernels()) {
    for (LayerShape shape :
         {LayerShape{1, 1, 1, 1}, LayerShape{3, 17, 5, 2}, LayerShape{33, 129, 7, 20},
          LayerShape{15, 31, 33, 3}, LayerShape{101, 16, 17, 1}, LayerShape{113, 130, 29, 5},
          LayerShape{2, 97, 1, 101}, LayerShape{400, 5, 3, 4}}) {
      test_layer(*kernels, shape, 1.0, 2);
      test_layer(*kernels, shape, 0.3, 3);
    }
    for (std::int64_t count : {1, 15, 16, 63, 64, 65, 40000}) test_elementwise(*kernels, count, 2);
    std::printf("layers on %s: good\n", kernels->name);
  }
}
