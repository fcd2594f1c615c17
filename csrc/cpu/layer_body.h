// The layers' micro-kernels, written once over the vector type V; included after kernels_body.h by each
// kernels_<isa>.cpp, which must also provide
//   store_first (count ≤ WIDTH floats), choose_greater (x where a > b or a is NaN, else y), GATHER_VECTORS.

// ---- copies into panels ---------------------------------------------------------------------------------

void copy_block(int num_rows, int columns, const float* src, int64_t src_stride, float* out,
                int64_t out_stride) {
  const int whole = columns / WIDTH * WIDTH;
  for (int r = 0; r < num_rows; ++r, src += src_stride, out += out_stride) {
    for (int c = 0; c < whole; c += WIDTH) store(out + c, load(src + c));
    if (whole < columns) store(out + whole, load_first(src + whole, columns - whole));
  }
}

// A block at the edge: missing rows and columns are zeros on the way in and stay away on the way out.
GANCLI_INLINE void transpose_edge(int num_rows, int columns, const float* src, int64_t src_stride, float* out,
                                  int64_t out_stride, bool pad) {
  alignas(ALIGNMENT) float rows[WIDTH * WIDTH], turned[WIDTH * WIDTH];
  for (int r = 0; r < WIDTH; ++r)
    store(rows + r * WIDTH, r < num_rows ? load_first(src + r * src_stride, columns) : zero());
  transpose(rows, WIDTH, turned, WIDTH);
  for (int c = 0; c < columns; ++c) {
    const V v = load(turned + c * WIDTH);
    if (pad) {
      store(out + c * out_stride, v);
    } else {
      store_first(out + c * out_stride, v, num_rows);
    }
  }
}

void transpose_block(int num_rows, int columns, const float* src, int64_t src_stride, float* out,
                     int64_t out_stride, bool pad) {
  for (int r = 0; r < num_rows; r += WIDTH) {
    const int rows_left = num_rows - r < WIDTH ? num_rows - r : WIDTH;
    for (int c = 0; c < columns; c += WIDTH) {
      const int columns_left = columns - c < WIDTH ? columns - c : WIDTH;
      const float* from = src + r * src_stride + c;
      float* to = out + c * out_stride + r;
      if (rows_left == WIDTH && columns_left == WIDTH) {
        transpose(from, src_stride, to, out_stride);
      } else {
        transpose_edge(rows_left, columns_left, from, src_stride, to, out_stride, pad);
      }
    }
  }
}

// ---- maxout ---------------------------------------------------------------------------------------------

void best_piece(int units, int pieces, int num_lanes, const float* tile, const float* bias,
                int64_t bias_stride, int first_piece, bool relu, float* best, float* piece,
                int64_t best_stride) {
  for (int u = 0; u < units; ++u) {
    for (int n = 0; n < num_lanes; n += WIDTH) {
      const float* z = tile + n;
      int j = 0;
      V largest, which;
      if (first_piece == 0) {
        largest = add(load(z), broadcast(bias));
        which = zero();
        j = 1;
      } else {
        largest = load(best + n);
        which = load(piece + n);
      }
      for (; j < pieces; ++j) {
        const V v = add(load(z + j * LANES), broadcast(bias + j));
        which = choose_greater(v, largest, scalar(float(first_piece + j)), which);
        largest = choose_greater(v, largest, v, largest);
      }
      if (relu) largest = max(zero(), largest);  // the second argument wins where it is NaN
      store(best + n, largest);
      store(piece + n, which);
    }
    tile += pieces * LANES;
    bias += bias_stride;
    best += best_stride;
    piece += best_stride;
  }
}

// ---- products with sparse rows --------------------------------------------------------------------------

template <int N>
GANCLI_INLINE void gather_row(int64_t num_entries, const Entry* entries, const float* panel, int columns,
                              float* out, bool fresh) {
  // Two sets of accumulators: one entry has N multiply-adds in flight, and N alone would not hide their latency.
  V even[N], odd[N];
  const int last = columns - (N - 1) * WIDTH;
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    even[n] = fresh ? zero() : n + 1 < N ? load(out + n * WIDTH) : load_first(out + n * WIDTH, last);
    odd[n] = zero();
  }
  const Entry* const end = entries + num_entries;
  for (; entries + 2 <= end; entries += 2) {
    const float *a = panel + entries[0].at, *b = panel + entries[1].at;
    const V value_a = broadcast(&entries[0].value), value_b = broadcast(&entries[1].value);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) even[n] = fma(value_a, load(a + n * WIDTH), even[n]);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) odd[n] = fma(value_b, load(b + n * WIDTH), odd[n]);
  }
  if (entries < end) {
    const float* a = panel + entries->at;
    const V value_a = broadcast(&entries->value);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) even[n] = fma(value_a, load(a + n * WIDTH), even[n]);
  }
