// The maxout layer on a GPU; the same operation as cpu/maxout.h.
#pragma once

#include <cstdint>

#include "types.h"

namespace gancli::cuda {

struct MaxoutShape {
  std::int64_t batch, in, units, pieces;  // all ≥ 1, pieces ≤ MOST_PIECES
};

// A unit's pieces lie in one tile of columns.
constexpr int MOST_PIECES = 64;

// Bytes of device memory that maxout_forward needs to work in: both operands packed where the product is large enough for
// tensor cores, else 0.
std::int64_t maxout_workspace_bytes(MaxoutShape shape);

// y[b, u] = max_j x[b]·weight[u, j] + bias[u, j], index[b, u] the lowest j that reaches it; queued.
//
//   x [batch][in], weight [units][pieces][in], bias [units][pieces], y and index [batch][units]; all contiguous
void maxout_forward(MaxoutShape shape, const float* x, const float* weight, const float* bias, float* y,
                    std::uint8_t* index, void* workspace, Queue queue);

// Gradients of Σ v_y · y: those that are not null are written; queued. The gradient of the pre-activations, which has
// pieces times as many elements as v_y and one in pieces of them not zero, is nowhere.
//
//   v_x[b]         = Σ_u v_y[b, u] · weight[u, index[b, u]]
//   v_weight[u, j] = Σ_b over index[b, u] = j of v_y[b, u] · x[b],   v_bias[u, j] the same without x
void maxout_backward(MaxoutShape shape, const float* v_y, const std::uint8_t* index, const float* x,
                     const float* weight, float* v_x, float* v_weight, float* v_bias, Queue queue);

}  // namespace gancli::cuda
