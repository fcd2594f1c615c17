// The micro-kernels, written once over a vector type V. Each kernels_<isa>.cpp defines V and its primitives
// for one instruction set and then includes this file inside an unnamed namespace.
//
// No header of the standard library may be used here: a template of it, instantiated for a wide instruction
// set, could be the copy that the linker keeps for the whole module, and crash older CPUs. For the same
// reason all here has internal linkage.
//
// A translation unit provides: V, WIDTH (floats per V), ROWS, VECTORS (vectors per tile row), and
//   load, store, broadcast, zero, load_first (count ≤ WIDTH floats, zeros behind), add, sub, mul, fma, max,
//   min, any_greater (is one lane of a greater than that of b), where_greater (a > b ? yes : no), shift_to_exponent (bits << 23), transpose
//   (WIDTH×WIDTH), sum_each (lane i of the result is the sum of the lanes of vector i of WIDTH), in_register, prefetch;
// and KEPT, the kept rows that dot_rows takes.

constexpr int LANES = VECTORS * WIDTH;

// Columns of a slab of dot_rows: a lane adds up 64 products and starts anew, so that rounding does not grow with d; and
// the streamed rows, STREAMED × 1024 floats at most, stay in the first-level cache while the kept ones go by.
constexpr int DOT_SLAB = 64 * WIDTH;
constexpr int DOT_STRIDE = DOT_SLAB + PAD;
constexpr int CACHE_LINE = 64;

// ---- packing ----------------------------------------------------------------------------------------------

GANCLI_INLINE double sum_of_lanes(V v) {
  alignas(ALIGNMENT) float lanes[WIDTH];
  store(lanes, v);
  double sums[4] = {};
#pragma GCC unroll 16
  for (int i = 0; i < WIDTH; ++i) sums[i % 4] += lanes[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Bytes that a row is read ahead of its use: about two and a half rows of 784, what memory takes to answer.
constexpr int READ_AHEAD = 8192;

double centre_row(const Slabs& slabs, const float* row, int64_t stride, const float* centre, float* out,
                  int64_t slab_distance) {
  // Short sums per SLAB columns and lane, joined in double at the end: the norm is about as good as its rounding to float32.
  V total = zero();
  int64_t first = 0;
  for (int i = 0; i < slabs.count; ++i, out += slab_distance) {
    const int padded = slabs.padded(i), valid = slabs.valid(first, i);
    alignas(ALIGNMENT) float gathered[SLAB > DOT_SLAB ? SLAB : DOT_SLAB];
    const float* source = row + first;
    if (stride != 1) {
      for (int k = 0; k < valid; ++k) gathered[k] = row[(first + k) * stride];
      source = gathered;
    }
    int k = 0;
    while (k < valid) {
      const int end = valid - k < SLAB ? valid : k + SLAB;
      V squares = zero();
      for (; k + WIDTH <= end; k += WIDTH) {
        prefetch(reinterpret_cast<const char*>(source + k) + READ_AHEAD);
        const V v = sub(load(source + k), load(centre + first + k));
        store(out + k, v);
        squares = fma(v, v, squares);
      }
      if (k < end) {
        // The centre is zero behind its d numbers, so the padding is 0 − 0.
        const V v = sub(load_first(source + k, end - k), load(centre + first + k));
        store(out + k, v);
        squares = fma(v, v, squares);
        k += WIDTH;
      }
      total = add(total, squares);
    }
    for (; k < padded; k += WIDTH) store(out + k, zero());
    first += padded;
  }
  return sum_of_lanes(total);
}

void transpose_rows(const Slabs& slabs, const float* rows, float* panel, int first_lane) {
  for (int i = 0; i < slabs.count; ++i, rows += WIDTH * SLAB_STRIDE) {
    const int padded = slabs.padded(i);
    for (int k = 0; k < padded; k += WIDTH)
      transpose(rows + k, SLAB_STRIDE, panel + k * LANES + first_lane, LANES);
    panel += int64_t(padded) * LANES;
  }
}

// ---- scalar products --------------------------------------------------------------------------------------

template <int R, int N>
GANCLI_INLINE void multiply_tile(int depth, const float* row_slab, const float* lane_slab, float* tile,
                                 bool fresh, const char* ahead, int64_t ahead_step) {
  V acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) acc[r][n] = zero();
  }
  for (int k = 0; k < depth; k += 4) {
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
      V lanes[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) lanes[n] = load(lane_slab + step * LANES + n * WIDTH);
      prefetch(ahead);
      ahead += ahead_step;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V value = broadcast(row_slab + r * SLAB_STRIDE + step);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) acc[r][n] = fma(value, lanes[n], acc[r][n]);
      }
    }
    row_slab += 4;
    lane_slab += 4 * LANES;
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

