// The Parzen log-sum-exp where one side has few rows, as in 20 points × 100,000 samples or 10,000 points × 20 samples.
//
// Tiles (parzen.cpp) then pay for what they do not use: few points leave lanes empty, and packing the long side, which
// is used once or twice, costs more than the arithmetic. Here scalar products are taken row by row, so that no lane is
// empty, and the long side is read once, in long pieces, and centred on the way. What that costs instead is a sum across
// lanes for every product, and kept rows that come from the second-level cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parzen_call.h"

namespace gancli {

// At most so many kept rows. With more, packing pays: at d = 784 tiles take 1.5 times as long with 20 samples, 1.3 with 32
// and 1.2 with 64; with 20 points 1.4, with 48 as long (AVX-512, one thread).
constexpr std::int64_t NARROW_ROWS = 32;
// Columns that there must be for each kept row: the sums across lanes grow with the kept rows, what is saved in packing
// grows with d. At d = 32, 2 kept rows gain a sixth and 20 lose a tenth or more; at d = 256, 16 gain a twentieth and 32 points lose.
constexpr std::int64_t COLUMNS_PER_KEPT_ROW = 16;

// Whether narrow_log_sum_exp is the faster way. Depends on nothing that the result may not depend on.
inline bool is_narrow(const Kernels& kernels, std::int64_t m, std::int64_t n, std::int64_t d) {
  const std::int64_t kept = std::min(m, n);
  if (kept > NARROW_ROWS || kept * COLUMNS_PER_KEPT_ROW > d) return false;
  // Few points that fill their tiles are better off there: less than an eighth is empty.
  const std::int64_t lanes = (m + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  return n <= m || 8 * m <= 7 * lanes;
}

// As parzen_log_sum_exp, for min(m, n) rows that fit the second-level cache.
Refused narrow_log_sum_exp(const Problem& problem, float* out, int threads);

}  // namespace gancli
