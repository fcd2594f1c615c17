// The momentum update on a GPU: all tensors of a network in one launch, each number read and written once.
#include <algorithm>

#include "device.h"
#include "momentum.h"

namespace gancli::cuda {
namespace {

constexpr int THREADS = 256, PER_THREAD = 8, PER_BLOCK = THREADS * PER_THREAD;
constexpr int MOST_TENSORS = 64;  // of a launch: a kernel takes 4 KiB of arguments

struct Update {
  Updated tensors[MOST_TENSORS];
  int count;
  const float *lr, *momentum;
  bool rate_inside;
};

// A block updates PER_BLOCK neighbours of one tensor.
__global__ void __launch_bounds__(THREADS) update(const __grid_constant__ Update p) {
  std::int64_t block = blockIdx.x;
  int which = 0;
  for (; which + 1 < p.count; ++which) {
    const std::int64_t blocks = (p.tensors[which].count + PER_BLOCK - 1) / PER_BLOCK;
    if (block < blocks) break;
    block -= blocks;
  }
  const Updated tensor = p.tensors[which];
  const float lr = *p.lr, momentum = *p.momentum;
  const float of_gradient = p.rate_inside ? -lr : 1.0f, of_velocity = p.rate_inside ? 1.0f : -lr;
  const std::int64_t first = block * PER_BLOCK + threadIdx.x;
  // All are read before the first is written: the compiler cannot know that they lie apart.
  float gradient[PER_THREAD], velocity[PER_THREAD], parameter[PER_THREAD];
#pragma unroll
  for (int i = 0; i < PER_THREAD; ++i) {
    const std::int64_t at = first + i * THREADS;
    const bool there = at < tensor.count;
    gradient[i] = there ? tensor.gradient[at] : 0.0f;
    velocity[i] = there ? tensor.velocity[at] : 0.0f;
    parameter[i] = there ? tensor.parameter[at] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < PER_THREAD; ++i) {
    const std::int64_t at = first + i * THREADS;
    if (at >= tensor.count) return;
    const float v = fmaf(of_gradient, gradient[i], momentum * velocity[i]);
    tensor.velocity[at] = v;
    tensor.parameter[at] = fmaf(of_velocity, v, parameter[i]);
  }
}

}  // namespace

void momentum_update(const std::vector<Updated>& tensors, const float* lr, const float* momentum,
                     bool rate_inside, Queue queue) {
  gpu::use(queue.device);
  for (std::size_t first = 0; first < tensors.size(); first += MOST_TENSORS) {
    Update part{{}, 0, lr, momentum, rate_inside};
    std::int64_t blocks = 0;
    for (std::size_t i = first; i < std::min(first + MOST_TENSORS, tensors.size()); ++i) {
      if (tensors[i].count == 0) continue;
      part.tensors[part.count++] = tensors[i];
      blocks += (tensors[i].count + PER_BLOCK - 1) / PER_BLOCK;
    }
    gpu::launch("momentum_update", update, {blocks, THREADS}, queue, part);
  }
}

}  // namespace gancli::cuda
