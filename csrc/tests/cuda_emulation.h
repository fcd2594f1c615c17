// A block of CUDA threads on one CPU core: enough of CUDA for csrc/cuda to compile without nvcc and to run in tests.
//
// Every thread of a block is a fiber. What the lanes of a warp do together (shuffles, votes, matrix fragments and
// products) hands the turn from lane to lane until all have given their part; what lanes disagree on, or a barrier that
// not all reach, ends the program with a message. Matrix fragments follow the tables of the PTX manual, written here
// from the manual and not from the kernels. Asynchronous copies take place when they are started or as late as their wait
// allows (`late_copies`), warps run in order or in reverse (`reverse_warps`): where a wait or a barrier is
// missing, one of the four combinations reads what is not there. Shared memory starts as NaN.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/types.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
struct Index3 {
  unsigned x;
};

namespace gancli::emulation {

struct Options {
  bool late_copies = false, reverse_warps = false;
  int processors = 2;    // of the emulated device
  int mma_columns = 16;  // columns that tensor cores sum before they cut: 16, or 8 as on older chips
};
inline Options options;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulated kernel: %s\n", what);
  std::exit(1);
}

struct Copy {
  std::uint32_t to;
  const void* from;
};

// Where a thread of control left off. The system's own switch saves signal masks with two system calls; after the first
// time a plain jump does, except where AddressSanitizer watches jumps.
struct Turn {
  ucontext_t context;
#if !defined(__SANITIZE_ADDRESS__)
  jmp_buf place;
  bool started = false;
#endif
};

inline void hand_turn(Turn& from, Turn& to) {
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&from.context, &to.context);
#else
  from.started = true;
  if (_setjmp(from.place) != 0) return;
  if (to.started) _longjmp(to.place, 1);
  setcontext(&to.context);
#endif
}

struct Thread {
  Turn turn;
  std::unique_ptr<char[]> stack;
  enum { running, at_barrier, done } state;
  std::vector<std::vector<Copy>> groups;  // committed, not yet arrived
  std::vector<Copy> open;
  int exchanges;  // collective operations so far
};

struct Block {
  std::vector<Thread> threads;
  std::vector<unsigned char> shared;
  std::function<void()> kernel;
  Index3 index, grid;
  int current;
  Turn scheduler;
  // What each thread gave to the last and the one before last collective operation of its warp.
  struct Given {
    alignas(8) unsigned char bytes[64];
    int kind;
  };
  std::vector<Given> given[2];
};
inline Block block;

inline Thread& self() { return block.threads[block.current]; }

inline void yield() { hand_turn(self().turn, block.scheduler); }

inline void run_thread() {
  block.kernel();
  self().state = Thread::done;
  yield();
}

// What the 32 lanes of a warp gave to an operation.
template <typename T>
struct Gifts {
  const Block::Given* first;
  const T& operator[](int lane) const { return *reinterpret_cast<const T*>(first[lane].bytes); }
};

// Give `value` and see what all lanes of the warp gave. `kind` tells operations apart.
template <typename T>
inline Gifts<T> exchange(const T& value, int kind) {
  static_assert(sizeof(T) <= sizeof(Block::Given::bytes), "too large for an exchange");
  Thread& me = self();
  std::vector<Block::Given>& given = block.given[me.exchanges++ % 2];
  const int first = block.current / 32 * 32;
  std::memcpy(given[block.current].bytes, &value, sizeof value);
  given[block.current].kind = kind;
  const int number = me.exchanges;
  yield();
  for (int lane = first; lane < first + 32; ++lane) {
    if (block.threads[lane].exchanges < number || given[lane].kind != kind)
      fail("lanes of a warp are not at the same operation");
  }
  return {&given[first]};
}

enum Kind { shuffle_xor = 1, shuffle, any, ballot, fragments, product, converge };

inline void barrier() {
  self().state = Thread::at_barrier;
  yield();
}

inline void arrive(const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) std::memcpy(block.shared.data() + copy.to, copy.from, 16);
}

