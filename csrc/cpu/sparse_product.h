// Products of a matrix with few non-zeros and a dense one, out = S · P, for the backward pass of maxout: of the k
// pieces of a unit only one saw a row, so S, the cotangent of all pieces, has 1/k of its entries.
#pragma once

#include <cstdint>

#include "layer_kernels.h"
#include "maxout.h"

namespace gancli {

// The non-zeros of S, row by row and, within a row, in the order of the columns, cut into blocks of PANEL_ROWS columns.
// Entry.at counts from the beginning of its block, in rows of a gather panel.
struct SparseRows {
  std::int64_t rows, columns, blocks;
  std::int64_t* begin;  // [rows][blocks + 1] into entries
  Entry* entries;
};

// Rows of P that a gather panel holds; with its up to 6 vectors per row it fills three quarters of a first-level cache
// of 48 KiB (32 KiB for vectors of 8).
constexpr std::int64_t PANEL_ROWS = 100;

inline std::int64_t panel_blocks(std::int64_t columns) { return (columns + PANEL_ROWS - 1) / PANEL_ROWS; }

// out[i][c] = Σ_k S[i][k] · dense[k][c]
//   dense [S.columns][columns], out [S.rows][columns], contiguous
void sparse_product(const Kernels& kernels, const SparseRows& sparse, const float* dense, std::int64_t columns,
                    float* out, int threads);

}  // namespace gancli
