// Behind a convolution: the maximum over the pieces of each channel, then over each pooling window, on a GPU. With windows
// of one number it is what comes behind the matrix product of a maxout layer.
#pragma once

#include <cstdint>

#include "types.h"

namespace gancli::cuda {

struct PoolShape {
  std::int64_t batch, channels, height, width;  // of the convolution's result, all ≥ 1
  std::int64_t pooled_height,
      pooled_width;          // windows; each begins inside, and what reaches beyond is left out
  int pieces, pool, stride;  // pieces · pool² ≤ MOST_CANDIDATES
};

// The upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

// A window's winner is kept in a byte.
constexpr int MOST_CANDIDATES = 256;

// y[b, c, window] = max over positions of the window and pieces j of z[b, c·pieces + j, position] + bias[c·pieces + j];
// index the lowest position · pieces + j that reaches it, positions counted row by row in the window; queued.
//
//   z [batch][channels · pieces][height][width], bias [channels · pieces],
//   y and index [batch][channels][pooled_height][pooled_width]; all contiguous
//
// Number, of z and y and their gradients, is float or Bfloat16; biases are added and windows compared in float.
template <typename Number>
void maxout_pool_forward(PoolShape shape, const Number* z, const float* bias, Number* y, std::uint8_t* index,
                         Queue queue);

// The gradient of Σ v_y · y for z, which is also what each number adds to the gradient of its bias; every number of v_z is
// written once, a sum over the windows that it won; queued.
template <typename Number>
void maxout_pool_backward(PoolShape shape, const Number* v_y, const std::uint8_t* index, Number* v_z,
                          Queue queue);

}  // namespace gancli::cuda
