// The maxout layer on a GPU.
//
// Forward: a product whose tiles hold whole units, so that the maximum over a unit's pieces is taken where the tile is and
// pre-activations never reach device memory. Large products run on tensor cores (product.h), small ones in plain
// float32 with tiles small enough to occupy the chip.
// Backward: only the winning piece of a unit has a gradient. Both products are taken over winners alone, one in
// `pieces` of the operations, in plain float32, and in an order that depends on the shape alone.
#include <algorithm>

#include "maxout.h"
#include "pack.h"
#include "product.h"

namespace gancli::cuda {
namespace {

using tiles::ceil_div;
using tiles::round_up;

constexpr int THREADS = 256;

// Units whose pieces fill a tile of so many columns.
GANCLI_INDEX int units_in(int columns, std::int64_t pieces) { return columns / int(pieces); }

// Take the maximum over pieces of a tile of pre-activations in shared memory, [rows][pitch] from `at`.
__device__ __forceinline__ void reduce_pieces(std::uint32_t at, int pitch, int rows, int units,
                                              MaxoutShape shape, std::int64_t first_row,
                                              std::int64_t first_unit, const float* bias, float* y,
                                              std::uint8_t* index) {
  const int pieces = int(shape.pieces);
  for (int i = int(threadIdx.x); i < rows * units; i += int(blockDim.x)) {
    const std::int64_t row = first_row + i / units, unit = first_unit + i % units;
    if (row >= shape.batch || unit >= shape.units) continue;
    const std::uint32_t from = at + std::uint32_t((i / units) * pitch + (i % units) * pieces) * 4;
    float best = gpu::load_float(from) + bias[unit * pieces];
    int winner = 0;
    for (int j = 1; j < pieces; ++j) {
      const float z = gpu::load_float(from + 4 * j) + bias[unit * pieces + j];
      if (z > best) {  // strictly: the lowest piece keeps a tie
        best = z;
        winner = j;
      }
    }
    y[row * shape.units + unit] = best;
    index[row * shape.units + unit] = std::uint8_t(winner);
  }
}

// ---- forward, large ----------------------------------------------------------------------------------------

struct Forward {
  MaxoutShape shape;
  PackedRows x, weight;
  std::uint32_t row_bytes;
  int steps;
  const float *x_scale, *weight_scale;
  const float* bias;
  float* y;
  std::uint8_t* index;
};

constexpr int STAGED_PITCH = tiles::COLUMNS + 4;
constexpr int STAGED_BYTES = tiles::ROWS * STAGED_PITCH * 4;
constexpr int FORWARD_BYTES = tiles::SHARED_BYTES > STAGED_BYTES ? tiles::SHARED_BYTES : STAGED_BYTES;

// A block per tile, tiles of one group of rows side by side.
__global__ void __launch_bounds__(tiles::THREADS, 1) forward_tiles(const __grid_constant__ Forward p) {
  const int thread = int(threadIdx.x);
  const tiles::Place place = tiles::place_of(thread);
  const std::uint32_t shared = gpu::shared_memory();
  const Multiplier<Product::split_half> multiplier(place);
  const int units = units_in(tiles::COLUMNS, p.shape.pieces);
  const int unit_tiles = int(ceil_div(p.shape.units, units));
  const int first_row = int(blockIdx.x) / unit_tiles * tiles::ROWS;
  const int first_unit = int(blockIdx.x) % unit_tiles * units;
  const int first_column = first_unit * int(p.shape.pieces);

  Sums sums;
  clear(sums);
  const auto copy = [&](int step) {
    if (step < p.steps)
      copy_step(shared + step % tiles::STAGES * tiles::STAGE_BYTES, p.x, first_row, p.weight, first_column,
                p.row_bytes, step, thread);
    gpu::commit_copies();
  };
#pragma unroll
  for (int step = 0; step + 1 < tiles::STAGES; ++step) copy(step);
  for (int step = 0; step < p.steps; ++step) {
    gpu::wait_for_copies<tiles::STAGES - 2>();
    __syncthreads();
    copy(step + tiles::STAGES - 1);
    multiplier.step(sums, shared + step % tiles::STAGES * tiles::STAGE_BYTES);
  }
  gpu::wait_for_copies<0>();
  __syncthreads();  // the stages are free for the pre-activations
#pragma unroll
  for (int r = 0; r < tiles::ROWS_PER_LANE; ++r) {
    const int row = tiles::row_of(place, r);
    const float scale = p.x_scale[first_row + row];
#pragma unroll
    for (int ni = 0; ni < 8; ++ni) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = tiles::column_of(place, ni) + e;
        const int weight_row = min(first_column + column, p.weight.count - 1);
        gpu::store_float(shared + std::uint32_t(row * STAGED_PITCH + column) * 4,
                         sums[r / 2][ni][2 * (r % 2) + e] * scale * p.weight_scale[weight_row]);
      }
    }
  }
  __syncthreads();
  reduce_pieces(shared, STAGED_PITCH, tiles::ROWS, units, p.shape, first_row, first_unit, p.bias, p.y,
                p.index);
}

