// The layers' kernels on every instruction set against plain loops in double, in buffers of their exact size, so that
// AddressSanitizer sees every step over an edge.
#include "cpu/maxout.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu/elementwise.h"
#include "cpu/isa.h"
#include "maxout_expected.h"

using gancli::Kernels;
using gancli::LayerShape;

namespace {

void check(bool good, const char* what, const Kernels& kernels, LayerShape s) {
  if (good) return;
  std::fprintf(stderr, "%s: wrong on %s for batch %d, in %d, units %d, pieces %d\n", what, kernels.name,
               int(s.batch), int(s.in), int(s.units), int(s.pieces));
  std::exit(1);
}

bool close(const std::vector<float>& actual, const std::vector<double>& expected) {
  return near(actual, expected, 1e-4, 1);
}

// `density`: share of the cotangent that is not zero.
void test_layer(const Kernels& kernels, LayerShape s, double density, int threads) {
  const Layer<LayerShape> layer(s, density);
  std::vector<std::uint8_t> found_index(layer.index.size(), 255);
  std::vector<float> found_y(layer.y.size()), found_v_x(layer.x.size()), found_v_weight(layer.weight.size()),
      found_v_bias(layer.bias.size());
  gancli::maxout_forward(kernels, s, layer.x.data(), layer.weight.data(), layer.bias.data(), false,
                         found_y.data(), found_index.data(), threads);
  check(close(found_y, layer.y), "y", kernels, s);
  check(found_index == layer.index, "index", kernels, s);
  gancli::maxout_backward(kernels, s, layer.v_y.data(), layer.index.data(), layer.x.data(),
                          layer.weight.data(), found_v_x.data(), found_v_weight.data(), found_v_bias.data(),
                          threads);
  check(close(found_v_x, layer.v_x), "v_x", kernels, s);
  check(close(found_v_weight, layer.v_weight), "v_weight", kernels, s);
  check(close(found_v_bias, layer.v_bias), "v_bias", kernels, s);
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
