// What an instruction set must supply: the contract between the loops and the micro-kernels.
//
// The loops (parzen.cpp, ...) know blocks, threads and the meaning of the numbers, and nothing of registers.
// The micro-kernels (kernels_<isa>.cpp, all from kernels_body.h) know registers, and nothing of threads.
// Everything that passes between them is plain pointers and sizes.
//
// Packed layouts. The inner dimension d is cut into `slabs` of at most SLAB columns, each padded with zeros to a multiple
// of PAD; `Slabs` counts them.
//
//   row panel    up to `rows` rows, copied row by row:   [slab][rows][SLAB_STRIDE]   read one scalar at a time
//   lane panel   up to `lanes` rows, transposed:         [k over all slabs][lanes]   read as vectors
//   tile         scalar products of the two:             [rows][lanes]
//
// A tile is the outer product of the panels summed over k: one broadcast per row, one vector load per `width`
// lanes, rows × lanes/width fused multiply-adds, all accumulators in registers.
//
// Where one side has too few rows to fill lanes, dot_rows takes both row by row, a vector along k: STREAMED rows of the
// long side with up to `kept` of the short one, an accumulator for each pair, summed across its lanes at the end.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gancli {

// Columns of the inner dimension that one micro-kernel call takes. Two reasons for 128: the accumulators restart at every
// slab, so float32 rounding grows with the slab and not with d (at d = 784 three times less error than one long sum); and
// the slabs in flight, 14×128 and 128×32 floats, stay in a 32 KiB first-level cache.
constexpr int SLAB = 128;
// Distance of two rows inside a slab: not a power of two, so that the rows spread over the sets of the cache,
// and a compile-time constant, so that all rows are reached by displacement from one pointer.
constexpr int SLAB_STRIDE = SLAB + 16;
// Slabs are padded to whole vectors of the widest instruction set.
constexpr int PAD = 16;
// Streamed rows that dot_rows takes. Few, so that they stay in the first-level cache beside what passes through it: with 8,
// 10,000 points × 20 samples × 784 take a tenth longer (AVX-512).
constexpr int STREAMED = 4;
// Buffers are aligned to a cache line, the width of the widest vector.
constexpr std::size_t ALIGNMENT = 64;

// How d columns fall into slabs of at most `most`: as even as PAD allows.
struct Slabs {
  int64_t columns;  // d
  int count;        // number of slabs
  int units;        // ⌈d / PAD⌉
  int stride;       // distance of two rows inside a slab: SLAB_STRIDE where most is SLAB

  explicit Slabs(int64_t d, int most = SLAB)
      : columns(d), count(int((d + most - 1) / most)), units(int((d + PAD - 1) / PAD)), stride(most + PAD) {}
  // Columns of slab i, padding included; the first units % count slabs take one unit more.
  int padded(int i) const { return PAD * (units / count + (i < units % count ? 1 : 0)); }
  // Columns of slab i that hold data.
  int valid(int64_t first, int i) const {
    return columns - first < padded(i) ? int(columns - first) : padded(i);
  }
  int64_t total() const { return int64_t(units) * PAD; }  // Σ padded(i)
};

// One σ as the score kernel needs it, for exponents e = (t − max)/σ² in base two.
struct Width {
  float scale;  // log2(e) / σ²
  float floor;  // t − max below this is e < −64·log(2): counted as exactly 0
};

// Terms smaller than 2^−EXPONENT_RANGE relative to the largest are dropped: 2^31 of them would still vanish
// in float32. Sums are kept in units of 2^(1−EXPONENT_RANGE), so that the dropped ones become zero by
// themselves (kernels_body.h).
constexpr int EXPONENT_RANGE = 64;

// The running log-sum-exp of one lane panel; every array has one entry per lane.
struct LaneState {
  const float* limit;  // [lanes] no score is larger: that of a point with itself
  float* max;          // [lanes] largest score so far
  float* nearest;      // [lanes] index in the chunk of the sample that has it
  float* sum;          // [num_widths][lanes] Σ exp((t − max)/σ²), in units of 2^(1−EXPONENT_RANGE)
  float* excess;       // [num_widths][lanes] what sum holds too much: compensated summation
};

