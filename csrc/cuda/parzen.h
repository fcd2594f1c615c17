// Log-sum-exp over Gaussian kernels on a GPU; the same operation as cpu/parzen.h.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace gancli::cuda {

// Bytes of device memory that one call needs to work in: under 256 MiB for d up to 10 million, and what the packed form
// of one point and one sample takes where that is more.
std::int64_t parzen_workspace_bytes(Product product, std::int64_t m, std::int64_t n, std::int64_t d,
                                    int num_sigmas, int device);

// out[s][i] = log Σ_j exp(−‖x_i − μ_j‖² / (2 σ_s²)), queued.
//
//   x [m][d], samples [n][d] with n, d ≥ 1 and d < 2^29;  sigmas positive, on the host;  out [num_sigmas][m] contiguous
//   refused [2]: the first row of x, and of samples, that holds NaN or infinity or lies so far out that squares
//   overflow; the caller sets it to NOT_REFUSED before; where a row is refused, out is undefined
//   workspace of parzen_workspace_bytes, aligned to 256 bytes
//
// Equal inputs give equal bits on equal devices. Everything but sigmas lies in device memory.
void parzen_log_sum_exp(Product product, Rows x, Rows samples, std::int64_t d,
                        const std::vector<double>& sigmas, float* out, std::int64_t* refused, void* workspace,
                        Queue queue);

constexpr std::int64_t NOT_REFUSED = INT64_MAX;

}  // namespace gancli::cuda
