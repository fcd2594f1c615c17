#include "meeting.h"

#include <atomic>
#include <chrono>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gancli {
namespace {

using Turn = std::atomic<std::int64_t>;
static_assert(sizeof(Turn) == sizeof(std::int64_t) && Turn::is_always_lock_free,
              "a lock would lie in one process");

// Ranks that have a core each arrive within microseconds, and waking a sleeper takes fifty. Where there are more ranks
// than cores, whoever is waited for needs this one's; where a rank writes a checkpoint meanwhile, nobody should burn one.
constexpr int SPINS = 2000;
constexpr auto YIELDING = std::chrono::milliseconds(2);
constexpr auto NAP = std::chrono::microseconds(200);

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace

bool meet(std::int64_t* turns, std::int64_t rank, std::int64_t size, std::int64_t turn, double seconds) {
  const auto turn_of = [&](std::int64_t r) -> Turn& {
    return *reinterpret_cast<Turn*>(turns + r * TURN_STRIDE);
  };
  turn_of(rank).store(turn, std::memory_order_release);
  const auto start = std::chrono::steady_clock::now();
  std::int64_t next = 0;
  for (std::int64_t waits = 0;; ++waits) {
    while (next < size && turn_of(next).load(std::memory_order_acquire) >= turn) ++next;
    if (next == size) return true;
    if (waits < SPINS) {
      relax();
      continue;
    }
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited >= std::chrono::duration<double>(seconds)) return false;
    if (waited < YIELDING) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(NAP);
    }
  }
}

}  // namespace gancli
