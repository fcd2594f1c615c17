// Rows in the form that the product reads (tiles.h): moved to a centre, scaled by a power of two of their own, split into
// halves.
#pragma once

#include <cfloat>
#include <cmath>

#include "product.h"

namespace gancli::cuda {

// Largest ½‖row‖²: products of two such rows, and sums of them, stay finite in float32.
constexpr double HALF_NORM_LIMIT = double(FLT_MAX) / 16;

__device__ __forceinline__ double sum_over_warp(double value) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) value += __shfl_xor_sync(gpu::ALL_LANES, value, apart);
  return value;
}

// Element k of a row, from the centre where there is one.
__device__ __forceinline__ float centred(const float* row, std::int64_t column_stride, const float* centre,
                                         std::int64_t k) {
  const float value = row[k * column_stride];
  return centre ? value - centre[k] : value;
}

// The mean of a few half norms, the same in every lane of a warp; 0 of none.
__device__ __forceinline__ double mean_half_norm(const double* half_norms, int used) {
  if (used == 0) return 0;
  double sum = 0;
  for (int i = int(threadIdx.x % 32); i < used; i += 32) sum += half_norms[i];
  return sum_over_warp(sum) / used;
}

// Rows first … first + count of `rows`, packed; `capacity` ≥ count is a multiple of the tile.
struct Packing {
  Rows rows;
  std::int64_t first, count, capacity;
  std::int64_t d, steps;
  const float* centre;              // [d] or null
  const double* centre_half_norms;  // [centre_samples]
  int centre_samples;
  unsigned char* packed;  // [count][steps][128 bytes]
  float* scale;           // [capacity] 2^e of the row; 1 beyond the last
  double* half_norm;      // [capacity] ½‖row‖² + level, or null
  float* start;           // [capacity] level − ½‖row‖², −∞ beyond the last, or null
  std::int64_t* refused;  // the lowest row that may not be used, or null
};

__device__ __forceinline__ void refuse(std::int64_t* refused, std::int64_t row) {
  // Row numbers are not negative, so that unsigned order is theirs.
  atomicMin(reinterpret_cast<unsigned long long*>(refused), static_cast<unsigned long long>(row));
}

// A warp packs a row.
template <Product product>
__global__ void pack_rows(Packing p) {
  const int lane = int(threadIdx.x % 32);
  const double level = mean_half_norm(p.centre_half_norms, p.centre_samples);
  const std::int64_t warps = std::int64_t(gridDim.x) * (blockDim.x / 32);
  for (std::int64_t i = std::int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; i < p.capacity;
       i += warps) {
    if (i >= p.count) {
      if (lane == 0) {
        p.scale[i] = 1;
        if (p.half_norm) p.half_norm[i] = 0;
        if (p.start) p.start[i] = -INFINITY;
      }
      continue;
    }
    const float* row = p.rows.data + (p.first + i) * p.rows.row_stride;
    double norm = 0;
    float largest = 0;
    for (std::int64_t k = lane; k < p.d; k += 32) {
      const float value = centred(row, p.rows.column_stride, p.centre, k);
      norm += double(value) * double(value);
      largest = fmaxf(largest, fabsf(value));
    }
    norm = sum_over_warp(norm);
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(gpu::ALL_LANES, largest, apart));
    const int exponent = product == Product::split_half ? split_exponent(largest) : 0;
    if (lane == 0) {
      if (p.refused && !(0.5 * norm <= HALF_NORM_LIMIT)) refuse(p.refused, p.first + i);  // NaN too
      p.scale[i] = ldexpf(1.0f, exponent);
      if (p.half_norm) p.half_norm[i] = 0.5 * norm + level;
      if (p.start) p.start[i] = float(level - 0.5 * norm);
    }
    const float shrink = ldexpf(1.0f, -exponent);
    unsigned char* to = p.packed + i * p.steps * tiles::STEP_BYTES;
    for (std::int64_t step = 0; step < p.steps; ++step, to += tiles::STEP_BYTES) {
      const std::int64_t k = step * tiles::DEPTH + lane;
      const float value = k < p.d ? centred(row, p.rows.column_stride, p.centre, k) * shrink : 0.0f;
      if constexpr (product == Product::split_half) {
        const SplitNumber parts = split(value);
        std::uint16_t* halves = reinterpret_cast<std::uint16_t*>(to);
        halves[lane] = parts.hi;
        halves[tiles::DEPTH + lane] = parts.lo;
      } else {
        reinterpret_cast<float*>(to)[lane] = value;
      }
    }
  }
}

}  // namespace gancli::cuda
