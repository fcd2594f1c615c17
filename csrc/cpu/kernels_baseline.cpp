// The micro-kernels for any CPU: vectors of four floats in the compiler's own notation, which it maps to
// SSE2, NEON or plain scalar code.
//
// Tile 4×8: 8 accumulators, two vectors of lanes and a broadcast fit 16 registers with room for the products,
// since without a fused multiply-add each needs a register of its own.
#include "kernels.h"
#include "layer_kernels.h"

#define GANCLI_INLINE inline __attribute__((always_inline))

namespace gancli {
namespace {

typedef float V __attribute__((vector_size(16)));
typedef std::int32_t Bits __attribute__((vector_size(16)));
constexpr int WIDTH = 4;
constexpr int ROWS = 4;
constexpr int VECTORS = 2;
constexpr int KEPT = 2;
constexpr int GATHER_VECTORS = 6;

GANCLI_INLINE V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
GANCLI_INLINE void store(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
GANCLI_INLINE V broadcast(const float* p) { return V{*p, *p, *p, *p}; }
GANCLI_INLINE V zero() { return V{0, 0, 0, 0}; }
GANCLI_INLINE V load_first(const float* p, int count) {
  V v = zero();
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
GANCLI_INLINE void store_first(float* p, V v, int count) {
  for (int i = 0; i < count; ++i) p[i] = v[i];
}
GANCLI_INLINE void in_register(V&) {
}  // a matter of the wide instruction sets, whose operands may lie in memory
GANCLI_INLINE V add(V a, V b) { return a + b; }
GANCLI_INLINE V sub(V a, V b) { return a - b; }
GANCLI_INLINE V mul(V a, V b) { return a * b; }
GANCLI_INLINE V fma(V a, V b, V c) { return a * b + c; }
GANCLI_INLINE V fms(V a, V b, V c) { return a * b - c; }
GANCLI_INLINE V select(Bits mask, V a, V b) { return (V)((mask & (Bits)a) | (~mask & (Bits)b)); }
GANCLI_INLINE V max(V a, V b) { return select(a > b, a, b); }
GANCLI_INLINE V min(V a, V b) { return select(a < b, a, b); }
GANCLI_INLINE bool any_greater(V a, V b) {
  const Bits greater = a > b;
  return (greater[0] | greater[1] | greater[2] | greater[3]) != 0;
}
GANCLI_INLINE V choose_greater(V a, V b, V x, V y) { return select((a > b) | (a != a), x, y); }
GANCLI_INLINE V where_greater(V a, V b, V yes, V no) { return select(a > b, yes, no); }
GANCLI_INLINE V shift_to_exponent(V v) {
  typedef std::uint32_t Unsigned __attribute__((vector_size(16)));
  return (V)((Unsigned)v << 23);
}
GANCLI_INLINE void prefetch(const char* p) { __builtin_prefetch(p, 0, 2); }
GANCLI_INLINE void transpose(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
  for (int r = 0; r < WIDTH; ++r) {
    for (int c = 0; c < WIDTH; ++c) out[c * out_stride + r] = in[r * in_stride + c];
  }
}

GANCLI_INLINE V sum_each(const V* v) {
  V sums;
  for (int i = 0; i < WIDTH; ++i) sums[i] = (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
  return sums;
}

#include "kernels_body.h"
#include "layer_body.h"

}  // namespace

const Kernels kernels_baseline = {"baseline",   ROWS,       LANES,          WIDTH,    KEPT,
                                  DOT_SLAB,     centre_row, transpose_rows, multiply, dot_rows,
                                  squared_norm, score,      multiply_add,   stream,   &layer_kernels};

}  // namespace gancli
