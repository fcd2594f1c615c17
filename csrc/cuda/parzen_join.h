// The end of a Parzen call: what splits and chunks of samples gave a point becomes one sum, and its logarithm.
#pragma once

#include <cfloat>
#include <cmath>

#include "pack.h"
#include "parzen_score.h"

namespace gancli::cuda {

// What the chunks of samples so far gave each point, each [points]; sums [count of σ][points].
struct Totals {
  float* top;
  float* nearest_score;
  std::int64_t* nearest;  // its number among all samples
  double* sum;
};

struct Combining {
  Parts parts;
  int num_parts;
  std::int64_t points;
  std::int64_t first_sample;  // of this chunk
  bool first_chunk;
  Widths widths;
  // Threads of all σ read a point's old state while that of the first writes the new one, so they lie apart.
  Totals before, after;
};

__device__ __forceinline__ double rescaled(double sum, float top, float new_top, float factor) {
  // Nothing was summed yet where the top is still at its start; −FLT_MAX less a large top would overflow.
  return top == new_top || sum == 0 ? sum : sum * exp2((double(top) - double(new_top)) * double(factor));
}

// A thread per point and σ.
static __global__ void combine_parts(const __grid_constant__ Combining p) {
  const std::int64_t number = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t i = number % p.points;
  const int s = int(number / p.points);
  if (s >= p.widths.count) return;
  float top = p.first_chunk ? -FLT_MAX : p.before.top[i];
  int best = -1;
  for (int part = 0; part < p.num_parts; ++part) {
    const float other = p.parts.top[part * p.points + i];
    if (other > top) {
      top = other;
      best = part;
    }
  }
  const std::int64_t at = std::int64_t(s) * p.points + i;
  double sum = p.first_chunk ? 0 : rescaled(p.before.sum[at], p.before.top[i], top, p.widths.factor[s]);
  for (int part = 0; part < p.num_parts; ++part)
    sum += rescaled(double(p.parts.sum[(std::int64_t(part) * p.widths.count + s) * p.points + i]),
                    p.parts.top[part * p.points + i], top, p.widths.factor[s]);
  p.after.sum[at] = sum;
  if (s > 0) return;
  p.after.top[i] = top;
  if (best >= 0) {
    p.after.nearest_score[i] = p.parts.nearest[best * p.points + i].score;
    p.after.nearest[i] = p.first_sample + p.parts.nearest[best * p.points + i].number;
  } else {
    p.after.nearest_score[i] = p.first_chunk ? 0 : p.before.nearest_score[i];
    p.after.nearest[i] = p.first_chunk ? 0 : p.before.nearest[i];
  }
}

struct Finishing {
  Rows x, samples;
  std::int64_t d, first, points;  // points first … first + points of x
  const double* half_norm;        // [points] ½‖x‖² + level
  Totals totals;
  Widths widths;
  double sigma[MAX_SIGMAS_PER_PASS];
  float* out;  // [count of σ][m]
};

// log Σ, given the exact −½‖x − μ‖² of the nearest sample, that score and the rounded one counted from the same top, and
// the sum of all terms. The nearest sample's term is put right; the others get half of its correction, since half of
// what rounding did to near neighbours it did to all alike.
GANCLI_INDEX double corrected_log_sum(double exact, double exact_score, double rounded_score, double sum,
                                      double sigma, double factor, double num_samples) {
  const double scale = 1 / (sigma * sigma);
  const double others = sum - exp2(rounded_score * factor);
  if (!(others > 0)) return exact * scale;
  // Relative to the nearest one's term. No other sample is nearer, so that none can count for more.
  const double log_others = log(others) - 0.5 * (exact_score + rounded_score) * scale;
  return exact * scale + log1p(fmin(exp(fmin(log_others, 700.0)), num_samples - 1));
}

// A warp per point.
static __global__ void finish_points(const __grid_constant__ Finishing p) {
  const int lane = int(threadIdx.x % 32);
  const std::int64_t i = std::int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (i >= p.points) return;
  const float* point = p.x.data + (p.first + i) * p.x.row_stride;
  const float* sample = p.samples.data + p.totals.nearest[i] * p.samples.row_stride;
  double squared = 0;
  for (std::int64_t k = lane; k < p.d; k += 32) {
    const double difference =
        double(point[k * p.x.column_stride]) - double(sample[k * p.samples.column_stride]);
    squared += difference * difference;
  }
  const double exact = -0.5 * sum_over_warp(squared);
  const double exact_score = exact + p.half_norm[i] - double(p.totals.top[i]);
  for (int s = lane; s < p.widths.count; s += 32) {
    const double factor = double(p.widths.factor[s]);
    const double rounded = fmin(double(p.totals.nearest_score[i]), MOST_EXPONENT / factor);
    const double value =
        corrected_log_sum(exact, exact_score, rounded, p.totals.sum[std::int64_t(s) * p.points + i],
                          p.sigma[s], factor, double(p.samples.count));
    // Where the true value is beyond float32 the largest finite one stands for it.
    p.out[std::int64_t(s) * p.x.count + p.first + i] = float(fmax(value, -double(FLT_MAX)));
  }
}

}  // namespace gancli::cuda
