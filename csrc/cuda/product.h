// The product of a tile: 128 rows by 128 rows, step after step of 32 columns, on tensor cores or in plain float32.
//
// Tensor cores multiply half precision, so that a float32 x is held as x ≈ 2^e (hi + lo), both halves, with e chosen per
// row: the largest of the row lands in [2^13, 2^14). What is lost is below 2^−24 of x or 2^−39 of the row's largest,
// whichever is more, whatever the range of the data, and x·μ needs three products, hi·hi + hi·lo + lo·hi.
// Tensor cores cut off what does not fit their accumulator instead of rounding it, and the cuts add up. So each sums no
// more than 16 columns, from zero, small products first; these sums are rounded and added in ordinary float32.
// Source: Ootomo and Yokota 2022, "Recovering single precision accuracy from Tensor Cores" (arXiv 2203.03341).
#pragma once

#include "device.h"
#include "tiles.h"
#include "types.h"

namespace gancli::cuda {

// The exponent e for a row whose largest magnitude is `largest`.
__device__ __forceinline__ int split_exponent(float largest) {
  int exponent = 0;
  if (largest > 0 && largest < INFINITY)
    frexpf(largest, &exponent);  // largest in [2^(exponent−1), 2^exponent)
  // Rows below 2^−60·2^14 only lose digits that float32 arithmetic with other rows would lose too.
  return exponent > -46 ? exponent - 14 : -60;
}

struct SplitNumber {
  std::uint16_t hi, lo;  // bits of two halves
};
__device__ __forceinline__ SplitNumber split(float scaled) {
  const std::uint16_t hi = gpu::to_half(scaled);
  return {hi, gpu::to_half(scaled - gpu::from_half(hi))};
}

// Packed rows as the product reads them.
struct PackedRows {
  const unsigned char* data;  // [count][steps][128 bytes]
  int count;
};

// A thread's part in copying one step of a left and a right tile to a stage. Rows beyond the last repeat it: finite
// numbers whose products nobody uses.
__device__ __forceinline__ void copy_step(std::uint32_t stage, PackedRows left, int first_left,
                                          PackedRows right, int first_right, std::uint32_t row_bytes,
                                          int step, int thread) {
  constexpr int TURNS = tiles::COPIES / 2, ROWS_PER_TURN = tiles::THREADS / tiles::CHUNKS;
  const int row = tiles::copied_row(thread), chunk = tiles::copied_chunk(thread);
  const std::uint32_t to = stage + tiles::place_in_stage(row, chunk);
  const std::int64_t within_row = std::int64_t(step) * tiles::STEP_BYTES + chunk * 16;
#pragma unroll
  for (int i = 0; i < TURNS; ++i) {
    const std::uint32_t at = std::uint32_t(min(first_left + row + i * ROWS_PER_TURN, left.count - 1));
    gpu::copy_16_bytes(to + i * ROWS_PER_TURN * tiles::PITCH,
                       left.data + std::uint64_t(at) * row_bytes + within_row);
  }
#pragma unroll
  for (int i = 0; i < TURNS; ++i) {
    const std::uint32_t at = std::uint32_t(min(first_right + row + i * ROWS_PER_TURN, right.count - 1));
    gpu::copy_16_bytes(to + (tiles::ROWS + i * ROWS_PER_TURN) * tiles::PITCH,
                       right.data + std::uint64_t(at) * row_bytes + within_row);
  }
}

using Sums = float[2][8][4];  // [mi][ni][2·h + e], see tiles.h

__device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
  for (int mi = 0; mi < 2; ++mi) {
#pragma unroll
    for (int ni = 0; ni < 8; ++ni) {
#pragma unroll
      for (int v = 0; v < 4; ++v) sums[mi][ni][v] = 0;
    }
  }
}

template <Product product>
struct Multiplier;

template <>
struct Multiplier<Product::split_half> {
  std::uint32_t left, right;  // where this lane's fragments begin within a stage

