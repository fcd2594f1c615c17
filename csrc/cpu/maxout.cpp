// The loops of the maxout layer. Forward, from the outside in:
//
//   blocks of rows  of the batch, transposed once into lane panels that all threads share
//     work items      a group of units
//       parts           of the inner dimension, if x is wide
//         row panels      of the weights: whole units, or some pieces of a unit that has more than a tile has rows
//           slabs           of the part
//             lane panels     one micro-kernel call each, accumulating a tile of scalar products
//           lane panels     after the last part: the tile becomes the best piece of its units; no tile is ever
//                           written to memory
//       group           transposed into y and index
//
// Backward builds the cotangent of all pieces as two lists of its non-zeros, by row for the input gradient and by
// piece for the weight gradient, and leaves the rest to sparse_product.cpp. A linear layer whose cotangent is dense
// goes to dense_product.cpp.
#include "maxout.h"

#include <algorithm>

#include "dense_product.h"
#include "layer_kernels.h"
#include "parallel.h"
#include "sparse_product.h"

namespace gancli {
namespace {

// Lane panels of a block of rows: their tiles stay in the first-level cache, and the weights, which every block walks
// once, are read from memory for 12·32 rows at a time.
constexpr std::int64_t MAX_PANELS = 12;
// Bytes of x that a work item walks at a time: half of a second-level cache of 1 MiB, a quarter of one of 2 MiB.
constexpr std::int64_t PART_BYTES = 640 << 10;
// Up to this share of non-zeros a sparse product beats a dense one (sparse_product.cpp).
constexpr double SPARSE_UP_TO = 0.45;

// How units fall into row panels and work items.
struct UnitPlan {
  int units_per_panel;    // whole units in a row panel
  int pieces_per_panel;   // pieces of a unit in a row panel; fewer than all only where a unit fills several
  std::int64_t parts;     // row panels that a unit with so many pieces takes, else 1
  std::int64_t per_item;  // units in a work item
  std::int64_t items;

  UnitPlan(const Kernels& kernels, LayerShape shape, int threads) {
    parts = ceil_div(shape.pieces, kernels.rows);
    pieces_per_panel = int(ceil_div(shape.pieces, parts));
    units_per_panel = parts > 1 ? 1 : int(kernels.rows / shape.pieces);
    // The largest group, up to the 16 floats of a cache line of y, that divides evenly among the threads.
    std::int64_t least = INT64_MAX;
    for (std::int64_t group = units_per_panel; group == units_per_panel || group * parts <= 16;
         group += units_per_panel) {
      const std::int64_t span = ceil_div(ceil_div(shape.units, group), threads) * group;
      if (span <= least) least = span, per_item = group;
    }
    items = ceil_div(shape.units, per_item);
  }
};

// One block of rows: everything that its threads share.
struct ForwardBlock {
  const Kernels& kernels;
  const LayerShape shape;
  const Slabs& slabs;
  const UnitPlan& plan;
  const float* lanes;   // [panels][slabs.total()][lanes] x, transposed
  const float* weight;  // [units][pieces][in]
  const float* bias;    // [units][pieces]
  bool relu;
  std::int64_t count;   // rows in the block
  std::int64_t panels;  // lane panels that hold them
  float* y;             // [count][units]
  std::uint8_t* index;  // [count][units] or null

