// What the layers' products need from an instruction set beyond `multiply` (kernels.h): copies into panels, the
// epilogue of a maxout layer, and products with sparse rows. Same rules: registers here, threads in the loops.
#pragma once

#include <cstdint>

namespace gancli {

// One non-zero of a sparse row: value · panel[at .. at + columns).
struct Entry {
  int32_t at;  // where the row of the panel begins, in floats
  float value;
};

// Random numbers come in blocks: number i of a stream is word i / (DROPOUT_BLOCK/4) % 4 of counter
// i / DROPOUT_BLOCK · (DROPOUT_BLOCK/4) + i % (DROPOUT_BLOCK/4), the same for every instruction set.
constexpr int DROPOUT_BLOCK = 64;

struct LayerKernels {
  // Vectors in a row of the dense panel that `gather` reads. All accumulators of a row stay in registers, twice
  // over, and the panel stays in the first-level cache (sparse_product.cpp says how many rows that allows).
  int gather_vectors;

  // out[r][c] = src[r][c], with zeros for c in [columns, columns rounded up to a vector).
  void (*copy_block)(int num_rows, int columns, const float* src, int64_t src_stride, float* out,
                     int64_t out_stride);

  // out[c][r] = src[r][c]; with `pad`, zeros for r in [num_rows, num_rows rounded up to a vector).
  void (*transpose_block)(int num_rows, int columns, const float* src, int64_t src_stride, float* out,
                          int64_t out_stride, bool pad);

  // The pieces of `units` units lie one below the other in a tile of scalar products. Per unit and lane:
  //   best = max over pieces j of tile[j] + bias[j], piece = the lowest j that reaches it
  // A NaN wins against every number. With first_piece > 0, best and piece already hold the result of the pieces
  // before it.
  //   tile [units·pieces][lanes];  bias: unit u at bias + u·bias_stride, [pieces];
  //   best, piece: unit u at + u·best_stride, [lanes];  piece holds small whole numbers, as floats
  void (*best_piece)(int units, int pieces, int num_lanes, const float* tile, const float* bias,
                     int64_t bias_stride, int first_piece, bool relu, float* best, float* piece,
                     int64_t best_stride);

  // out[c] (+)= Σ_e entries[e].value · panel[entries[e].at + c] for c < num_vectors·width, num_vectors ≤
  // gather_vectors; the last vector of out is written up to `columns` only.
  void (*gather)(int64_t num_entries, const Entry* entries, const float* panel, int columns, float* out,
                 bool fresh);

  // tile[r][l] (+)= Σ_i Σ_k x[offsets[i] + k + r] · lanes[i·kernel + k][l] for r < num_positions ≤ rows, i < num_rows,
  // k < kernel: some rows of the kernels of `num_lanes` outputs, at neighbouring positions of an image.
  //   lanes [num_rows·kernel][lanes];  tile [rows][lanes]
  void (*convolve)(int num_positions, int num_lanes, int num_rows, int kernel, const int64_t* offsets,
                   const float* x, const float* lanes, float* tile, bool fresh);

  // As best_piece, for a tile of `convolve` whose vectors are the pieces of `width` channels each.
  //   tile [num_positions][lanes];  bias [pieces][width];  best, piece [num_positions][width]
  void (*best_vector)(int num_positions, int pieces, const float* tile, const float* bias, int first_piece,
                      float* best, float* piece);

  // The maximum over a window of rows × columns positions, and the first of them that reaches it, row by row:
  // winner = (r·pool + c)·pieces + its piece. A NaN wins against every number.
  //   best, piece: position r, c at + r·row_stride + c·width;  y, winner [width]
  void (*best_position)(int rows, int columns, int64_t row_stride, int pool, int pieces, const float* best,
                        const float* piece, float* y, float* winner);

  // Σ_k row[k]
  float (*sum)(int64_t count, const float* row);

  // Pylearn2's momentum: velocity = momentum·velocity − lr·gradient, then parameter += velocity. The gradient is the sum
  // of its parts, `stride` apart, added in their order.
  void (*momentum)(int64_t count, float momentum, float lr, const float* gradient, int64_t parts,
                   int64_t stride, float* velocity, float* parameter);

  // y[i] = x[i]·scale where random number first_block·DROPOUT_BLOCK + i of the stream `seed` is at most last, else 0.
  void (*dropout)(int64_t first_block, int64_t count, uint64_t seed, uint32_t last, float scale,
                  const float* x, float* y);
};

}  // namespace gancli