  __device__ __forceinline__ explicit Multiplier(const tiles::Place& place)
      : left(tiles::place_in_stage(
            place.warp_row * tiles::WARP_TILE_ROWS + tiles::left_fragment_row(place.lane),
            tiles::left_fragment_chunk(place.lane))),
        right(tiles::place_in_stage(tiles::ROWS + place.warp_column * tiles::WARP_TILE_COLUMNS +
                                        tiles::right_fragment_row(place.lane),
                                    tiles::right_fragment_chunk(place.lane))) {}

  // sums += 32 columns of the tile in `stage`.
  __device__ __forceinline__ void step(Sums& sums, std::uint32_t stage) const {
    constexpr int LO = 4;  // chunks of lower halves follow four of upper ones
    // One half step at a time: both at once take more registers than two blocks on a processor leave.
#pragma unroll 1
    for (int chunk = 0; chunk < 4; chunk += 2) {
      std::uint32_t left_hi[2][4], left_lo[2][4];
#pragma unroll
      for (int mi = 0; mi < 2; ++mi) {
        const std::uint32_t at = stage + left + mi * 16 * tiles::PITCH + chunk * 16;
        gpu::load_fragments(left_hi[mi], at);
        gpu::load_fragments(left_lo[mi], at + LO * 16);
      }
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        std::uint32_t right_hi[4], right_lo[4];
        const std::uint32_t at = stage + right + pair * 16 * tiles::PITCH + chunk * 16;
        gpu::load_fragments(right_hi, at);
        gpu::load_fragments(right_lo, at + LO * 16);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float part[2][4] = {};
          const std::uint32_t hi[2] = {right_hi[2 * j], right_hi[2 * j + 1]};
          const std::uint32_t lo[2] = {right_lo[2 * j], right_lo[2 * j + 1]};
#pragma unroll
          for (int mi = 0; mi < 2; ++mi) gpu::multiply_halves(part[mi], left_lo[mi], hi[0], hi[1]);
#pragma unroll
          for (int mi = 0; mi < 2; ++mi) gpu::multiply_halves(part[mi], left_hi[mi], lo[0], lo[1]);
#pragma unroll
          for (int mi = 0; mi < 2; ++mi) gpu::multiply_halves(part[mi], left_hi[mi], hi[0], hi[1]);
#pragma unroll
          for (int mi = 0; mi < 2; ++mi) {
#pragma unroll
            for (int v = 0; v < 4; ++v) sums[mi][2 * pair + j][v] += part[mi][v];
          }
        }
      }
    }
  }
};

template <>
struct Multiplier<Product::float32> {
  std::uint32_t left, right;

  __device__ __forceinline__ explicit Multiplier(const tiles::Place& place)
      : left(tiles::place_in_stage(tiles::row_of(place, 0), 0)),
        right(tiles::place_in_stage(tiles::ROWS + tiles::column_of(place, 0), 0)) {}

  __device__ __forceinline__ void step(Sums& sums, std::uint32_t stage) const {
    // 32 columns are summed by themselves: long float32 sums lose digits.
    float part[2][8][4] = {};
#pragma unroll
    for (int chunk = 0; chunk < tiles::CHUNKS; ++chunk) {
      float4 a[tiles::ROWS_PER_LANE];
#pragma unroll
      for (int r = 0; r < tiles::ROWS_PER_LANE; ++r)
        a[r] = gpu::load_float4(stage + left + 8 * r * tiles::PITCH + chunk * 16);
#pragma unroll
      for (int ni = 0; ni < 8; ++ni) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float4 b = gpu::load_float4(stage + right + (8 * ni + e) * tiles::PITCH + chunk * 16);
#pragma unroll
          for (int r = 0; r < tiles::ROWS_PER_LANE; ++r) {
            float& sum = part[r / 2][ni][2 * (r % 2) + e];
            sum = fmaf(a[r].x, b.x, sum);
            sum = fmaf(a[r].y, b.y, sum);
            sum = fmaf(a[r].z, b.z, sum);
            sum = fmaf(a[r].w, b.w, sum);
          }
        }
      }
    }
#pragma unroll
    for (int mi = 0; mi < 2; ++mi) {
#pragma unroll
      for (int ni = 0; ni < 8; ++ni) {
#pragma unroll
        for (int v = 0; v < 4; ++v) sums[mi][ni][v] += part[mi][ni][v];
      }
    }
  }
};

}  // namespace gancli::cuda