  std::int64_t row_length() const { return panels * kernels.lanes; }
  int num_lanes(std::int64_t p) const {
    return int(std::min<std::int64_t>(kernels.lanes, count - p * kernels.lanes));
  }
  void run_item(Workspace& workspace, std::int64_t item) const;
  void ask_for_next(const float* next, int slab, std::int64_t p) const;
  void write(std::int64_t u, int units, const float* best, const float* piece, float* turned) const;
};

void ForwardBlock::run_item(Workspace& workspace, std::int64_t item) const {
  const std::int64_t begin = item * plan.per_item, end = std::min(begin + plan.per_item, shape.units);
  const std::int64_t row_panels = ceil_div(end - begin, plan.units_per_panel) * plan.parts;
  const std::int64_t tile = std::int64_t(kernels.rows) * kernels.lanes;
  // The slabs of x that all panels walk again for every row panel fill a part of the second-level cache; where x has
  // more, the tiles of the whole group wait for the next part.
  const std::int64_t slab_bytes = row_length() * SLAB * std::int64_t(sizeof(float));
  const int slabs_per_part = int(std::clamp<std::int64_t>(PART_BYTES / slab_bytes, 1, slabs.count));
  const bool in_parts = slabs_per_part < slabs.count;
  const std::int64_t pack = std::int64_t(slabs_per_part) * kernels.rows * SLAB_STRIDE;
  const std::int64_t all_tiles = (in_parts ? row_panels : 1) * panels * tile;
  const std::int64_t group = plan.per_item * row_length();
  reserve(workspace, Workspace::bytes_for<float>(pack) + Workspace::bytes_for<float>(all_tiles) +
                         2 * Workspace::bytes_for<float>(group) +
                         Workspace::bytes_for<float>(plan.per_item * kernels.lanes));
  float* const rows = workspace.take<float>(pack);        // [slabs_per_part][rows][SLAB_STRIDE]
  float* const tiles = workspace.take<float>(all_tiles);  // [row panels or 1][panels][rows][lanes]
  float* const best = workspace.take<float>(group);       // [per_item][panels·lanes]
  float* const piece = workspace.take<float>(group);      // [per_item][panels·lanes]
  float* const turned = workspace.take<float>(plan.per_item * kernels.lanes);

  for (int first = 0; first < slabs.count; first += slabs_per_part) {
    const int last = std::min(first + slabs_per_part, slabs.count);
    for (std::int64_t r = 0; r < row_panels; ++r) {
      const std::int64_t u = begin + r / plan.parts * plan.units_per_panel;
      const int units = int(std::min<std::int64_t>(plan.units_per_panel, end - u));
      const int j = int(r % plan.parts) * plan.pieces_per_panel;
      const int pieces = int(std::min<std::int64_t>(plan.pieces_per_panel, shape.pieces - j));
      float* const own = tiles + (in_parts ? r : 0) * panels * tile;
      const float* const source = weight + (u * shape.pieces + j) * shape.in;
      pack_row_panel(kernels, slabs, first, last, source, shape.in, false, units * pieces, rows);
      for (int s = first; s < last; ++s) {
        for (std::int64_t p = 0; p < panels; ++p) {
          ask_for_next(source + units * pieces * shape.in, s, p);
          const float* slab = rows + (s - first) * kernels.rows * SLAB_STRIDE;
          kernels.multiply(units * pieces, num_lanes(p), slab_depth(slabs, s), slab,
                           lanes + (p * slabs.total() + slab_begin(slabs, s)) * kernels.lanes, own + p * tile,
                           s == 0, reinterpret_cast<const char*>(slab), 0);
        }
      }
      if (last < slabs.count) continue;
      for (std::int64_t p = 0; p < panels; ++p) {
        const std::int64_t at = (u - begin) * row_length() + p * kernels.lanes;
        kernels.layers->best_piece(units, pieces, num_lanes(p), own + p * tile, bias + u * shape.pieces + j,
                                   shape.pieces, j, relu && j + pieces == shape.pieces, best + at, piece + at,
                                   row_length());
      }
    }
  }
  write(begin, int(end - begin), best, piece, turned);
}

// While lane panel p of a slab is worked on, every panels-th row of that slab of the next row panel, from row p on, comes
// into the second-level cache.
void ForwardBlock::ask_for_next(const float* next, int slab, std::int64_t p) const {
  const float* const end = weight + shape.units * shape.pieces * shape.in;
  const std::int64_t first = slab_begin(slabs, slab), columns = slabs.padded(slab);
  for (std::int64_t r = p; r < kernels.rows; r += panels) {
    const float* row = next + r * shape.in + first;
    if (row + columns > end) return;
    for (std::int64_t c = 0; c < columns; c += 16) __builtin_prefetch(row + c, 0, 2);
  }
}

// Transpose the finished group of units that begins with u into y and index.
void ForwardBlock::write(std::int64_t u, int units, const float* best, const float* piece,
                         float* turned) const {
  kernels.layers->transpose_block(units, int(count), best, row_length(), y + u, shape.units, false);
  if (index == nullptr) return;
  for (std::int64_t p = 0; p < panels; ++p) {
    kernels.layers->transpose_block(units, num_lanes(p), piece + p * kernels.lanes, row_length(), turned,
                                    units, false);
    for (int b = 0; b < num_lanes(p); ++b) {
      std::uint8_t* out = index + (p * kernels.lanes + b) * shape.units + u;
      for (int i = 0; i < units; ++i) out[i] = std::uint8_t(int(turned[b * units + i]));
    }
  }
}

// ---- backward: the cotangent of all pieces, as lists of its non-zeros ----

// The lists are built without a branch on whether an entry is zero, which nobody could predict: every entry is written,
// and only a non-zero one moves the place of the next. So a list needs room for one entry more than it has.

// Rows of S: the batch. Columns: all pieces of all units, of which row b has at most one per unit.
void list_by_row(LayerShape shape, const float* v_y, const std::uint8_t* index, std::int64_t panel_stride,
                 SparseRows& out, int threads) {
  const std::int64_t blocks = out.blocks(), units_per_block = out.block / shape.pieces;
  parallel_for(threads, shape.batch, [&](Workspace&, std::int64_t b) {
    std::int64_t at = b * (shape.units + 1);
    for (std::int64_t k = 0; k < blocks; ++k) {
      const std::int64_t first = k * units_per_block, end = std::min(first + units_per_block, shape.units);
      out.begin[b * blocks + k] = at;
      for (std::int64_t u = first; u < end; ++u) {
        const std::int64_t i = b * shape.units + u;
        const std::int64_t row = (u - first) * shape.pieces + (index == nullptr ? 0 : index[i]);
        out.entries[at] = {std::int32_t(row * panel_stride), v_y[i]};
        at += v_y[i] != 0;
      }
      out.end[b * blocks + k] = at;
    }
  });
}

// Rows of S: all pieces of all units. Columns: the batch. Also sums up v_bias, where wanted.
void list_by_piece(LayerShape shape, const float* v_y, const std::uint8_t* index, std::int64_t panel_stride,
                   SparseRows& out, float* v_bias, int threads) {
  // A few units at a time, so that what is read along the batch fills cache lines.
  constexpr std::int64_t GROUP = 16;
  const std::int64_t blocks = out.blocks();
  parallel_for(threads, ceil_div(shape.units, GROUP), [&](Workspace& workspace, std::int64_t item) {
    const std::int64_t u0 = item * GROUP, units = std::min(GROUP, shape.units - u0),
                       rows = units * shape.pieces;
    reserve(workspace, Workspace::bytes_for<std::int64_t>(rows) + Workspace::bytes_for<float>(rows));
    std::int64_t* const next = workspace.take<std::int64_t>(rows);  // [units][pieces]
    float* const sums = workspace.take<float>(rows);                // [units][pieces]
    std::fill_n(sums, rows, 0.0f);
    std::int64_t at = u0 * shape.batch + u0 * shape.pieces * blocks;
    for (std::int64_t k = 0; k < blocks; ++k) {
      const std::int64_t first = k * out.block, end = std::min(first + out.block, shape.batch);
      // fn(row within the group, row of the panel, value) for all of this block.
      const auto each = [&](const auto& fn) {
        for (std::int64_t b = first; b < end; ++b) {
          const float* value = v_y + b * shape.units + u0;
          const std::uint8_t* piece = index == nullptr ? nullptr : index + b * shape.units + u0;
          for (std::int64_t i = 0; i < units; ++i)
            fn(i * shape.pieces + (piece == nullptr ? 0 : piece[i]), b - first, value[i]);
        }
      };
      // Count, place the lists one behind the other, fill.
      std::fill_n(next, rows, 0);
      each([&](std::int64_t row, std::int64_t, float value) { next[row] += value != 0; });
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t list = (u0 * shape.pieces + row) * blocks + k, count = next[row];
        out.begin[list] = next[row] = at;
        out.end[list] = at + count;
        at += count + 1;
      }
      each([&](std::int64_t row, std::int64_t b, float value) {
        out.entries[next[row]] = {std::int32_t(b * panel_stride), value};
        next[row] += value != 0;
        sums[row] += value;
      });
    }
    if (v_bias != nullptr) std::copy_n(sums, rows, v_bias + u0 * shape.pieces);
  });
}

SparseRows take_lists(Workspace& workspace, std::int64_t rows, std::int64_t columns, std::int64_t block,
                      std::int64_t entries) {
  SparseRows out{rows, columns, block, nullptr, nullptr, nullptr};
  const std::int64_t lists = rows * out.blocks();
  reserve(workspace,
          2 * Workspace::bytes_for<std::int64_t>(lists) + Workspace::bytes_for<Entry>(entries + lists));
  out.begin = workspace.take<std::int64_t>(lists);
  out.end = workspace.take<std::int64_t>(lists);
  out.entries = workspace.take<Entry>(entries + lists);
  return out;
}

}  // namespace

