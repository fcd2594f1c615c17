// The maxout kernels of csrc/cuda, run on the CPU (cuda_emulation.h), against plain loops in double: both forward kernels,
// every gradient, sizes at the edges of tiles.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/maxout.cu"
#include "cuda/maxout_backward.cu"
#include "maxout_expected.h"

namespace {

using namespace gancli::cuda;
using gancli::emulation::options;

void check(bool good, const char* what, MaxoutShape s) {
  if (good) return;
  std::fprintf(stderr, "%s: wrong for batch %d, in %d, units %d, pieces %d\n", what, int(s.batch), int(s.in),
               int(s.units), int(s.pieces));
  std::exit(1);
}

bool close(const std::vector<float>& actual, const std::vector<double>& expected) {
  return near(actual, expected, 2e-6, 10);
}

void test_layer(MaxoutShape s) {
  const Layer<MaxoutShape> layer(s);
  const Queue queue{0, nullptr};
  std::vector<double> workspace((Memory(s, nullptr).bytes + 7) / 8, NAN);
  for (bool large : {false, true}) {
    std::vector<float> found(layer.y.size(), NAN);
    std::vector<std::uint8_t> found_index(layer.y.size(), 255);
    if (large) {
      forward_large(s, layer.x.data(), layer.weight.data(), layer.bias.data(), found.data(),
                    found_index.data(), workspace.data(), queue);
    } else {
      forward_small(s, layer.x.data(), layer.weight.data(), layer.bias.data(), found.data(),
                    found_index.data(), queue);
    }
    check(close(found, layer.y), large ? "y, large" : "y, small", s);
    check(found_index == layer.index, large ? "index, large" : "index, small", s);
  }
  std::vector<float> found_v_x(layer.x.size(), NAN), found_v_weight(layer.weight.size(), NAN),
      found_v_bias(layer.bias.size(), NAN);
  maxout_backward(s, layer.v_y.data(), layer.index.data(), layer.x.data(), layer.weight.data(),
                  found_v_x.data(), found_v_weight.data(), found_v_bias.data(), queue);
  check(close(found_v_x, layer.v_x), "v_x", s);
  check(close(found_v_weight, layer.v_weight), "v_weight", s);
  check(close(found_v_bias, layer.v_bias), "v_bias", s);
  std::vector<float> many(layer.x.size(), NAN);
  input_gradient<8>({s, layer.v_y.data(), layer.index.data(), layer.x.data(), layer.weight.data(),
                     many.data(), nullptr, nullptr},
                    queue);
  check(close(many, layer.v_x), "v_x, eight rows a warp", s);
}

// A NaN in one piece's weights must reach its unit's output, whichever piece it is, and no other unit's.
void test_nan(std::int64_t piece) {
  const MaxoutShape s{3, 4, 5, 3};
  Layer<MaxoutShape> layer(s);
  layer.weight[(2 * s.pieces + piece) * s.in] = NAN;
  const Queue queue{0, nullptr};
  std::vector<double> workspace((Memory(s, nullptr).bytes + 7) / 8, NAN);
  std::vector<std::uint8_t> index(layer.y.size());
  for (bool large : {false, true}) {
    std::vector<float> y(layer.y.size(), 0);
    if (large) {
      forward_large(s, layer.x.data(), layer.weight.data(), layer.bias.data(), y.data(), index.data(),
                    workspace.data(), queue);
    } else {
      forward_small(s, layer.x.data(), layer.weight.data(), layer.bias.data(), y.data(), index.data(), queue);
    }
    for (std::size_t i = 0; i < y.size(); ++i) check(std::isnan(y[i]) == (i % s.units == 2), "NaN", s);
  }
}

}  // namespace

int main() {
  for (int piece : {0, 1, 2}) test_nan(piece);
  for (MaxoutShape shape :
       {MaxoutShape{1, 1, 1, 1}, MaxoutShape{33, 31, 13, 5}, MaxoutShape{130, 33, 30, 5},
        MaxoutShape{2, 129, 3, 64}, MaxoutShape{31, 32, 129, 1}, MaxoutShape{5, 300, 9, 7}}) {
    options.late_copies = !options.late_copies;
    options.reverse_warps = shape.pieces == 5;
    test_layer(shape);
  }
  std::printf("all passed\n");
}