#pragma GCC unroll 8
  for (int n = 0; n + 1 < N; ++n) store(out + n * WIDTH, add(even[n], odd[n]));
  const V v = add(even[N - 1], odd[N - 1]);
  if (last == WIDTH) {
    store(out + (N - 1) * WIDTH, v);
  } else {
    store_first(out + (N - 1) * WIDTH, v, last);
  }
}

template <int N>
GANCLI_INLINE void gather_columns(int64_t num_entries, const Entry* entries, const float* panel, int columns,
                                  float* out, bool fresh) {
  if (columns > (N - 1) * WIDTH) {
    gather_row<N>(num_entries, entries, panel, columns, out, fresh);
  } else if constexpr (N > 1) {
    gather_columns<N - 1>(num_entries, entries, panel, columns, out, fresh);
  }
}

void gather(int64_t num_entries, const Entry* entries, const float* panel, int columns, float* out,
            bool fresh) {
  gather_columns<GATHER_VECTORS>(num_entries, entries, panel, columns, out, fresh);
}

// ---- maxout convolution ---------------------------------------------------------------------------------

template <int R, int N>
GANCLI_INLINE void convolve_tile(int num_rows, int kernel, const int64_t* offsets, const float* x,
                                 const float* lanes, float* tile, bool fresh) {
  V acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) acc[r][n] = zero();
  }
  for (int i = 0; i < num_rows; ++i) {
    const float* from = x + offsets[i];
    for (int k = 0; k < kernel; ++k, ++from, lanes += LANES) {
      // Else the compiler keeps what the next k reads again and moves it from register to register, for which the
      // ports of the multiply-adds are needed; broadcasts from memory cost them nothing.
      __asm__("" : "+r"(from));
      V weights[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) weights[n] = load(lanes + n * WIDTH);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V value = broadcast(from + r);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) acc[r][n] = fma(value, weights[n], acc[r][n]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      float* out = tile + r * LANES + n * WIDTH;
      store(out, fresh ? acc[r][n] : add(load(out), acc[r][n]));
    }
  }
}

template <int R>
GANCLI_INLINE void convolve_positions(int num_positions, int num_lanes, int num_rows, int kernel,
                                      const int64_t* offsets, const float* x, const float* lanes, float* tile,
                                      bool fresh) {
  if (num_positions == R) {
    if (VECTORS > 1 && num_lanes <= WIDTH) {
      convolve_tile<R, 1>(num_rows, kernel, offsets, x, lanes, tile, fresh);
    } else {
      convolve_tile<R, VECTORS>(num_rows, kernel, offsets, x, lanes, tile, fresh);
    }
  } else if constexpr (R > 1) {
    convolve_positions<R - 1>(num_positions, num_lanes, num_rows, kernel, offsets, x, lanes, tile, fresh);
  }
}

void convolve(int num_positions, int num_lanes, int num_rows, int kernel, const int64_t* offsets,
              const float* x, const float* lanes, float* tile, bool fresh) {
  convolve_positions<ROWS>(num_positions, num_lanes, num_rows, kernel, offsets, x, lanes, tile, fresh);
}

void best_vector(int num_positions, int pieces, const float* tile, const float* bias, int first_piece,
                 float* best, float* piece) {
  for (int r = 0; r < num_positions; ++r, tile += LANES, best += WIDTH, piece += WIDTH) {
    int j = 0;
    V largest, which;
    if (first_piece == 0) {
      largest = add(load(tile), load(bias));
      which = zero();
      j = 1;
    } else {
      largest = load(best);
      which = load(piece);
    }
    for (; j < pieces; ++j) {
      const V v = add(load(tile + j * WIDTH), load(bias + j * WIDTH));
      which = choose_greater(v, largest, scalar(float(first_piece + j)), which);
      largest = choose_greater(v, largest, v, largest);
    }
    store(best, largest);
    store(piece, which);
  }
}

void best_position(int rows, int columns, int64_t row_stride, int pool, int pieces, const float* best,
                   const float* piece, float* y, float* winner) {
  V largest = load(best), which = load(piece);
  for (int r = 0; r < rows; ++r, best += row_stride, piece += row_stride) {
    for (int c = 0; c < columns; ++c) {
      const V v = load(best + c * WIDTH);
      const V candidate = add(load(piece + c * WIDTH), scalar(float((r * pool + c) * pieces)));
      which = choose_greater(v, largest, candidate, which);
      largest = choose_greater(v, largest, v, largest);
    }
  }
  store(y, largest);
  store(winner, which);
}

