// Where the data of a Parzen call lie, from a few samples: their mean, and half norms counted from it.
#pragma once

#include "pack.h"
#include "parzen_plan.h"

namespace gancli::cuda {

// The i-th of the samples that give the centre.
__device__ __forceinline__ const float* centre_sample(Rows samples, int used, int i) {
  return samples.data + samples.count * i / used * samples.row_stride;
}
GANCLI_INDEX int centre_samples(std::int64_t count) {
  return count < CENTRE_SAMPLES ? int(count) : CENTRE_SAMPLES;
}

static __global__ void mean_columns(Rows samples, std::int64_t d, float* centre) {
  const int used = centre_samples(samples.count);
  for (std::int64_t k = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; k < d;
       k += std::int64_t(gridDim.x) * blockDim.x) {
    double sum = 0;
    for (int i = 0; i < used; ++i) sum += double(centre_sample(samples, used, i)[k * samples.column_stride]);
    centre[k] = float(sum / used);
  }
}

// half_norms[i] = ½‖centre sample i‖², a warp each.
static __global__ void half_norms(Rows samples, std::int64_t d, const float* centre, double* half_norms) {
  const int used = centre_samples(samples.count), lane = int(threadIdx.x % 32);
  const int i = int(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (i >= used) return;
  const float* row = centre_sample(samples, used, i);
  double sum = 0;
  for (std::int64_t k = lane; k < d; k += 32) {
    const double value = centred(row, samples.column_stride, centre, k);
    sum += value * value;
  }
  sum = sum_over_warp(sum);
  if (lane == 0) half_norms[i] = 0.5 * sum;
}

}  // namespace gancli::cuda