// Choose the instance for the ragged edge: the full tile is the first comparison.
template <int R>
GANCLI_INLINE void multiply_rows(int num_rows, int num_lanes, int depth, const float* row_slab,
                                 const float* lane_slab, float* tile, bool fresh, const char* ahead,
                                 int64_t ahead_step) {
  if (num_rows == R) {
    if (VECTORS > 1 && num_lanes <= WIDTH) {
      multiply_tile<R, 1>(depth, row_slab, lane_slab, tile, fresh, ahead, ahead_step);
    } else {
      multiply_tile<R, VECTORS>(depth, row_slab, lane_slab, tile, fresh, ahead, ahead_step);
    }
  } else if constexpr (R > 1) {
    multiply_rows<R - 1>(num_rows, num_lanes, depth, row_slab, lane_slab, tile, fresh, ahead, ahead_step);
  }
}

void multiply(int num_rows, int num_lanes, int depth, const float* row_slab, const float* lane_slab,
              float* tile, bool fresh, const char* ahead, int64_t ahead_step) {
  multiply_rows<ROWS>(num_rows, num_lanes, depth, row_slab, lane_slab, tile, fresh, ahead, ahead_step);
}

// ---- scalar products of rows with rows --------------------------------------------------------------------

static_assert(LANES % STREAMED == 0 && LANES % KEPT == 0, "neither straddles two tiles");

double squared_norm(const float* row, int depth) {
  // As many chains as hide the latency of an addition, and each is short.
  constexpr int CHAINS = 8;
  V squares[CHAINS];
#pragma GCC unroll 8
  for (int c = 0; c < CHAINS; ++c) squares[c] = zero();
  int k = 0;
  for (; k + CHAINS * WIDTH <= depth; k += CHAINS * WIDTH) {
#pragma GCC unroll 8
    for (int c = 0; c < CHAINS; ++c) {
      const V v = load(row + k + c * WIDTH);
      squares[c] = fma(v, v, squares[c]);
    }
  }
  V rest = zero();
  for (; k < depth; k += WIDTH) rest = fma(load(row + k), load(row + k), rest);
#pragma GCC unroll 8
  for (int step = CHAINS / 2; step > 0; step /= 2) {
#pragma GCC unroll 8
    for (int c = 0; c < step; ++c) squares[c] = add(squares[c], squares[c + step]);
  }
  return sum_of_lanes(add(squares[0], rest));
}

// One vector of columns of all rows. `raw` is where it begins in the first raw row; `valid` lanes hold data.
template <int Q, bool RAW>
GANCLI_INLINE void dot_step(V* products, float* streamed, const float* kept_rows, const float* raw,
                            int64_t raw_stride, const float* centre, int valid) {
  V kept[Q];
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) {
    kept[q] = load(kept_rows + q * DOT_STRIDE);
    in_register(kept[q]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < STREAMED; ++r) {
    V row;
    if constexpr (RAW) {
      const float* source = raw + r * raw_stride;
      row = sub(valid < WIDTH ? load_first(source, valid) : load(source), load(centre));
      store(streamed + r * DOT_STRIDE, row);
    } else {
      row = load(streamed + r * DOT_STRIDE);
    }
    in_register(row);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) products[q * STREAMED + r] = fma(row, kept[q], products[q * STREAMED + r]);
  }
}

