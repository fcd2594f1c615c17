// What the tests of both maxout kernels share: a layer's inputs, and its results by plain loops in double.
//
// Every array is a heap block of exactly its size, so that AddressSanitizer sees a float read or written too far.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

inline std::mt19937 rng(1);

inline std::vector<float> random_floats(std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(rng);
  return values;
}

// Whether each value is within tolerance · (scale + |expected|).
inline bool near(const std::vector<float>& actual, const std::vector<double>& expected, double tolerance,
                 double scale) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(std::fabs(actual[i] - expected[i]) <= tolerance * (scale + std::fabs(expected[i])))) return false;
  }
  return true;
}

// A layer with its cotangent v_y, and what its kernels must find. Shape has batch, in, units and pieces.
template <typename Shape>
struct Layer {
  Shape shape;
  std::vector<float> x, weight, bias, v_y;
  std::vector<double> y, v_x, v_weight, v_bias;
  std::vector<std::uint8_t> index;

  // `density`: share of the cotangent that is not zero.
  explicit Layer(Shape s, double density = 1.0)
      : shape(s),
        x(random_floats(s.batch * s.in)),
        weight(random_floats(s.units * s.pieces * s.in)),
        bias(random_floats(s.units * s.pieces)),
        v_y(random_floats(s.batch * s.units)),
        y(v_y.size()),
        v_x(x.size()),
        v_weight(weight.size()),
        v_bias(bias.size()),
        index(y.size()) {
    for (float& v : v_y) {
      if (std::uniform_real_distribution<>()(rng) >= density) v = 0;
    }
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
  }
};
