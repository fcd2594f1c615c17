// The momentum update on a GPU, in one pass over memory.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace gancli::cuda {

// One parameter tensor of an update.
struct Updated {
  const float* gradient;
  float *velocity, *parameter;
  std::int64_t count;
};

// Rate inside: velocity = momentum·velocity − lr·gradient, parameter += velocity; else velocity = momentum·velocity +
// gradient, parameter −= lr·velocity. Rounded as torch's operations one after the other; queued.
//
//   lr, momentum: one number each in device memory, read when the kernel runs
void momentum_update(const std::vector<Updated>& tensors, const float* lr, const float* momentum,
                     bool rate_inside, Queue queue);

}  // namespace gancli::cuda