// Run one block: warp after warp, each lane in turn, up to the next barrier.
inline void run_block(unsigned number, unsigned blocks, int threads, int shared_bytes,
                      const std::function<void()>& kernel) {
  constexpr std::size_t STACK = 256 << 10;
  block.index = {number};
  block.grid = {blocks};
  block.kernel = kernel;
  block.shared.assign(shared_bytes, 0xff);
  block.given[0].assign(threads, {});
  block.given[1].assign(threads, {});
  block.threads.resize(threads);
  for (Thread& thread : block.threads) {
    if (!thread.stack) thread.stack.reset(new char[STACK]);
    thread.turn = {};
    ucontext_t& context = thread.turn.context;
    getcontext(&context);
    context.uc_stack.ss_sp = thread.stack.get();
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, run_thread, 0);
    thread.state = Thread::running;
    thread.groups.clear();
    thread.open.clear();
    thread.exchanges = 0;
  }
  const int warps = threads / 32;
  for (;;) {
    for (int w = 0; w < warps; ++w) {
      const int first = (options.reverse_warps ? warps - 1 - w : w) * 32;
      for (bool running = true; running;) {
        running = false;
        for (int t = first; t < first + 32; ++t) {
          if (block.threads[t].state != Thread::running) continue;
          block.current = t;
          hand_turn(block.scheduler, block.threads[t].turn);
          running |= block.threads[t].state == Thread::running;
        }
      }
    }
    int done = 0;
    for (const Thread& thread : block.threads) done += thread.state == Thread::done;
    if (done == threads) break;
    if (done > 0) fail("some threads ended, others wait at a barrier");
    for (Thread& thread : block.threads) thread.state = Thread::running;
  }
}

// Half precision as numbers, from its definition.
inline float half_to_float(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(float(fraction), -24)
                          : exponent == 31 ? (fraction ? NAN : INFINITY)
                                           : std::ldexp(float(1024 + fraction), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}
inline std::uint16_t float_to_half(float x) {
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return 0x7fff;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  int exponent = -14;
  if (magnitude >= std::ldexp(1.0f, -14)) exponent = std::ilogb(magnitude);
  const long units = std::lrint(std::ldexp(magnitude, 10 - exponent));  // rounded to even
  // A carry into the next binade moves into the exponent by itself; below 2^−14 the exponent field is 0.
  return std::uint16_t(sign | (units + ((exponent + 14) << 10)));
}

inline std::vector<float> all_halves() {
  std::vector<float> numbers(1 << 16);
  for (int bits = 0; bits < 1 << 16; ++bits) numbers[bits] = half_to_float(std::uint16_t(bits));
  return numbers;
}

// float32 nearest to x towards zero: tensor cores cut.
inline float cut(double x) {
  const float y = float(x);
  return std::fabs(double(y)) > std::fabs(x) ? std::nextafterf(y, 0.0f) : y;
}

}  // namespace gancli::emulation

#define threadIdx (Index3{unsigned(::gancli::emulation::block.current)})
#define blockIdx (::gancli::emulation::block.index)
#define gridDim (::gancli::emulation::block.grid)
#define blockDim (Index3{unsigned(::gancli::emulation::block.threads.size())})

inline void __syncthreads() { gancli::emulation::barrier(); }
inline void __syncwarp() { gancli::emulation::exchange(0, gancli::emulation::converge); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return gancli::emulation::exchange(
      value, gancli::emulation::shuffle_xor)[(gancli::emulation::block.current % 32) ^ mask];
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return gancli::emulation::exchange(value, gancli::emulation::shuffle)[lane & 31];
}
inline bool __any_sync(unsigned, bool value) {
  const auto all = gancli::emulation::exchange(value, gancli::emulation::any);
  bool any = false;
  for (int lane = 0; lane < 32; ++lane) any |= all[lane];
  return any;
}
inline unsigned __ballot_sync(unsigned, bool value) {
  const auto all = gancli::emulation::exchange(value, gancli::emulation::ballot);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= unsigned(all[lane]) << lane;
  return bits;
}
inline float __fadd_rn(float a, float b) { return a + b; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  const unsigned long long old = *address;
  *address = std::min(old, value);
  return old;
}
using std::max;
using std::min;

namespace gancli::gpu {

namespace emulation = ::gancli::emulation;
constexpr unsigned ALL_LANES = 0xffffffffu;

inline int thread_number() { return emulation::block.current; }
inline std::uint32_t shared_memory() { return 0; }

inline unsigned char* shared_at(std::uint32_t address, int bytes) {
  if (address % bytes != 0) emulation::fail("a misaligned address in shared memory");
  if (address + bytes > emulation::block.shared.size()) emulation::fail("beyond the end of shared memory");
  return emulation::block.shared.data() + address;
}

inline void copy_16_bytes(std::uint32_t to, const void* from) {
  shared_at(to, 16);
  if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) emulation::fail("a misaligned copy");
  if (!emulation::options.late_copies) return emulation::arrive({{to, from}});
  emulation::self().open.push_back({to, from});
}
inline void commit_copies() {
  emulation::Thread& me = emulation::self();
  me.groups.push_back(std::move(me.open));
  me.open.clear();
}
template <int pending>
inline void wait_for_copies() {
  auto& groups = emulation::self().groups;
  while (int(groups.size()) > pending) {
    emulation::arrive(groups.front());
    groups.erase(groups.begin());
  }
}

