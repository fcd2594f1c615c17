// The loops of S · P, from the outside in:
//
//   work items     a block of P's columns × a range of S's rows
//     blocks         of P's rows: copied into a panel in the first-level cache
//       rows of S      one micro-kernel call each: the sum over the row's entries in this block, in registers
//
// Each entry costs one load of a panel row per multiply-add and nothing is stored in between, so that the load ports
// bound it: at most 6 multiply-adds for 8 loads, 3/4 of the arithmetic peak. It pays below about 60% non-zeros.
//
// An element of out is summed by one item in the order of the entries: the same bits for any number of threads.
#include "sparse_product.h"

#include <algorithm>

#include "parallel.h"

namespace gancli {
namespace {

constexpr std::int64_t MAX_ROWS = 512;

}  // namespace

void sparse_product(const Kernels& kernels, const SparseRows& sparse, const float* dense,
                    std::int64_t columns, float* out, int threads) {
  const LayerKernels& layers = *kernels.layers;
  const std::int64_t stride = std::int64_t(layers.gather_vectors) * kernels.width;
  // Even blocks of whole vectors.
  const std::int64_t vectors = ceil_div(columns, kernels.width), column_blocks = ceil_div(columns, stride);
  // Enough items to keep all threads busy to the end, and ranges so short that their rows of out, of which every column block
  // touches a part, keep their places in the translation buffers; though each item copies its own panels.
  const std::int64_t ranges =
      std::min(sparse.rows, std::max(ceil_div(8 * threads, column_blocks), ceil_div(sparse.rows, MAX_ROWS)));
  parallel_for(threads, column_blocks * ranges, [&](Workspace& workspace, std::int64_t item) {
    const std::int64_t range = item / column_blocks, block = item % column_blocks;
    const std::int64_t c = part(vectors, column_blocks, block) * kernels.width;
    const int num_columns =
        int(std::min(part(vectors, column_blocks, block + 1) * kernels.width, columns) - c);
    reserve(workspace, Workspace::bytes_for<float>(sparse.block * stride));
    float* panel = workspace.take<float>(sparse.block * stride);  // [block][stride]
    const std::int64_t blocks = sparse.blocks(), end = part(sparse.rows, ranges, range + 1);
    for (std::int64_t k = 0; k < blocks; ++k) {
      const float* rows = dense + k * sparse.block * columns + c;
      const int num_rows = int(std::min(sparse.block, sparse.columns - k * sparse.block));
      layers.copy_block(num_rows, num_columns, rows, columns, panel, stride);
      // While this panel is worked on, the next one comes into the second-level cache, a row at a time.
      const float* ahead = rows + sparse.block * columns;
      std::int64_t rows_ahead = std::min(sparse.block, sparse.columns - (k + 1) * sparse.block);
      for (std::int64_t i = part(sparse.rows, ranges, range); i < end; ++i) {
        if (rows_ahead-- > 0) {
          for (int line = 0; line < num_columns; line += 16) __builtin_prefetch(ahead + line, 0, 2);
          ahead += columns;
        }
        const std::int64_t at = sparse.begin[i * blocks + k], count = sparse.end[i * blocks + k] - at;
        if (k > 0 && count == 0) continue;
        layers.gather(count, sparse.entries + at, panel, num_columns, out + i * columns + c, k == 0);
      }
    }
  });
}

}  // namespace gancli