// ---- forward, small ----------------------------------------------------------------------------------------

constexpr int SMALL_ROWS = 32, SMALL_COLUMNS = 64, SMALL_DEPTH = 32, SMALL_THREADS = 128;
constexpr int SMALL_PITCH = SMALL_COLUMNS + 1;

struct SmallForward {
  MaxoutShape shape;
  const float *x, *weight, *bias;
  float* y;
  std::uint8_t* index;
};

// A block per tile of 32 rows and 64 pre-activations; a thread has 4 × 4 of them, 8 rows and 16 columns apart.
__global__ void __launch_bounds__(SMALL_THREADS) forward_small_tiles(const __grid_constant__ SmallForward p) {
  __shared__ float x[SMALL_DEPTH][SMALL_ROWS + 1];
  __shared__ float weight[SMALL_DEPTH][SMALL_PITCH];
  const int thread = int(threadIdx.x), row = thread / 16, column = thread % 16;
  const int units = units_in(SMALL_COLUMNS, p.shape.pieces);
  const std::int64_t unit_tiles = ceil_div(p.shape.units, units);
  const std::int64_t first_row = std::int64_t(blockIdx.x) / unit_tiles * SMALL_ROWS;
  const std::int64_t first_unit = std::int64_t(blockIdx.x) % unit_tiles * units;
  const std::int64_t first_column = first_unit * p.shape.pieces;
  const std::int64_t columns = p.shape.units * p.shape.pieces;

  // The next step is read while this one is multiplied.
  constexpr int X_READS = SMALL_ROWS * SMALL_DEPTH / SMALL_THREADS;
  constexpr int WEIGHT_READS = SMALL_COLUMNS * SMALL_DEPTH / SMALL_THREADS;
  constexpr int ROWS_PER_READ = SMALL_THREADS / SMALL_DEPTH;
  const int read_k = thread % SMALL_DEPTH, read_row = thread / SMALL_DEPTH;
  float next_x[X_READS], next_weight[WEIGHT_READS];
  const auto read = [&](std::int64_t k) {
#pragma unroll
    for (int i = 0; i < X_READS; ++i) {
      const std::int64_t r = first_row + read_row + i * ROWS_PER_READ;
      next_x[i] = r < p.shape.batch && k < p.shape.in ? p.x[r * p.shape.in + k] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < WEIGHT_READS; ++i) {
      const std::int64_t c = first_column + read_row + i * ROWS_PER_READ;
      next_weight[i] = c < columns && k < p.shape.in ? p.weight[c * p.shape.in + k] : 0.0f;
    }
  };
  float sums[4][4] = {};
  read(read_k);
  for (std::int64_t k = 0; k < p.shape.in; k += SMALL_DEPTH) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < X_READS; ++i) x[read_k][read_row + i * ROWS_PER_READ] = next_x[i];
#pragma unroll
    for (int i = 0; i < WEIGHT_READS; ++i) weight[read_k][read_row + i * ROWS_PER_READ] = next_weight[i];
    __syncthreads();
    read(k + SMALL_DEPTH + read_k);
    float part[4][4] = {};  // long float32 sums lose digits
#pragma unroll
    for (int step = 0; step < SMALL_DEPTH; ++step) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c)
          part[r][c] = fmaf(x[step][row + 8 * r], weight[step][column + 16 * c], part[r][c]);
      }
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int c = 0; c < 4; ++c) sums[r][c] += part[r][c];
    }
  }
  const std::uint32_t staged = gpu::shared_memory();
#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int c = 0; c < 4; ++c)
      gpu::store_float(staged + std::uint32_t((row + 8 * r) * SMALL_PITCH + column + 16 * c) * 4, sums[r][c]);
  }
  __syncthreads();
  reduce_pieces(staged, SMALL_PITCH, SMALL_ROWS, units, p.shape, first_row, first_unit, p.bias, p.y, p.index);
}

