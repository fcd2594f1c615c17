// The passes over memory around the layers' products: dropout and the momentum update.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace gancli {

// y[i] = x[i]/keep where random number i is below keep, else 0. Random number i depends on the seed and i alone
// (layer_kernels.h), so that the same call on the cotangent is the backward pass, and no mask is kept.
//
//   x, y [count]; 0 < keep ≤ 1
void dropout(const Kernels& kernels, std::int64_t count, std::uint64_t seed, double keep, const float* x,
             float* y, int threads);

// One parameter tensor of a momentum update.
struct Updated {
  float* parameter;       // [count]
  float* velocity;        // [count]
  const float* gradient;  // [parts][count], each part `stride` after the one before
  std::int64_t count;
  std::int64_t parts = 1;
  std::int64_t stride = 0;
};

// velocity = momentum·velocity − lr·Σ gradient; parameter += velocity, in one pass over each of `num` tensors.
void momentum_update(const Kernels& kernels, const Updated* tensors, std::int64_t num, float momentum,
                     float lr, int threads);

}  // namespace gancli
