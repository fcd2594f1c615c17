#include "denormals.h"

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace gancli {
namespace {

#if defined(__SSE__)
bool set_in_this_thread(bool on) {
  constexpr unsigned FLUSH = 0x8040;  // results to zero (bit 15), operands as zero (bit 6)
  _mm_setcsr(on ? _mm_getcsr() | FLUSH : _mm_getcsr() & ~FLUSH);
  return true;
}
#elif defined(__aarch64__)
bool set_in_this_thread(bool on) {
  constexpr std::uint64_t FLUSH = std::uint64_t(1) << 24;  // FZ
  std::uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  control = on ? control | FLUSH : control & ~FLUSH;
  asm volatile("msr fpcr, %0" : : "r"(control));
  return true;
}
#else
bool set_in_this_thread(bool) { return false; }
#endif

}  // namespace

bool set_flush_denormals(bool on, int threads) {
  bool done = true;
#pragma omp parallel num_threads(threads) reduction(&& : done)
  done = set_in_this_thread(on);
  return done;
}

}  // namespace gancli
