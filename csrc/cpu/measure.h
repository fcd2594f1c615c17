// What the machine can do at best: the two limits that every kernel is measured against.
#pragma once

#include "kernels.h"

namespace gancli {

// Fused multiply-adds on all threads at once for about `seconds`; returns floating-point operations per second.
double fma_peak(const Kernels& kernels, int threads, double seconds);

// Read data [count] once on all threads; returns bytes per second.
double read_bandwidth(const Kernels& kernels, const float* data, std::int64_t count, int threads);

}  // namespace gancli