// Streamed rows that lie as the caller has them.
struct RawRows {
  const float* rows;    // row r of the slab at rows + r·stride
  int64_t stride;       // in floats
  int columns;          // of the slab that hold data
  const float* centre;  // [depth], zero behind the data
};

// Scalar products over one slab of the streamed rows with `num_kept` kept rows.
struct DotRows {
  int depth;          // columns, a multiple of PAD
  float* streamed;    // [STREAMED][dot_slab + PAD] centred
  const float* kept;  // [kept][dot_slab + PAD] centred
  int num_kept;       // ≤ kept
  float* out;         // product of rows r and q at out + r·streamed_step + q·kept_step
  int64_t streamed_step, kept_step;
  bool fresh;            // out is set instead of added to
  const char* prefetch;  // per vector of columns, so many bytes from here on are asked for
  int64_t prefetch_step;
};

struct LayerKernels;  // layer_kernels.h

struct Kernels {
  const char* name;
  int rows;   // rows of a tile
  int lanes;  // lanes of a tile
  int width;  // lanes of a vector

  int kept;      // kept rows that dot_rows takes
  int dot_slab;  // columns of its slabs, at most

  // Copy one row of d numbers, `stride` apart, into its place in a row panel, less the centre; pad with zeros.
  //   row [d] strided;  centre [slabs.total()];  out: slab i at out + i·slab_distance, [slabs.stride] each
  // Returns Σ (row − centre)²; NaN or infinity there betrays the same in the row.
  double (*centre_row)(const Slabs& slabs, const float* row, int64_t stride, const float* centre, float* out,
                       int64_t slab_distance);

  // Transpose `width` centred rows into the lanes [first_lane, first_lane + width) of a lane panel.
  //   rows: slab i, row r at rows + i·width·SLAB_STRIDE + r·SLAB_STRIDE;  panel [slabs.total()][lanes]
  void (*transpose_rows)(const Slabs& slabs, const float* rows, float* panel, int first_lane);

  // tile[r][l] (+)= Σ_k row_slab[r][k] · lane_slab[k][l], for num_rows ≤ rows and num_lanes ≤ lanes.
  //   depth: columns, a multiple of 4;  row_slab [rows][SLAB_STRIDE];  lane_slab [depth][lanes];  tile [rows][lanes]
  //   fresh: the tile is set instead of added to
  //   prefetch, prefetch_step: per k, the cache line at prefetch + k·prefetch_step is asked for
  void (*multiply)(int num_rows, int num_lanes, int depth, const float* row_slab, const float* lane_slab,
                   float* tile, bool fresh, const char* prefetch, int64_t prefetch_step);

  // Scalar products of rows with rows. Given raw rows, those are centred on the way and left in task.streamed.
  void (*dot_rows)(const DotRows& task, const RawRows* raw);

  // Σ row[k]²;  row [depth], a multiple of PAD
  double (*squared_norm)(const float* row, int depth);

  // Fold the scores t = tile[r][l] + start[r] into the running log-sum-exp of their lanes, for all σ at once; the
  // tile is used up.
  //   tile [rows][lanes], num_rows × num_lanes of it valid;  start [num_rows];  widths [num_widths]
  //   first: the index of row 0 in its chunk
  void (*score)(int first, int num_rows, int num_lanes, float* tile, const float* start, const Width* widths,
                int num_widths, LaneState state);

  // Run `rounds` rounds of independent fused multiply-adds; returns the floating-point operations done.
  double (*multiply_add)(int64_t rounds, float* sink);

  // Sum `count` floats once through, as fast as memory gives them.
  float (*stream)(const float* data, int64_t count);

  const LayerKernels* layers;
};

// Kernels for any CPU that the compiler targets by default.
extern const Kernels kernels_baseline;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace gancli
