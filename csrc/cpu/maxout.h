// The maxout layer, and the linear layer as its case of one piece.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace gancli {

struct LayerShape {
  std::int64_t batch, in, units, pieces;  // all ≥ 1; pieces ≤ 256
};

// y[b][u] = max_j (x[b]·weight[u][j] + bias[u][j]), then max with 0 if `relu`; index[b][u] = the lowest j that
// reaches it.
//
//   x [batch][in], weight [units][pieces][in], bias [units][pieces];
//   y [batch][units], index [batch][units] or null
void maxout_forward(const Kernels& kernels, LayerShape shape, const float* x, const float* weight,
                    const float* bias, bool relu, float* y, std::uint8_t* index, int threads);

// The gradients of y with the cotangent v_y. With p = index[b][u], only piece p of unit u saw row b:
//   v_x[b]         = Σ_u v_y[b][u] · weight[u][p]
//   v_weight[u][j] = Σ_b [p = j] v_y[b][u] · x[b]
//   v_bias[u][j]   = Σ_b [p = j] v_y[b][u]
// Gradients whose pointer is null are not computed. Entries of v_y that are zero cost nothing and contribute
// nothing, not even where x or weight is infinite.
//
//   v_y, index [batch][units]; index may be null where pieces = 1;  v_x, v_weight, v_bias as x, weight, bias
void maxout_backward(const Kernels& kernels, LayerShape shape, const float* v_y, const std::uint8_t* index,
                     const float* x, const float* weight, float* v_x, float* v_weight, float* v_bias,
                     int threads);

// How many of values [count] are not zero.
std::int64_t count_nonzeros(const float* values, std::int64_t count);

}  // namespace gancli
