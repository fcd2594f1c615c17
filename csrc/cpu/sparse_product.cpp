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

void sparse_product(const Kernels& kernels, const SparseRows& sparse, const float* dense, std::int64_t columns,
                    float* out, int threads) {
  const LayerKernels& layers = *kernels.layers;
  const std::int64_t stride = std::int64_t(layers.gather_vectors) * kernels.width;
  // Even blocks of whole vectors.
  const std::int64_t vectors = ceil_div(columns, kernels.width), column_blocks = ceil_div(columns, stride);
  // Enough items to keep all threads busy to the end, though each range copies its own panels.
  const std::int64_t ranges = std::min(sparse.rows, ceil_div(8 * threads, column_blocks));
  parallel_for(threads, column_blocks * ranges, [&](Workspace& workspace, std::int64_t item) {
    const std::int64_t block = item / ranges, range = item % ranges;
    const std::int64_t c = part(vectors, column_blocks, block) * kernels.width;
    const int num_columns = int(
        std::min(part(vectors, column_blocks, block + 1) * kernels.width, columns) - c);
    workspace.reset(Workspace::bytes_for<float>(PANEL_ROWS * stride));
    float* panel = workspace.take<float>(PANEL_ROWS * stride);  // [PANEL_ROWS][stride]
    const std::int64_t end = part(sparse.rows, ranges, range + 1);
    for (std::int64_t k = 0; k < sparse.blocks; ++k) {
      const int num_rows = int(std::min(PANEL_ROWS, sparse.columns - k * PANEL_ROWS));
      layers.copy_block(num_rows, num_columns, dense + k * PANEL_ROWS * columns + c, columns, panel, stride);
      for (std::int64_t i = part(sparse.rows, ranges, range); i < end; ++i) {
        const std::int64_t* begin = sparse.begin + i * (sparse.blocks + 1) + k;
        if (k > 0 && begin[0] == begin[1]) continue;
        layers.gather(begin[1] - begin[0], sparse.entries + begin[0], panel, num_columns,
                      out + i * columns + c, k == 0);
      }
    }
  });
}

}  // namespace gancli
