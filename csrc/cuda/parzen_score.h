// The heart of a Parzen call: products of points and samples in tiles, and in their epilogue a running maximum and a running
// sum per σ (parzen.cu says where in a call, and what a score is).
#pragma once

#include <cfloat>
#include <cmath>

#include "parzen_plan.h"
#include "product.h"

namespace gancli::cuda {

using tiles::Place;
using tiles::ROWS_PER_LANE;

// Terms smaller than 2^−EXPONENT_RANGE of the largest are left out: 2^31 of them would still vanish in float32.
constexpr float EXPONENT_RANGE = 64;
// A rounded score may lie above the one it counts from. For a σ so small that this alone would overflow, it is cut here.
constexpr float MOST_EXPONENT = 16;

// Factors log₂e/σ² of a pass: the exponent of 2 per unit of score.
struct Widths {
  int count;
  float factor[MAX_SIGMAS_PER_PASS];
};

// The sample that has the largest rounded score.
struct Nearest {
  std::int32_t number;  // within the chunk
  float score;          // counted from the rounded one: what rounding took
};

// What parts hand over, each [parts][points] (sums [parts][count of σ][points]).
struct Parts {
  float* top;  // largest rounded score
  Nearest* nearest;
  float* sum;  // Σ 2^((t − top)·factor)
};

struct Scoring {
  PackedRows points, samples;
  std::uint32_t row_bytes;
  int steps;
  const float* point_scale;
  const float* sample_scale;
  const float* sample_start;
  Items items;
  Widths widths;
  float largest_factor;
  // What threads keep of their own row beside the largest score, in device memory for want of registers: running sums
  // [blocks][count of σ][threads] and the nearest sample [blocks][threads].
  double* running;
  Nearest* nearest;
  Parts parts;
};

// A product x·μ becomes a score: the rounded one says where the top is; counted from the top, it keeps its digits. The sum
// stands alone, never fused with the product's scaling, so that the same product gives the same score wherever it is asked.
__device__ __forceinline__ float rounded_score(float product, float start) {
  return __fadd_rn(product, start);
}
__device__ __forceinline__ float score_from(float top, float product, float start) {
  return (product - top) + start;
}

// Where a tile has a new nearest sample for some row of this warp: which, and its score from the top. `start` is that of
// the lane's first column.
__device__ __forceinline__ void find_nearest(const Sums& products, const float* start,
                                             const float (&tile_top)[ROWS_PER_LANE], const Place& place,
                                             int first_column, float own_top, Nearest* nearest) {
#pragma unroll
  for (int r = 0; r < ROWS_PER_LANE; ++r) {
    std::int32_t column = INT32_MAX;
    float score = 0;
#pragma unroll
    for (int ni = 0; ni < 8; ++ni) {
      const float2 starts = gpu::read_pair(start + 8 * ni);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float product = products[r / 2][ni][2 * (r % 2) + e];
        const float own_start = e ? starts.y : starts.x;
        if (rounded_score(product, own_start) == tile_top[r] && column == INT32_MAX) {
          column = first_column + 8 * ni + e;
          score = score_from(tile_top[r], product, own_start);
        }
      }
    }
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2) {
      const std::int32_t other = __shfl_xor_sync(gpu::ALL_LANES, column, apart);
      const float other_score = __shfl_xor_sync(gpu::ALL_LANES, score, apart);
      if (other < column) {
        column = other;
        score = other_score;
      }
    }
    if (r == place.member && tile_top[r] > own_top && column < INT32_MAX) *nearest = {column, score};
  }
}