// ---- backward ----------------------------------------------------------------------------------------------

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

// ---- a call ------------------------------------------------------------------------------------------------

// Whether large tiles would be enough to occupy a chip of a hundred processors.
bool is_large(MaxoutShape shape) {
  const std::int64_t units = units_in(tiles::COLUMNS, shape.pieces);
  return ceil_div(shape.batch, tiles::ROWS) * ceil_div(shape.units, units) >= 100;
}

struct Operand {
  unsigned char* packed;
  float* scale;
};

// Both operands in the workspace, one after the other.
struct Memory {
  std::int64_t steps, row_bytes;
  Operand x, weight;
  std::int64_t bytes;

  Memory(MaxoutShape shape, void* workspace)
      : steps(ceil_div(shape.in, tiles::DEPTH)), row_bytes(steps * tiles::STEP_BYTES), bytes(0) {
    x = take(shape.batch, static_cast<unsigned char*>(workspace));
    weight = take(shape.units * shape.pieces, static_cast<unsigned char*>(workspace));
  }

 private:
  Operand take(std::int64_t rows, unsigned char* from) {
    Operand operand{};
    if (from) operand.packed = from + bytes;
    bytes += rows * row_bytes;
    if (from) operand.scale = reinterpret_cast<float*>(from + bytes);
    bytes += round_up(round_up(rows, tiles::ROWS) * std::int64_t(sizeof(float)), 256);
    return operand;
  }
};

void pack(Operand to, const float* rows, std::int64_t count, const Memory& memory, MaxoutShape shape,
          Queue queue) {
  Packing packing{};
  packing.rows = {rows, count, shape.in, 1};
  packing.count = count;
  packing.capacity = round_up(count, tiles::ROWS);
  packing.d = shape.in;
  packing.steps = memory.steps;
  packing.packed = to.packed;
  packing.scale = to.scale;
  gpu::launch("pack_rows", pack_rows<Product::split_half>,
              {std::min<std::int64_t>(ceil_div(packing.capacity, WARPS), 4096), THREADS}, queue, packing);
}

void forward_small(MaxoutShape shape, const float* x, const float* weight, const float* bias, float* y,
                   std::uint8_t* index, Queue queue) {
  const std::int64_t tiles_wide = ceil_div(shape.units, units_in(SMALL_COLUMNS, shape.pieces));
  gpu::launch("forward_small_tiles", forward_small_tiles,
              {ceil_div(shape.batch, SMALL_ROWS) * tiles_wide, SMALL_THREADS, SMALL_ROWS * SMALL_PITCH * 4},
              queue, SmallForward{shape, x, weight, bias, y, index});
}

void forward_large(MaxoutShape shape, const float* x, const float* weight, const float* bias, float* y,
                   std::uint8_t* index, void* workspace, Queue queue) {
  const std::int64_t columns = shape.units * shape.pieces;
  const Memory memory(shape, workspace);
  pack(memory.x, x, shape.batch, memory, shape, queue);
  pack(memory.weight, weight, columns, memory, shape, queue);
  const Forward forward{shape,
                        {memory.x.packed, int(shape.batch)},
                        {memory.weight.packed, int(columns)},
                        std::uint32_t(memory.row_bytes),
                        int(memory.steps),
                        memory.x.scale,
                        memory.weight.scale,
                        bias,
                        y,
                        index};
  const std::int64_t tiles_wide = ceil_div(shape.units, units_in(tiles::COLUMNS, shape.pieces));
  gpu::launch("forward_tiles", forward_tiles,
              {ceil_div(shape.batch, tiles::ROWS) * tiles_wide, tiles::THREADS, FORWARD_BYTES}, queue,
              forward);
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

std::int64_t maxout_workspace_bytes(MaxoutShape shape) {
  return is_large(shape) ? Memory(shape, nullptr).bytes : 0;
}

void maxout_forward(MaxoutShape shape, const float* x, const float* weight, const float* bias, float* y,
                    std::uint8_t* index, void* workspace, Queue queue) {
  gpu::use(queue.device);
  if (is_large(shape)) {
    forward_large(shape, x, weight, bias, y, index, workspace, queue);
  } else {
    forward_small(shape, x, weight, bias, y, index, queue);
  }
}

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
