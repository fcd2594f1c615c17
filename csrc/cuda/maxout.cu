// The maxout layer on a GPU: a product whose tiles hold whole units, so that the maximum over a unit's pieces is taken
// where the tile is and pre-activations never reach device memory. Large products run on tensor cores (product.h), small
// ones in plain float32 with tiles small enough to occupy the chip.
#include <algorithm>

#include "maxout.h"
#include "pack.h"
#include "product.h"

namespace gancli::cuda {
namespace {

using tiles::ceil_div;
using tiles::round_up;

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
      if (tiles::wins(z, best)) {
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
              {std::min<std::int64_t>(ceil_div(packing.capacity, tiles::THREADS / 32), 4096), tiles::THREADS},
              queue, packing);
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

}  // namespace gancli::cuda
