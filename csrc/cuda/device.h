// What the kernels need of the chip beyond plain C++, each thing behind one name: copies that overlap, matrix fragments,
// tensor-core products. Without nvcc the same names come from an emulation on the CPU, so that the kernels
// themselves, not a model of them, run in tests on machines without a GPU.
#pragma once

#include <cstdint>

#if !defined(__CUDACC__)
#include "tests/cuda_emulation.h"
#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "types.h"

namespace gancli::gpu {

constexpr unsigned ALL_LANES = 0xffffffffu;

// ---- device: addresses in shared memory are 32-bit offsets -------------------------------------------------

extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];

__device__ __forceinline__ std::uint32_t shared_memory() {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(dynamic_shared_memory));
}

// The number of this thread in its block, read anew: what follows from it is then computed where it is used, instead of
// taking registers from where it was first used to where it is last.
__device__ __forceinline__ int thread_number() {
  int number;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(number));
  return number;
}

// Start copying 16 bytes to shared memory, past the first-level cache.
__device__ __forceinline__ void copy_16_bytes(std::uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// Close the group of copies that this thread has started.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Wait until all but the last `pending` groups of this thread have arrived.
template <int pending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8×8 matrices of 16-bit numbers: lane l gives the address of row l%8 of matrix l/8, and gets from each matrix the
// two neighbours of row l/4 that begin at column 2(l%4).
__device__ __forceinline__ void load_fragments(std::uint32_t (&fragments)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void store_float(std::uint32_t address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}
__device__ __forceinline__ float load_float(std::uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}
__device__ __forceinline__ float4 load_float4(std::uint32_t address) {
  float4 value;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

// Two neighbours in device memory, read where this stands: kept in registers from an earlier read they would cost more.
__device__ __forceinline__ float2 read_pair(const float* from) {
  float2 value;
  asm volatile("ld.global.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "l"(from));
  return value;
}

// sum += a·b for a 16×16 and b 16×8 of half precision, in fragments as the PTX manual lays them out for m16n8k16.
__device__ __forceinline__ void multiply_halves(float (&sum)[4], const std::uint32_t (&a)[4],
                                                std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x to two units in the last place; 0 where that is below float32's normal range.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ std::uint16_t to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
__device__ __forceinline__ float from_half(std::uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}

// ---- host --------------------------------------------------------------------------------------------------

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorName(status) + ", " +
                           cudaGetErrorString(status));
}

// Make `device` the one that this thread's calls are about.
inline void use(int device) { check(cudaSetDevice(device), "cudaSetDevice"); }

struct Grid {
  std::int64_t blocks;
  int threads;
  int shared_bytes = 0;
};

// Let `kernel` have so much shared memory, and the processor divide its memory in favour of it.
template <typename... Parameters>
void allow_shared_memory(const char* name, void (*kernel)(Parameters...), int bytes) {
  if (bytes <= 48 << 10) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), name);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        name);
}

// Start `kernel` on the stream; an error carries its name.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), Grid grid, cuda::Queue queue,
            Arguments... arguments) {
  if (grid.blocks == 0) return;
  allow_shared_memory(name, kernel, grid.shared_bytes);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(grid.shared_bytes);
  config.stream = static_cast<cudaStream_t>(queue.stream);
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

// How many blocks of `kernel` the device works on at once.
template <typename... Parameters>
int blocks_at_once(const char* name, void (*kernel)(Parameters...), int threads, int shared_bytes,
                   int device) {
  use(device);
  int processors = 0, blocks = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), name);
  allow_shared_memory(name, kernel, shared_bytes);
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes), name);
  if (blocks < 1) throw std::runtime_error(std::string(name) + " does not fit on this device");
  return processors * blocks;
}

}  // namespace gancli::gpu

#endif
