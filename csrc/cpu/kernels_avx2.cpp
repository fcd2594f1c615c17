// The micro-kernels for AVX2 with FMA.
//
// Tile 6×16: 12 accumulators, two vectors of lanes and one broadcast fill 15 of the 16 registers; 12 chains
// hide the latency of 4 or 5 on two ports.
#include "kernels.h"
#include "layer_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define GANCLI_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace gancli {
namespace {

using V = __m256;
constexpr int WIDTH = 8;
constexpr int ROWS = 6;
constexpr int VECTORS = 2;
constexpr int KEPT = 2;
constexpr int GATHER_VECTORS = 6;

GANCLI_INLINE V load(const float* p) { return _mm256_loadu_ps(p); }
GANCLI_INLINE void store(float* p, V v) { _mm256_storeu_ps(p, v); }
GANCLI_INLINE V broadcast(const float* p) { return _mm256_broadcast_ss(p); }
GANCLI_INLINE V zero() { return _mm256_setzero_ps(); }
GANCLI_INLINE __m256i first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
GANCLI_INLINE V load_first(const float* p, int count) { return _mm256_maskload_ps(p, first_lanes(count)); }
GANCLI_INLINE void store_first(float* p, V v, int count) { _mm256_maskstore_ps(p, first_lanes(count), v); }
// Keep the compiler from loading v again for each of its uses.
GANCLI_INLINE void in_register(V& v) { asm("" : "+x"(v)); }
GANCLI_INLINE V add(V a, V b) { return _mm256_add_ps(a, b); }
GANCLI_INLINE V sub(V a, V b) { return _mm256_sub_ps(a, b); }
GANCLI_INLINE V mul(V a, V b) { return _mm256_mul_ps(a, b); }
GANCLI_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
GANCLI_INLINE V fms(V a, V b, V c) { return _mm256_fmsub_ps(a, b, c); }
GANCLI_INLINE V max(V a, V b) { return _mm256_max_ps(a, b); }
GANCLI_INLINE V min(V a, V b) { return _mm256_min_ps(a, b); }
GANCLI_INLINE bool any_greater(V a, V b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0; }
GANCLI_INLINE V choose_greater(V a, V b, V x, V y) {
  const V take = _mm256_or_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_blendv_ps(y, x, take);
}
GANCLI_INLINE V where_greater(V a, V b, V yes, V no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
GANCLI_INLINE V shift_to_exponent(V v) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23));
}
GANCLI_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T1); }

// 8×8 in three rounds: pairs, quadruples, 128-bit halves.
GANCLI_INLINE void transpose(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
  V a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) a[i] = load(in + i * in_stride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    store(out + c * out_stride, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    store(out + (4 + c) * out_stride, _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}

GANCLI_INLINE V sum_each(const V* v) {
  const V low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  const V high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
  return add(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}

#include "kernels_body.h"
#include "layer_body.h"

}  // namespace

const Kernels kernels_avx2 = {"avx2",       ROWS,       LANES,          WIDTH,    KEPT,
                              DOT_SLAB,     centre_row, transpose_rows, multiply, dot_rows,
                              squared_norm, score,      multiply_add,   stream,   &layer_kernels};

}  // namespace gancli

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // __x86_64__