// ---- passes over memory ---------------------------------------------------------------------------------

float sum(int64_t count, const float* row) {
  V sums[2] = {zero(), zero()};
  int64_t k = 0;
  for (; k + 2 * WIDTH <= count; k += 2 * WIDTH) {
    sums[0] = add(sums[0], load(row + k));
    sums[1] = add(sums[1], load(row + k + WIDTH));
  }
  for (; k < count; k += WIDTH)
    sums[0] = add(sums[0], load_first(row + k, count - k < WIDTH ? int(count - k) : WIDTH));
  return float(sum_of_lanes(add(sums[0], sums[1])));
}

void momentum(int64_t count, float factor, float lr, const float* gradient, int64_t parts, int64_t stride,
              float* velocity, float* parameter) {
  const V m = scalar(factor), rate = scalar(lr);
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) {
    V g = load(gradient + i);
    for (int64_t p = 1; p < parts; ++p) g = add(g, load(gradient + p * stride + i));
    const V v = sub(mul(m, load(velocity + i)), mul(rate, g));
    store(velocity + i, v);
    store(parameter + i, add(load(parameter + i), v));
  }
  if (i < count) {
    const int left = int(count - i);
    V g = load_first(gradient + i, left);
    for (int64_t p = 1; p < parts; ++p) g = add(g, load_first(gradient + p * stride + i, left));
    const V v = sub(mul(m, load_first(velocity + i, left)), mul(rate, g));
    store_first(velocity + i, v, left);
    store_first(parameter + i, add(load_first(parameter + i, left), v), left);
  }
}

// ---- dropout --------------------------------------------------------------------------------------------

// Threefry4x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a bijection of a
// 128-bit counter under a 64-bit key in additions, rotations and exclusive ors alone. COUNTERS of them side by side in
// the compiler's own vectors, which it cuts to the width of the instruction set.
constexpr int COUNTERS = DROPOUT_BLOCK / 4;
typedef uint32_t Words __attribute__((vector_size(4 * COUNTERS)));

GANCLI_INLINE void mix(Words& a, Words& b, int bits) {
  a += b;
  b = (b << bits | b >> (32 - bits)) ^ a;
}

// v[w][l]: word w of counter `counter` + l
GANCLI_INLINE void threefry(uint64_t seed, uint64_t counter, Words* v) {
  constexpr int ROTATIONS[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                                   {6, 20},  {17, 11}, {25, 10}, {18, 20}};
  const uint32_t low = uint32_t(seed), high = uint32_t(seed >> 32);
  const uint32_t key[5] = {low, high, 0, 0, 0x1BD11BDAu ^ low ^ high};
  for (int l = 0; l < COUNTERS; ++l) {
    v[0][l] = uint32_t(counter + l) + key[0];
    v[1][l] = uint32_t((counter + l) >> 32) + key[1];
  }
  v[2] = v[3] = Words{};
#pragma GCC unroll 20
  for (int round = 0; round < 20; ++round) {
    const int* bits = ROTATIONS[round % 8];
    mix(v[0], v[round % 2 == 0 ? 1 : 3], bits[0]);
    mix(v[2], v[round % 2 == 0 ? 3 : 1], bits[1]);
    if (round % 4 == 3) {
      const int s = round / 4 + 1;
#pragma GCC unroll 4
      for (int w = 0; w < 4; ++w) v[w] += key[(s + w) % 5];
      v[3] += uint32_t(s);
    }
  }
}

void dropout(int64_t first_block, int64_t count, uint64_t seed, uint32_t last, float scale, const float* x,
             float* y) {
  alignas(ALIGNMENT) uint32_t random[DROPOUT_BLOCK];
  for (int64_t begin = 0; begin < count; begin += DROPOUT_BLOCK) {
    Words words[4];
    threefry(seed, uint64_t(first_block + begin / DROPOUT_BLOCK) * COUNTERS, words);
    __builtin_memcpy(random, words, sizeof random);
    const int64_t left = count - begin < DROPOUT_BLOCK ? count - begin : DROPOUT_BLOCK;
    if (left == DROPOUT_BLOCK) {
      for (int i = 0; i < DROPOUT_BLOCK; ++i) y[begin + i] = random[i] <= last ? x[begin + i] * scale : 0.0f;
    } else {
      for (int i = 0; i < left; ++i) y[begin + i] = random[i] <= last ? x[begin + i] * scale : 0.0f;
    }
  }
}

constexpr LayerKernels layer_kernels = {GATHER_VECTORS, copy_block,  transpose_block, best_piece, gather,
                                        convolve,       best_vector, best_position,   sum,        momentum,
                                        dropout};
