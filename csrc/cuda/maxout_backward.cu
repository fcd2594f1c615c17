// The gradients of a maxout layer on a GPU. Only the winning piece of a unit has one: both products are taken over winners
// alone, one in `pieces` of the operations, in plain float32, and in an order that depends on the shape alone.
#include "maxout.h"
#include "pack.h"
#include "tiles.h"

namespace gancli::cuda {
namespace {

using tiles::ceil_div;

constexpr int THREADS = 256;

struct Backward {
  MaxoutShape shape;
  const float* v_y;
  const std::uint8_t* index;
  const float *x, *weight;
  float *v_x, *v_weight, *v_bias;
};

constexpr int COLUMNS_PER_LANE = 4;
constexpr int WARP_COLUMNS = 32 * COLUMNS_PER_LANE;  // of `in`: lane, lane + 32, …
constexpr int WARPS = THREADS / 32;

// v_x: a warp has `rows` rows and 128 columns. The rows of a block meet the same few rows of weight, in the first-level
// cache.
template <int rows>
__global__ void __launch_bounds__(THREADS) backward_input(const __grid_constant__ Backward p) {
  const int lane = int(threadIdx.x % 32);
  const std::int64_t column_tiles = ceil_div(p.shape.in, WARP_COLUMNS);
  const std::int64_t first_column = std::int64_t(blockIdx.x) % column_tiles * WARP_COLUMNS + lane;
  const std::int64_t first_row = (std::int64_t(blockIdx.x) / column_tiles * WARPS + threadIdx.x / 32) * rows;
  float sums[rows][COLUMNS_PER_LANE] = {};
  for (std::int64_t first = 0; first < p.shape.units; first += 32) {
    float v[rows];
    int winner[rows];
    const std::int64_t unit = first + lane;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const bool there = first_row + r < p.shape.batch && unit < p.shape.units;
      const std::int64_t at = (first_row + r) * p.shape.units + unit;
      v[r] = there ? p.v_y[at] : 0.0f;
      winner[r] = there ? int(p.index[at]) : 0;
    }
    const int count = int(p.shape.units - first < 32 ? p.shape.units - first : 32);
    for (int u = 0; u < count; ++u) {
      const float* unit_weight = p.weight + (first + u) * p.shape.pieces * p.shape.in;
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        const float factor = __shfl_sync(gpu::ALL_LANES, v[r], u);
        const float* row = unit_weight + __shfl_sync(gpu::ALL_LANES, winner[r], u) * p.shape.in;
#pragma unroll
        for (int c = 0; c < COLUMNS_PER_LANE; ++c) {
          const std::int64_t column = first_column + 32 * c;
          if (column < p.shape.in) sums[r][c] = fmaf(factor, row[column], sums[r][c]);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; ++r) {
#pragma unroll
    for (int c = 0; c < COLUMNS_PER_LANE; ++c) {
      const std::int64_t column = first_column + 32 * c;
      if (first_row + r < p.shape.batch && column < p.shape.in)
        p.v_x[(first_row + r) * p.shape.in + column] = sums[r][c];
    }
  }
}

constexpr int PIECES_AT_ONCE = 5;  // of a unit, per warp; more take several turns

// v_weight and v_bias: a warp has a unit, a block 128 columns of 8 units. 32 rows of x at a time lie in shared memory, and a
// warp goes through those that its unit's pieces won.
__global__ void __launch_bounds__(THREADS) backward_weight(const __grid_constant__ Backward p) {
  __shared__ float x[32][WARP_COLUMNS];
  const int lane = int(threadIdx.x % 32);
  const std::int64_t column_tiles = ceil_div(p.shape.in, WARP_COLUMNS);
  const std::int64_t column_tile = std::int64_t(blockIdx.x) % column_tiles;
  const std::int64_t first_column = column_tile * WARP_COLUMNS + lane;
  const std::int64_t unit = std::int64_t(blockIdx.x) / column_tiles * WARPS + threadIdx.x / 32;
  for (int first_piece = 0; first_piece < int(p.shape.pieces); first_piece += PIECES_AT_ONCE) {
    float sums[PIECES_AT_ONCE][COLUMNS_PER_LANE] = {}, bias[PIECES_AT_ONCE] = {};
    for (std::int64_t first = 0; first < p.shape.batch; first += 32) {
      __syncthreads();
      for (int r = int(threadIdx.x / 32); r < 32; r += WARPS) {
#pragma unroll
        for (int c = 0; c < COLUMNS_PER_LANE; ++c) {
          const std::int64_t column = first_column + 32 * c;
          x[r][lane + 32 * c] = first + r < p.shape.batch && column < p.shape.in
                                    ? p.x[(first + r) * p.shape.in + column]
                                    : 0.0f;
        }
      }
      __syncthreads();
      const bool there = first + lane < p.shape.batch && unit < p.shape.units;
      const std::int64_t at = (first + lane) * p.shape.units + unit;
      const float v = there ? p.v_y[at] : 0.0f;
      const int winner = there ? int(p.index[at]) - first_piece : -1;
#pragma unroll
      for (int j = 0; j < PIECES_AT_ONCE; ++j) {
        const bool won = winner == j;
        bias[j] += won ? v : 0.0f;
        for (unsigned rows = __ballot_sync(gpu::ALL_LANES, won); rows != 0; rows &= rows - 1) {
          const int r = __ffs(int(rows)) - 1;
          const float factor = __shfl_sync(gpu::ALL_LANES, v, r);
#pragma unroll
          for (int c = 0; c < COLUMNS_PER_LANE; ++c)
            sums[j][c] = fmaf(factor, x[r][lane + 32 * c], sums[j][c]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < PIECES_AT_ONCE; ++j) {
      const double total = sum_over_warp(double(bias[j]));
      if (unit >= p.shape.units || first_piece + j >= int(p.shape.pieces)) continue;
      const std::int64_t piece = unit * p.shape.pieces + first_piece + j;
      if (p.v_bias && column_tile == 0 && lane == 0) p.v_bias[piece] = float(total);
      if (!p.v_weight) continue;
#pragma unroll
      for (int c = 0; c < COLUMNS_PER_LANE; ++c) {
        const std::int64_t column = first_column + 32 * c;
        if (column < p.shape.in) p.v_weight[piece * p.shape.in + column] = sums[j][c];
      }
    }
  }
}

template <int rows>
std::int64_t input_blocks(MaxoutShape shape) {
  return ceil_div(shape.batch, rows * WARPS) * ceil_div(shape.in, WARP_COLUMNS);
}
template <int rows>
void input_gradient(const Backward& backward, Queue queue) {
  gpu::launch("backward_input", backward_input<rows>, {input_blocks<rows>(backward.shape), THREADS}, queue,
              backward);
}

}  // namespace

void maxout_backward(MaxoutShape shape, const float* v_y, const std::uint8_t* index, const float* x,
                     const float* weight, float* v_x, float* v_weight, float* v_bias, Queue queue) {
  gpu::use(queue.device);
  const Backward backward{shape, v_y, index, x, weight, v_x, v_weight, v_bias};
  if (v_x) {
    // Many rows per warp share what they read; few rows leave no processor without.
    if (input_blocks<8>(shape) >= 256) {
      input_gradient<8>(backward, queue);
    } else {
      input_gradient<1>(backward, queue);
    }
  }
  if (v_weight || v_bias)
    gpu::launch("backward_weight", backward_weight,
                {ceil_div(shape.units, WARPS) * ceil_div(shape.in, WARP_COLUMNS), THREADS}, queue, backward);
}

}  // namespace gancli::cuda
