// log Σ exp(v) as an algebra of four verbs: empty, add, merge, finish.
//
// A partial sum is the pair (max, sum) with the meaning  log Σ exp(v) = max + log(sum),  where every exp was
// taken relative to max, so that nothing overflows and the largest term is exactly 1. The pairs form a
// commutative monoid up to rounding; callers merge in a fixed order, so that results repeat bit for bit.
//
// Plain C++ for the host; nvcc sees the same functions on the device.
#pragma once

#include <math.h>

#if defined(__CUDACC__)
#define GANCLI_HOST_DEVICE __host__ __device__
#else
#define GANCLI_HOST_DEVICE
#endif

namespace gancli {

struct LogSumExp {
  double max;  // largest v so far; −inf before the first
  double sum;  // Σ exp(v − max); 0 before the first
};

// The neutral element: merge(empty, p) = merge(p, empty) = p.
GANCLI_HOST_DEVICE inline LogSumExp log_sum_exp_empty() { return {-INFINITY, 0.0}; }

GANCLI_HOST_DEVICE inline LogSumExp log_sum_exp_merge(LogSumExp a, LogSumExp b) {
  // exp(a)·Σ + exp(b)·Σ, relative to the larger maximum. An empty side has no max to subtract: −inf − −inf is
  // NaN.
  if (a.sum == 0) return b;
  if (b.sum == 0) return a;
  if (a.max >= b.max) return {a.max, a.sum + b.sum * exp(b.max - a.max)};
  return {b.max, b.sum + a.sum * exp(a.max - b.max)};
}

// One more term v: merge with the partial sum (v, 1), since exp(v − v) = 1.
GANCLI_HOST_DEVICE inline LogSumExp log_sum_exp_add(LogSumExp a, double v) {
  return log_sum_exp_merge(a, {v, 1.0});
}

// max + log(sum); −inf for the empty sum, as log 0 should be.
GANCLI_HOST_DEVICE inline double log_sum_exp_finish(LogSumExp a) {
  return a.sum == 0 ? -INFINITY : a.max + log(a.sum);
}

}  // namespace gancli