template <int Q, bool RAW>
GANCLI_INLINE void dot_tile(const DotRows& task, const RawRows* raw) {
  // Whole vectors of sums, for sum_each; those beyond Q·STREAMED stay zero.
  constexpr int SUMS = (Q * STREAMED + WIDTH - 1) / WIDTH * WIDTH;
  V products[SUMS];
#pragma GCC unroll 32
  for (int i = 0; i < SUMS; ++i) products[i] = zero();

  const char* ahead = task.prefetch;
  const int64_t ahead_step = task.prefetch_step;
  const int64_t full = RAW ? raw->columns / WIDTH * WIDTH : task.depth;
  float* const streamed = task.streamed;
  const float* const kept = task.kept;
  const float* const rows = RAW ? raw->rows : nullptr;
  const float* const centre = RAW ? raw->centre : nullptr;
  const int64_t stride = RAW ? raw->stride : 0;
  int64_t k = 0;
  for (; k < full; k += WIDTH) {
    for (int64_t byte = 0; byte < ahead_step; byte += CACHE_LINE) prefetch(ahead + byte);
    ahead += ahead_step;
    dot_step<Q, RAW>(products, streamed + k, kept + k, RAW ? rows + k : rows, stride,
                     RAW ? centre + k : centre, WIDTH);
  }
  if constexpr (RAW) {
    for (; k < task.depth; k += WIDTH) {
      const int left = raw->columns - int(k);
      dot_step<Q, RAW>(products, streamed + k, kept + k, rows + k, stride, centre + k, left > 0 ? left : 0);
    }
  }

  alignas(ALIGNMENT) float sums[SUMS];
#pragma GCC unroll 8
  for (int i = 0; i < SUMS; i += WIDTH) store(sums + i, sum_each(products + i));
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
    for (int r = 0; r < STREAMED; ++r) {
      float* out = task.out + r * task.streamed_step + q * task.kept_step;
      *out = task.fresh ? sums[q * STREAMED + r] : *out + sums[q * STREAMED + r];
    }
  }
}

template <int Q>
GANCLI_INLINE void dot_kept(const DotRows& task, const RawRows* raw) {
  if (task.num_kept == Q) {
    if (raw) {
      dot_tile<Q, true>(task, raw);
    } else {
      dot_tile<Q, false>(task, nullptr);
    }
  } else if constexpr (Q > 1) {
    dot_kept<Q - 1>(task, raw);
  }
}

void dot_rows(const DotRows& task, const RawRows* raw) { dot_kept<KEPT>(task, raw); }

// ---- log-sum-exp ------------------------------------------------------------------------------------------

GANCLI_INLINE V scalar(float value) { return broadcast(&value); }

// total + 2^(1−EXPONENT_RANGE) · 2^(u·scale) for u ≤ 0.
//
// Adding MAGIC rounds u·scale to an integer n and leaves n + EXPONENT_RANGE in the low bits of the float.
// Shifted up into the exponent, those bits are the factor 2^(n + EXPONENT_RANGE − 127) without further
// arithmetic, and for n at the floor they are zero: terms out of range vanish exactly, and no sum ever meets
// a denormal operand from them. The polynomial is 2^f on [−½, ½] with p(0) = 1 exactly, so that the nearest
// point counts exactly 1; its relative error is 9.2e−8 (minimax by iteratively reweighted least squares).
GANCLI_INLINE V add_exponential(V u, V scale, V floor, V total) {
  const V magic = scalar(1.5f * (1 << 23) + EXPONENT_RANGE);
  u = max(u, floor);
  const V shifted = fma(u, scale, magic);
  const V n = sub(shifted, magic);
  const V f = fms(u, scale, n);
  V p = scalar(1.326472731307149e-3f);
  p = fma(p, f, scalar(9.671512991189957e-3f));
  p = fma(p, f, scalar(5.550733581185341e-2f));
  p = fma(p, f, scalar(2.4022242426872253e-1f));
  p = fma(p, f, scalar(6.931470036506653e-1f));
  p = fma(p, f, scalar(1.0f));
  return fma(p, shift_to_exponent(shifted), total);
}
static_assert(EXPONENT_RANGE == 64,
              "the unit of the sums, 2^(1 - EXPONENT_RANGE), is 2^(EXPONENT_RANGE - 127)");
constexpr float ONE_IN_UNITS = 9.223372036854775808e18f;  // 2^63: undoes the unit of the sums