std::int64_t count_nonzeros(const float* values, std::int64_t count) {
  std::int64_t nonzeros = 0;
  for (std::int64_t begin = 0; begin < count; begin += 4096) {
    const int left = int(std::min<std::int64_t>(count - begin, 4096));
    std::int32_t few = 0;  // as wide as a float, so that the compiler makes vectors of it
    for (int i = 0; i < left; ++i) few += values[begin + i] != 0;
    nonzeros += few;
  }
  return nonzeros;
}

void maxout_forward(const Kernels& kernels, LayerShape shape, const float* x, const float* weight,
                    const float* bias, bool relu, float* y, std::uint8_t* index, int threads) {
  const Slabs slabs(shape.in);
  const UnitPlan plan(kernels, shape, threads);
  const std::int64_t panel_floats = slabs.total() * kernels.lanes;
  Workspace& shared = shared_workspace();
  for (std::int64_t b = 0; b < shape.batch; b += MAX_PANELS * kernels.lanes) {
    const std::int64_t count = std::min(MAX_PANELS * kernels.lanes, shape.batch - b);
    const std::int64_t panels = ceil_div(count, kernels.lanes);
    reserve(shared, Workspace::bytes_for<float>(panels * panel_floats));
    float* const lanes = shared.take<float>(panels * panel_floats);
    parallel_for(threads, panels * slabs.count, [&](Workspace&, std::int64_t item) {
      const std::int64_t p = item / slabs.count;
      const int s = int(item % slabs.count);
      pack_lane_slab(kernels, slabs, s, slab_begin(slabs, s), x + (b + p * kernels.lanes) * shape.in,
                     shape.in, true, int(std::min<std::int64_t>(kernels.lanes, count - p * kernels.lanes)),
                     lanes + p * panel_floats);
    });
    const ForwardBlock block{kernels,
                             shape,
                             slabs,
                             plan,
                             lanes,
                             weight,
                             bias,
                             relu,
                             count,
                             panels,
                             y + b * shape.units,
                             index == nullptr ? nullptr : index + b * shape.units};
    parallel_for(threads, plan.items,
                 [&](Workspace& workspace, std::int64_t item) { block.run_item(workspace, item); });
  }
}

