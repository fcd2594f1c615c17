// Behind a convolution: the maximum over the pieces of each channel, then over each pooling window, on a GPU.
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

// A window's winner is kept in a byte.
constexpr int MOST_CANDIDATES = 256;

// y[b, c, window] = max over positions of the window and pieces j of z[b, c·pieces + j, position] + bias[c·pieces + j];
// index the lowest position · pieces + j that reaches it, positions counted row by row in the window; queued.
//
//   z [batch][channels · pieces][height][width], bias [channels · pieces],
//   y and index [batch][channels][pooled_height][pooled_width]; all contiguous
void maxout_pool_forward(PoolShape shape, const float* z, const float* bias, float* y, std::uint8_t* index,
                         Queue queue);

// The gradient of Σ v_y · y for z, which is also what each number adds to the gradient of its bias; every number of v_z is
// written once, a sum over the windows that it won; queued.
void maxout_pool_backward(PoolShape shape, const float* v_y, const std::uint8_t* index, float* v_z,
                          Queue queue);

}  // namespace gancli::cuda
