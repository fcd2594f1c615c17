// The Parzen log-sum-exp where one side has few rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "parzen_call.h"

namespace gancli {

// Up to this many rows one side is narrow.
constexpr std::int64_t NARROW_ROWS = 32;

inline bool is_narrow(std::int64_t m, std::int64_t n, std::int64_t) {
  const char* e = std::getenv("NARROW");
  const std::int64_t t = e ? std::atoi(e) : NARROW_ROWS;
  return std::min(m, n) <= t;
}

Refused narrow_log_sum_exp(const Problem& problem, float* out, int threads);

}  // namespace gancli