// Fold a finished tile of products into the running maximum and sums of its rows.
__device__ __forceinline__ void fold_tile(Sums& sums, const Scoring& p, const Place& place, int row_tile,
                                          int column_tile, bool first_tile, double* running, Nearest* nearest,
                                          float& own_top) {
  const int first_column = column_tile * tiles::COLUMNS + tiles::column_of(place, 0);
  const float* start = p.sample_start + first_column;
  float tile_top[ROWS_PER_LANE], point_scale[ROWS_PER_LANE];
#pragma unroll
  for (int r = 0; r < ROWS_PER_LANE; ++r) {
    point_scale[r] = p.point_scale[row_tile * tiles::ROWS + tiles::row_of(place, r)];
    tile_top[r] = -INFINITY;
  }
#pragma unroll
  for (int ni = 0; ni < 8; ++ni) {
    const float2 scales = gpu::read_pair(p.sample_scale + first_column + 8 * ni);
    const float2 starts = gpu::read_pair(start + 8 * ni);
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& sum = sums[r / 2][ni][2 * (r % 2) + e];
        sum = sum * point_scale[r] * (e ? scales.y : scales.x);  // powers of two: exact
        tile_top[r] = fmaxf(tile_top[r], rounded_score(sum, e ? starts.y : starts.x));
      }
    }
    __syncwarp();  // all reads at once would take more registers than there are
  }
  float top[ROWS_PER_LANE];
  bool rises = false;
  float highest = -INFINITY;  // of any row in this tile, counted from that row's top
#pragma unroll
  for (int r = 0; r < ROWS_PER_LANE; ++r) {
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2)
      tile_top[r] = fmaxf(tile_top[r], __shfl_xor_sync(gpu::ALL_LANES, tile_top[r], apart));
    top[r] = __shfl_sync(gpu::ALL_LANES, own_top, (place.lane & ~3) | r);
    rises |= tile_top[r] > top[r];
    top[r] = fmaxf(top[r], tile_top[r]);
    highest = fmaxf(highest, tile_top[r] - top[r]);
  }
  rises = __any_sync(gpu::ALL_LANES, rises);
  const float old_top = own_top;
  if (rises) {
    find_nearest(sums, start, tile_top, place, first_column, own_top, nearest);
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) own_top = r == place.member ? top[r] : own_top;
  }
  const float most = MOST_EXPONENT / p.largest_factor;
#pragma unroll
  for (int ni = 0; ni < 8; ++ni) {
    const float2 starts = gpu::read_pair(start + 8 * ni);
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& sum = sums[r / 2][ni][2 * (r % 2) + e];
        sum = fminf(score_from(top[r], sum, e ? starts.y : starts.x), most);
      }
    }
    __syncwarp();
  }
  const bool upper = place.member & 2, odd = place.member & 1;
#pragma unroll 1
  for (int s = 0; s < p.widths.count; ++s) {
    const float factor = p.widths.factor[s];
    // Nothing of this tile counts for any row of the warp: the usual case where σ is small.
    if (!__any_sync(gpu::ALL_LANES, first_tile || rises || highest * factor >= -EXPONENT_RANGE)) continue;
    float row_sum[ROWS_PER_LANE];
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) {
      row_sum[r] = 0;
#pragma unroll
      for (int ni = 0; ni < 8; ++ni) {
#pragma unroll
        for (int e = 0; e < 2; ++e) row_sum[r] += gpu::exp2_fast(sums[r / 2][ni][2 * (r % 2) + e] * factor);
      }
    }
    // Each member ends with the sum of its own row, r = member.
    float half[2];
#pragma unroll
    for (int r = 0; r < 2; ++r)
      half[r] = (upper ? row_sum[2 + r] : row_sum[r]) +
                __shfl_xor_sync(gpu::ALL_LANES, upper ? row_sum[r] : row_sum[2 + r], 2);
    const float own_sum =
        (odd ? half[1] : half[0]) + __shfl_xor_sync(gpu::ALL_LANES, odd ? half[0] : half[1], 1);
    double& total = running[std::int64_t(s) * tiles::THREADS];
    const double before = first_tile ? 0.0 : total * double(gpu::exp2_fast((old_top - own_top) * factor));
    total = before + double(own_sum);
  }
}

