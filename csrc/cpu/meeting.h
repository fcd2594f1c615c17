// Where processes that share memory wait for each other.
#pragma once

#include <cstdint>

namespace gancli {

// One line of turns per rank, two cache lines apart from the next, so that a rank's arrival disturbs no other's.
constexpr std::int64_t TURN_STRIDE = 16;

// Arrive at meeting `turn` as `rank`, and wait until all have. What a rank wrote before it arrived, the others see
// afterwards.
//
// Args:
//   turns    [size][TURN_STRIDE] in memory that all ranks see, zeros at first; number 0 of a line is its rank's last turn
//   turn     counts the meetings from 1
//   seconds  how long to wait at most
// Returns whether all have come; if not, the same call waits on.
bool meet(std::int64_t* turns, std::int64_t rank, std::int64_t size, std::int64_t turn, double seconds);

}  // namespace gancli
