// The maxout convolution: a convolution, the maximum over the pieces of each channel, then over each pooling window.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace gancli {

struct ConvShape {
  std::int64_t batch, in, height, width, channels;  // all ≥ 1
  std::int64_t pieces, pool;                        // pieces · pool² ≤ MOST_CANDIDATES
  std::int64_t kernel, pad, stride;
  std::int64_t pooled_height,
      pooled_width;  // windows; each begins inside, and what reaches beyond is left out

  std::int64_t padded_height() const { return height + 2 * pad; }
  std::int64_t padded_width() const { return width + 2 * pad; }
  std::int64_t conv_height() const { return padded_height() - kernel + 1; }
  std::int64_t conv_width() const { return padded_width() - kernel + 1; }
  std::int64_t positions() const { return conv_height() * conv_width(); }
  std::int64_t windows() const { return pooled_height * pooled_width; }
  std::int64_t rows() const { return channels * pieces; }        // of the weight
  std::int64_t weights() const { return in * kernel * kernel; }  // in one of them
};

// A window's winner is kept in a byte.
constexpr std::int64_t MOST_CANDIDATES = 256;

// y[b][c][w] = max over positions p of window w and pieces j of ((x[b] ∗ weight[c][j])[p] + bias[c][j]), and its winner
// index = (position within the window, row by row)·pieces + j, the lowest that reaches it.
//
//   x [batch][in][height][width], weight [channels][pieces][in][kernel][kernel], bias [channels][pieces];
//   y, index [batch][channels][pooled_height][pooled_width]
void maxout_conv_forward(const Kernels& kernels, ConvShape shape, const float* x, const float* weight,
                         const float* bias, float* y, std::uint8_t* index, int threads);

// The gradients of y with the cotangent v_y: only a window's winner has one. Gradients whose pointer is null are not
// computed. Entries of v_y that are zero contribute nothing, and an image that has no others costs next to nothing.
//
//   v_y, index as y, index;  v_x, v_weight, v_bias as x, weight, bias
void maxout_conv_backward(const Kernels& kernels, ConvShape shape, const float* v_y,
                          const std::uint8_t* index, const float* x, const float* weight, float* v_x,
                          float* v_weight, float* v_bias, int threads);

}  // namespace gancli
