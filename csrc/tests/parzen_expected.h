// What the tests of both Parzen kernels share: matrices to score, and the formula in double.
//
// Every array is a heap block of exactly its size, so that AddressSanitizer sees a float read or written too far.
#pragma once

#include <cstdint>
#include <cstdio>
#include <vector>

#include "log_sum_exp.h"

inline int failures = 0;

#define EXPECT(condition, ...)                                    \
  do {                                                            \
    if (!(condition)) {                                           \
      std::printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                   \
      std::printf("\n");                                          \
      ++failures;                                                 \
    }                                                             \
  } while (0)

// Uniform in [0, 1), the same on every machine.
inline float next_uniform() {
  static std::uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return float(state >> 8) / float(1 << 24);
}

// A matrix of which every row_step-th row and column_step-th column is used; uniform in [offset, offset + 1).
struct Matrix {
  std::int64_t rows, columns, row_stride, column_stride;
  std::vector<float> data;

  Matrix(std::int64_t rows, std::int64_t columns, std::int64_t row_step = 1, std::int64_t column_step = 1,
         float offset = 0)
      : rows(rows),
        columns(columns),
        row_stride(row_step * columns * column_step),
        column_stride(column_step),
        data(rows > 0 ? (rows - 1) * row_stride + (columns - 1) * column_stride + 1 : 0) {
    for (float& value : data) value = next_uniform() + offset;
  }
  float& at(std::int64_t i, std::int64_t k) { return data[i * row_stride + k * column_stride]; }
  // As the kernels take it: gancli::Rows or gancli::cuda::Rows.
  template <typename Rows>
  operator Rows() const {
    return {data.data(), rows, row_stride, column_stride};
  }
};

inline double expected(Matrix& x, Matrix& samples, std::int64_t i, double sigma) {
  gancli::LogSumExp sum = gancli::log_sum_exp_empty();
  for (std::int64_t j = 0; j < samples.rows; ++j) {
    double squared = 0;
    for (std::int64_t k = 0; k < x.columns; ++k) {
      const double difference = double(x.at(i, k)) - double(samples.at(j, k));
      squared += difference * difference;
    }
    sum = gancli::log_sum_exp_add(sum, -squared / (2 * sigma * sigma));
  }
  return gancli::log_sum_exp_finish(sum);
}