// PTX manual, "ldmatrix": with .x4, lanes 0–7 address the rows of matrix 0, 8–15 those of matrix 1, and so on; lane l
// receives of each matrix row l/4, elements 2·(l%4) and the next.
inline void load_fragments(std::uint32_t (&result)[4], std::uint32_t address) {
  const auto all = emulation::exchange(address, emulation::fragments);
  const int lane = emulation::block.current % 32;
  for (int matrix = 0; matrix < 4; ++matrix)
    std::memcpy(&result[matrix], shared_at(all[8 * matrix + lane / 4], 16) + 4 * (lane % 4), 4);
}

inline void store_float(std::uint32_t address, float value) {
  std::memcpy(shared_at(address, 4), &value, sizeof value);
}
inline float load_float(std::uint32_t address) {
  float value;
  std::memcpy(&value, shared_at(address, 4), sizeof value);
  return value;
}
inline float4 load_float4(std::uint32_t address) {
  float4 value;
  std::memcpy(&value, shared_at(address, 16), sizeof value);
  return value;
}

inline float2 read_pair(const float* from) { return {from[0], from[1]}; }

// PTX manual, "mma.m16n8k16 with floating point type .f16": with group = l/4 and t = l%4,
//   A: element i of 8 is at row group (+ 8 for i in 2, 3, 6, 7), column 2t + i%2 (+ 8 for i ≥ 4)
//   B: element i of 4 is at row 2t + i%2 (+ 8 for i ≥ 2), column group
//   C, D: element i of 4 is at row group (+ 8 for i ≥ 2), column 2t + i%2
inline void multiply_halves(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                            std::uint32_t b1) {
  struct Given {
    float a[8], b[4];
  } mine;
  const auto half = [](std::uint32_t pair, int which) {
    static const std::vector<float> numbers = emulation::all_halves();
    return numbers[(pair >> (16 * which)) & 0xffff];
  };
  for (int i = 0; i < 8; ++i) mine.a[i] = half(a[i / 2], i % 2);
  for (int i = 0; i < 4; ++i) mine.b[i] = half(i < 2 ? b0 : b1, i % 2);
  const auto all = emulation::exchange(mine, emulation::product);
  const auto element_a = [&](int row, int column) {
    const int i = (column >= 8 ? 4 : 0) + (row >= 8 ? 2 : 0) + column % 2;
    return double(all[row % 8 * 4 + column % 8 / 2].a[i]);
  };
  const auto element_b = [&](int row, int column) {
    const int i = (row >= 8 ? 2 : 0) + row % 2;
    return double(all[column * 4 + row % 8 / 2].b[i]);
  };
  const int lane = emulation::block.current % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + (i >= 2 ? 8 : 0), column = 2 * (lane % 4) + i % 2;
    for (int first = 0; first < 16; first += emulation::options.mma_columns) {
      double exact = double(sum[i]);
      for (int k = first; k < first + emulation::options.mma_columns; ++k)
        exact += element_a(row, k) * element_b(k, column);
      sum[i] = emulation::cut(exact);
    }
  }
}

inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < FLT_MIN ? 0.0f : y;
}
inline std::uint16_t to_half(float x) { return emulation::float_to_half(x); }
inline float from_half(std::uint16_t bits) { return emulation::half_to_float(bits); }

inline void use(int) {}

struct Grid {
  std::int64_t blocks;
  int threads;
  int shared_bytes = 0;
};

template <typename... Parameters, typename... Arguments>
void launch(const char*, void (*kernel)(Parameters...), Grid grid, cuda::Queue, Arguments... arguments) {
  for (std::int64_t number = 0; number < grid.blocks; ++number)
    emulation::run_block(unsigned(number), unsigned(grid.blocks), grid.threads, grid.shared_bytes,
                         [&] { kernel(arguments...); });
}

template <typename... Parameters>
int blocks_at_once(const char*, void (*)(Parameters...), int, int, int) {
  return emulation::options.processors;
}

}  // namespace gancli::gpu
