// The maxout convolution on every instruction set against plain loops in double, in buffers of their exact size, so that
// AddressSanitizer sees every step over an edge.
#include "cpu/maxout_conv.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu/isa.h"
#include "maxout_expected.h"

using gancli::ConvShape;
using gancli::Kernels;

namespace {

void check(bool good, const char* what, const Kernels& kernels, const ConvShape& s) {
  if (good) return;
  std::fprintf(stderr, "%s: wrong on %s for batch %d, in %d, %d × %d, channels %d × %d, kernel %d, pool %d\n",
               what, kernels.name, int(s.batch), int(s.in), int(s.height), int(s.width), int(s.channels),
               int(s.pieces), int(s.kernel), int(s.pool));
  std::exit(1);
}

std::int64_t windows(std::int64_t side, std::int64_t pool, std::int64_t stride) {
  std::int64_t count = 1;  // begins inside and after one that did not reach the edge yet
  while ((count - 1) * stride + pool < side && count * stride < side) ++count;
  return count;
}

// A layer with its cotangent, and what its kernels must find.
struct ConvLayer {
  ConvShape s;
  std::vector<float> x, weight, bias, v_y;
  std::vector<double> y, v_x, v_weight, v_bias;
  std::vector<std::uint8_t> index;

  explicit ConvLayer(ConvShape shape)
      : s(shape),
        x(random_floats(s.batch * s.in * s.height * s.width)),
        weight(random_floats(s.rows() * s.weights())),
        bias(random_floats(s.rows())),
        v_y(random_floats(s.batch * s.channels * s.windows())),
        y(v_y.size()),
        v_x(x.size()),
        v_weight(weight.size()),
        v_bias(bias.size()),
        index(v_y.size()) {
    std::fill_n(v_y.begin(), s.channels * s.windows(), 0.0f);  // an image without cotangent
    for (std::int64_t i = 0; i < std::int64_t(v_y.size()); ++i) find(i);
  }

  // fn(index of x, index of the weight) for all that row `row` sees of image b at a position.
  template <typename Function>
  void patch(std::int64_t b, std::int64_t row, std::int64_t r, std::int64_t c, const Function& fn) const {
    for (std::int64_t i = 0; i < s.in; ++i) {
      for (std::int64_t kr = 0; kr < s.kernel; ++kr) {
        for (std::int64_t kc = 0; kc < s.kernel; ++kc) {
          const std::int64_t xr = r + kr - s.pad, xc = c + kc - s.pad;
          if (xr < 0 || xr >= s.height || xc < 0 || xc >= s.width) continue;
          fn(((b * s.in + i) * s.height + xr) * s.width + xc,
             ((row * s.in + i) * s.kernel + kr) * s.kernel + kc);
        }
      }
    }
  }

  void find(std::int64_t output) {
    const std::int64_t window = output % s.windows(), u = output / s.windows() % s.channels;
    const std::int64_t b = output / (s.windows() * s.channels);
    const std::int64_t r0 = window / s.pooled_width * s.stride, c0 = window % s.pooled_width * s.stride;
    std::int64_t best_r = 0, best_c = 0, best_row = -1;
    for (std::int64_t r = r0; r < std::min(r0 + s.pool, s.conv_height()); ++r) {
      for (std::int64_t c = c0; c < std::min(c0 + s.pool, s.conv_width()); ++c) {
        for (std::int64_t row = u * s.pieces; row < (u + 1) * s.pieces; ++row) {
          double z = bias[row];
          patch(b, row, r, c, [&](std::int64_t i, std::int64_t k) { z += double(x[i]) * weight[k]; });
          if (best_row >= 0 && !(z > y[output])) continue;
          y[output] = z, best_r = r, best_c = c, best_row = row;
        }
      }
    }
    index[output] = std::uint8_t(((best_r - r0) * s.pool + best_c - c0) * s.pieces + best_row - u * s.pieces);
    const double v = v_y[output];
    v_bias[best_row] += v;
    patch(b, best_row, best_r, best_c, [&](std::int64_t i, std::int64_t k) {
      v_x[i] += v * weight[k];
      v_weight[k] += v * x[i];
    });
  }
};

bool close(const std::vector<float>& actual, const std::vector<double>& expected) {
  return near(actual, expected, 1e-4, 1);
}

void test_layer(const Kernels& kernels, ConvShape s, int threads) {
  s.pooled_height = windows(s.conv_height(), s.pool, s.stride);
  s.pooled_width = windows(s.conv_width(), s.pool, s.stride);
  const ConvLayer layer(s);
  std::vector<std::uint8_t> found_index(layer.index.size(), 255);
  std::vector<float> found_y(layer.y.size()), found_v_x(layer.x.size(), NAN),
      found_v_weight(layer.weight.size(), NAN), found_v_bias(layer.bias.size(), NAN);
  gancli::maxout_conv_forward(kernels, s, layer.x.data(), layer.weight.data(), layer.bias.data(),
                              found_y.data(), found_index.data(), threads);
  check(close(found_y, layer.y), "y", kernels, s);
  check(found_index == layer.index, "index", kernels, s);
  gancli::maxout_conv_backward(kernels, s, layer.v_y.data(), layer.index.data(), layer.x.data(),
                               layer.weight.data(), found_v_x.data(), found_v_weight.data(),
                               found_v_bias.data(), threads);
  check(close(found_v_x, layer.v_x), "v_x", kernels, s);
  check(close(found_v_weight, layer.v_weight), "v_weight", kernels, s);
  check(close(found_v_bias, layer.v_bias), "v_bias", kernels, s);
}

}  // namespace

int main() {
  for (const Kernels* kernels : gancli::supported_kernels()) {
    // batch, in, height, width, channels, pieces, pool, kernel, pad, stride
    for (const ConvShape& shape :
         {ConvShape{1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0}, ConvShape{3, 3, 8, 7, 5, 2, 4, 8, 4, 2, 0, 0},
          ConvShape{2, 17, 5, 6, 33, 2, 2, 5, 3, 2, 0, 0}, ConvShape{2, 2, 4, 29, 16, 3, 3, 3, 1, 1, 0, 0},
          ConvShape{70, 1, 3, 4, 2, 5, 1, 2, 1, 3, 0, 0}, ConvShape{2, 1, 12, 9, 3, 1, 16, 1, 0, 2, 0, 0},
          ConvShape{1, 2, 2, 2, 60, 4, 2, 7, 3, 1, 0, 0}}) {
      test_layer(*kernels, shape, 2);
    }
    std::printf("maxout convolution on %s: good\n", kernels->name);
  }
}