__device__ __forceinline__ void hand_over(const Scoring& p, const Place& place, const Items::Item& item,
                                          const double* running, const Nearest* nearest, float own_top) {
  const std::int64_t row = std::int64_t(item.row_tile) * tiles::ROWS + tiles::own_row(place);
  if (row >= p.points.count) return;
  const std::int64_t part = std::int64_t(item.split) * tiles::WARP_COLUMNS + place.warp_column;
  const std::int64_t at = part * p.points.count + row;
  p.parts.top[at] = own_top;
  p.parts.nearest[at] = *nearest;
  for (int s = 0; s < p.widths.count; ++s)
    p.parts.sum[(part * p.widths.count + s) * p.points.count + row] =
        float(running[std::int64_t(s) * tiles::THREADS]);
}

__device__ __forceinline__ double* running_of(const Scoring& p, int thread) {
  return p.running + std::int64_t(blockIdx.x) * p.widths.count * tiles::THREADS + thread;
}

__device__ __forceinline__ Nearest* nearest_of(const Scoring& p, int thread) {
  return p.nearest + std::int64_t(blockIdx.x) * tiles::THREADS + thread;
}

// Two blocks on a processor, so that one multiplies while the other takes exponentials; only the shared memory of compute
// capability 9 holds two, and plain float32 needs the registers of both.
__host__ __device__ constexpr int blocks_per_processor(Product product) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return 1 + 0 * int(product);
#else
  return product == Product::split_half ? 2 : 1;
#endif
}

// Blocks stay and take one item after another.
template <Product product>
__global__ void __launch_bounds__(tiles::THREADS, blocks_per_processor(product))
    score_tiles(const __grid_constant__ Scoring p) {
  const std::uint32_t shared = gpu::shared_memory();
  const Multiplier<product> multiplier(tiles::place_of(gpu::thread_number()));
  __shared__ Items::Item item;  // the same for all threads: not in registers, which are scarce

  for (int number = int(blockIdx.x); number < p.items.count(); number += int(gridDim.x)) {
    if (gpu::thread_number() == 0) item = p.items.at(number);
    __syncthreads();
    float own_top = -FLT_MAX;
    *nearest_of(p, gpu::thread_number()) = {0, 0};
    Sums sums;
    clear(sums);

    // Steps of all tiles of the item in one row, so that copies run ahead across tiles, below the epilogue.
    int copied_tile = item.first, copied_step = 0;
    const auto copy_next = [&](int stage) {
      if (copied_tile < item.last) {
        copy_step(shared + stage * tiles::STAGE_BYTES, p.points, item.row_tile * tiles::ROWS, p.samples,
                  copied_tile * tiles::COLUMNS, p.row_bytes, copied_step, gpu::thread_number());
        if (++copied_step == p.steps) {
          copied_step = 0;
          ++copied_tile;
        }
      }
      gpu::commit_copies();  // an empty group where nothing is left, so that counting them goes on
    };
#pragma unroll
    for (int stage = 0; stage + 1 < tiles::STAGES; ++stage) copy_next(stage);

    int stage = 0;
    for (int tile = item.first; tile < item.last; ++tile) {
#pragma unroll 1
      for (int step = 0; step < p.steps; ++step) {
        gpu::wait_for_copies<tiles::STAGES - 2>();
        __syncthreads();  // the step is here for all, and all are done with the stage that is copied to next
        copy_next(stage == 0 ? tiles::STAGES - 1 : stage - 1);
        multiplier.step(sums, shared + stage * tiles::STAGE_BYTES);
        stage = stage + 1 == tiles::STAGES ? 0 : stage + 1;
      }
      const int thread = gpu::thread_number();
      fold_tile(sums, p, tiles::place_of(thread), item.row_tile, tile, tile == item.first,
                running_of(p, thread), nearest_of(p, thread), own_top);
      clear(sums);
    }
    const int thread = gpu::thread_number();
    hand_over(p, tiles::place_of(thread), item, running_of(p, thread), nearest_of(p, thread), own_top);
    __syncthreads();  // the next item's first copies go where these steps were read
  }
}

}  // namespace gancli::cuda
