// The micro-kernels for AVX-512 (F, DQ, BW, VL).
//
// Tile 14×32: 28 accumulators, two vectors of lanes and one broadcast fill 31 of the 32 registers. Per k
// there are 28 multiply-adds (14 cycles on two ports) for 16 loads, so neither loads nor the front end bound
// it; 28 chains hide the latency of 4 more than three times over.
#include "kernels.h"
#include "layer_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define GANCLI_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), \
                             apply_to = function)
#else
// GCC 12 warns about _mm512_undefined_ps inside its own header (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#endif

namespace gancli {
namespace {

using V = __m512;
constexpr int WIDTH = 16;
constexpr int ROWS = 14;
constexpr int VECTORS = 2;
constexpr int KEPT = 4;
constexpr int GATHER_VECTORS = 6;

GANCLI_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
GANCLI_INLINE void store(float* p, V v) { _mm512_storeu_ps(p, v); }
GANCLI_INLINE V broadcast(const float* p) { return _mm512_set1_ps(*p); }
GANCLI_INLINE V zero() { return _mm512_setzero_ps(); }
GANCLI_INLINE V load_first(const float* p, int count) {
  return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
}
GANCLI_INLINE void store_first(float* p, V v, int count) {
  _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), v);
}
// Keep the compiler from loading v again for each of its uses.
GANCLI_INLINE void in_register(V& v) { asm("" : "+v"(v)); }
GANCLI_INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
GANCLI_INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
GANCLI_INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
GANCLI_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
GANCLI_INLINE V fms(V a, V b, V c) { return _mm512_fmsub_ps(a, b, c); }
GANCLI_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
GANCLI_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }
GANCLI_INLINE bool any_greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
GANCLI_INLINE V choose_greater(V a, V b, V x, V y) {
  const __mmask16 greater = _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ),
                  nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  return _mm512_mask_blend_ps(__mmask16(greater | nan), y, x);
}
GANCLI_INLINE V where_greater(V a, V b, V yes, V no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
GANCLI_INLINE V shift_to_exponent(V v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23));
}
GANCLI_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T1); }

// 16×16 in four rounds: pairs, quadruples, then 128-bit quarters twice.
GANCLI_INLINE void transpose(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
  V a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = load(in + i * in_stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512d b0 = _mm512_castps_pd(b[i]), b1 = _mm512_castps_pd(b[i + 1]);
    const __m512d b2 = _mm512_castps_pd(b[i + 2]), b3 = _mm512_castps_pd(b[i + 3]);
    a[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(b0, b2));
    a[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(b0, b2));
    a[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b1, b3));
    a[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b1, b3));
  }
  // a[4g + c], quarter q: column 4q + c of rows 4g .. 4g+3.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const V low01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88),
            low23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
    const V high01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd),
            high23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    store(out + c * out_stride, _mm512_shuffle_f32x4(low01, low23, 0x88));
    store(out + (4 + c) * out_stride, _mm512_shuffle_f32x4(high01, high23, 0x88));
    store(out + (8 + c) * out_stride, _mm512_shuffle_f32x4(low01, low23, 0xdd));
    store(out + (12 + c) * out_stride, _mm512_shuffle_f32x4(high01, high23, 0xdd));
  }
}

// Halves, quarters, pairs, single lanes: each round adds two vectors of partial sums into one, so that every sum is
// formed in the same order wherever it stands.
GANCLI_INLINE V add_halves(V a, V b) {
  return add(_mm512_mask_blend_ps(0xff00, a, b), _mm512_shuffle_f32x4(a, b, 0x4e));
}
GANCLI_INLINE V add_quarters(V a, V b) {
  return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
GANCLI_INLINE V add_pairs(V a, V b) {
  const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
  return add(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}
GANCLI_INLINE V add_neighbours(V a, V b) {
  return add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}
GANCLI_INLINE V sum_each(const V* v) {
  V lane[4];  // quarter p of lane[l]: four partial sums of v[4p + l]
#pragma GCC unroll 4
  for (int l = 0; l < 4; ++l)
    lane[l] = add_quarters(add_halves(v[l], v[4 + l]), add_halves(v[8 + l], v[12 + l]));
  return add_neighbours(add_pairs(lane[0], lane[1]), add_pairs(lane[2], lane[3]));
}

#include "kernels_body.h"
#include "layer_body.h"

}  // namespace

const Kernels kernels_avx512 = {"avx512",     ROWS,       LANES,          WIDTH,    KEPT,
                                DOT_SLAB,     centre_row, transpose_rows, multiply, dot_rows,
                                squared_norm, score,      multiply_add,   stream,   &layer_kernels};

}  // namespace gancli

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // __x86_64__
