// Products of a matrix with few non-zeros and a dense one, out = S · P, for the backward pass of maxout: of the k
// pieces of a unit only one saw a row, so S, the cotangent of all pieces, has 1/k of its entries.
#pragma once

#include <cstdint>

#include "layer_kernels.h"
#include "maxout.h"

namespace gancli {

// Rows of P that a gather panel holds, about: 6 vectors per row then fill three quarters of a first-level cache of
// 48 KiB, or 32 KiB with vectors of 8. Measured with AVX-512: 50 or 64 rows, 4 or 8 vectors are all slower.
constexpr std::int64_t PANEL_ROWS = 100;

// The non-zeros of S, row by row, cut into blocks of `block` columns and within a block in the order of the columns.
// Entry.at counts from the beginning of its block, in floats of a gather panel.
struct SparseRows {
  std::int64_t rows, columns, block;
  std::int64_t* begin;  // [rows][blocks()] into entries
  std::int64_t* end;    // [rows][blocks()]
  Entry* entries;

  std::int64_t blocks() const { return (columns + block - 1) / block; }
};

// out[i][c] = Σ_k S[i][k] · dense[k][c]
//   dense [S.columns][columns], out [S.rows][columns], contiguous
void sparse_product(const Kernels& kernels, const SparseRows& sparse, const float* dense,
                    std::int64_t columns, float* out, int threads);

}  // namespace gancli