void maxout_backward(const Kernels& kernels, LayerShape shape, const float* v_y, const std::uint8_t* index,
                     const float* x, const float* weight, float* v_x, float* v_weight, float* v_bias,
                     int threads) {
  const std::int64_t outputs = shape.batch * shape.units, rows = shape.units * shape.pieces;
  if (shape.pieces == 1 && double(count_nonzeros(v_y, outputs)) > SPARSE_UP_TO * double(outputs)) {
    if (v_x != nullptr)
      dense_input_gradient(kernels, shape.batch, shape.in, shape.units, v_y, weight, v_x, threads);
    if (v_weight != nullptr || v_bias != nullptr)
      dense_weight_gradient(kernels, shape.batch, shape.in, shape.units, v_y, x, v_weight, v_bias, threads);
    return;
  }
  const std::int64_t panel_stride = std::int64_t(kernels.layers->gather_vectors) * kernels.width;
  Workspace& shared = shared_workspace();
  if (v_x != nullptr) {
    // Blocks of whole units: which block an entry falls into then does not depend on its piece.
    const std::int64_t block = std::max<std::int64_t>(PANEL_ROWS / shape.pieces, 1) * shape.pieces;
    SparseRows sparse = take_lists(shared, shape.batch, rows, block, outputs);
    list_by_row(shape, v_y, index, panel_stride, sparse, threads);
    sparse_product(kernels, sparse, weight, shape.in, v_x, threads);
  }
  if (v_weight != nullptr || v_bias != nullptr) {
    SparseRows sparse = take_lists(shared, rows, shape.batch, PANEL_ROWS, outputs);
    list_by_piece(shape, v_y, index, panel_stride, sparse, v_bias, threads);
    if (v_weight != nullptr) sparse_product(kernels, sparse, x, shape.in, v_weight, threads);
  }
}

}  // namespace gancli
