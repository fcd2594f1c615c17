// Log-sum-exp over Gaussian kernels: the loops around the micro-kernels.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace gancli {

// A strided view of float32 rows.
struct Rows {
  const float* data;                       // [count][d]
  std::int64_t count;                      // number of rows
  std::int64_t row_stride, column_stride;  // in floats, any sign
};

// Which input a call refused, because a row holds NaN or infinity or lies so far out that squares overflow.
enum class Refused { nothing, x, samples };

// out[s][i] = log Σ_j exp(−‖x_i − μ_j‖² / (2 σ_s²))
//
//   x [m][d], samples [n][d] with n, d ≥ 1;  sigmas [num_sigmas], positive;  out [num_sigmas][m] contiguous
//
// Equal inputs give equal bits for every number of threads. Memory beyond the arguments: O(m·num_sigmas) and tiles.
Refused parzen_log_sum_exp(const Kernels& kernels, Rows x, Rows samples, std::int64_t d, const double* sigmas,
                           int num_sigmas, float* out, int threads);

}  // namespace gancli