// With t = x·μ − ½‖μ‖² up to a constant, t − max is minus half of what the squared distance exceeds the
// smallest by.
template <int N>
GANCLI_INLINE void score_tile(int first, int num_rows, float* tile, const float* start, const Width* widths,
                              int num_widths, LaneState state) {
  V nearest[N], largest[N];
  bool any_nearer = false;
  for (int n = 0; n < N; ++n) {
    nearest[n] = add(load(tile + n * WIDTH), broadcast(start));
    for (int r = 1; r < num_rows; ++r) {
      nearest[n] = max(nearest[n], add(load(tile + r * LANES + n * WIDTH), broadcast(start + r)));
    }
    // Rounding may carry a score past the score with itself, a distance below zero: hold it there.
    nearest[n] = min(nearest[n], load(state.limit + n * WIDTH));
    largest[n] = load(state.max + n * WIDTH);
    any_nearer |= any_greater(nearest[n], largest[n]);
  }
  if (any_nearer) {  // about log(number of tiles) times per lane
    for (int n = 0; n < N; ++n) {
      const V old = largest[n];
      V index = load(state.nearest + n * WIDTH);
      for (int r = 0; r < num_rows; ++r) {
        const V t =
            min(add(load(tile + r * LANES + n * WIDTH), broadcast(start + r)), load(state.limit + n * WIDTH));
        index = where_greater(t, largest[n], scalar(float(first + r)), index);
        largest[n] = max(t, largest[n]);
      }
      store(state.nearest + n * WIDTH, index);
      store(state.max + n * WIDTH, largest[n]);
      for (int s = 0; s < num_widths; ++s) {
        const V u = sub(old, largest[n]);
        V factor = add_exponential(u, scalar(widths[s].scale), scalar(widths[s].floor), zero());
        factor = mul(factor, scalar(ONE_IN_UNITS));
        float* sum = state.sum + s * LANES + n * WIDTH;
        float* excess = state.excess + s * LANES + n * WIDTH;
        store(sum, mul(load(sum), factor));
        store(excess, mul(load(excess), factor));
      }
    }
  }
  for (int n = 0; n < N; ++n) {
    const V limit = load(state.limit + n * WIDTH);
    for (int r = 0; r < num_rows; ++r) {
      float* t = tile + r * LANES + n * WIDTH;
      store(t, sub(min(add(load(t), broadcast(start + r)), limit), largest[n]));
    }
    nearest[n] = sub(nearest[n], largest[n]);
  }
  for (int s = 0; s < num_widths; ++s) {
    const V scale = scalar(widths[s].scale), floor = scalar(widths[s].floor);
    for (int n = 0; n < N; ++n) {
      // Where even the nearest point of the tile is out of range, all terms are exactly zero.
      if (!any_greater(nearest[n], floor)) continue;
      V terms = zero();
      for (int r = 0; r < num_rows; ++r)
        terms = add_exponential(load(tile + r * LANES + n * WIDTH), scale, floor, terms);
      // Compensated summation (Kahan): a million samples cost no more accuracy than one tile.
      float* sum = state.sum + s * LANES + n * WIDTH;
      float* excess = state.excess + s * LANES + n * WIDTH;
      const V old = load(sum);
      const V wanted = sub(terms, load(excess));
      const V total = add(old, wanted);
      store(sum, total);
      store(excess, sub(sub(total, old), wanted));
    }
  }
}

void score(int first, int num_rows, int num_lanes, float* tile, const float* start, const Width* widths,
           int num_widths, LaneState state) {
  if (VECTORS > 1 && num_lanes <= WIDTH) {
    score_tile<1>(first, num_rows, tile, start, widths, num_widths, state);
  } else {
    score_tile<VECTORS>(first, num_rows, tile, start, widths, num_widths, state);
  }
}

// ---- what the machine can do ------------------------------------------------------------------------------

// As many independent chains as a tile has accumulators, and nothing else.
double multiply_add(int64_t rounds, float* sink) {
  constexpr int CHAINS = 12;
  V acc[CHAINS];
  const V factor = scalar(0.999999f), term = scalar(1e-6f);
#pragma GCC unroll 16
  for (int c = 0; c < CHAINS; ++c) acc[c] = scalar(float(c));
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; ++c) acc[c] = fma(acc[c], factor, term);
  }
  V total = zero();
#pragma GCC unroll 16
  for (int c = 0; c < CHAINS; ++c) total = add(total, acc[c]);
  *sink = float(sum_of_lanes(total));
  return 2.0 * CHAINS * WIDTH * double(rounds);
}

float stream(const float* data, int64_t count) {
  V sums[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * WIDTH <= count; i += 4 * WIDTH) {
    for (int c = 0; c < 4; ++c) sums[c] = add(sums[c], load(data + i + c * WIDTH));
  }
  for (; i < count; i += WIDTH) {
    sums[0] = add(sums[0], load_first(data + i, count - i < WIDTH ? int(count - i) : WIDTH));
  }
  return float(sum_of_lanes(add(add(sums[0], sums[1]), add(sums[2], sums[3]))));
}
