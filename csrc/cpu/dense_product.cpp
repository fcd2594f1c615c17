// The dense products, each with the same parts in another arrangement. The operand of the size of a minibatch is packed
// once and shared by all threads; the operand or result of the size of the weights is walked once, panel by panel, by
// whoever comes free. Slabs of the inner dimension add up in a tile (kernels.h).
#include "dense_product.h"

#include <algorithm>
#include <cstring>

#include "layer_kernels.h"
#include "parallel.h"

namespace gancli {
namespace {

// Tiles that are in work at a time: their sums, 12·14·32 floats = 21 KiB, stay in the first-level cache.
constexpr std::int64_t MAX_TILES = 12;

}  // namespace

void pack_row_panel(const Kernels& kernels, const Slabs& slabs, int first_slab, int end_slab,
                    const float* source, std::int64_t stride, bool transposed, int num_rows, float* panel) {
  for (int i = first_slab; i < end_slab; ++i, panel += kernels.rows * SLAB_STRIDE) {
    const std::int64_t first = slab_begin(slabs, i);
    const int valid = slabs.valid(first, i);
    if (transposed) {
      kernels.layers->transpose_block(valid, num_rows, source + first * stride, stride, panel, SLAB_STRIDE,
                                      true);
    } else {
      kernels.layers->copy_block(num_rows, valid, source + first, stride, panel, SLAB_STRIDE);
    }
    const int depth = slab_depth(slabs, i);
    for (int k = valid; k < depth; ++k) {
      for (int r = 0; r < num_rows; ++r) panel[r * SLAB_STRIDE + k] = 0;
    }
  }
}

void pack_lane_slab(const Kernels& kernels, const Slabs& slabs, int slab, std::int64_t first,
                    const float* source, std::int64_t stride, bool transposed, int num_lanes, float* panel) {
  const int valid = slabs.valid(first, slab), depth = slab_depth(slabs, slab);
  float* const out = panel + first * kernels.lanes;
  if (transposed) {
    kernels.layers->transpose_block(num_lanes, valid, source + first, stride, out, kernels.lanes, true);
  } else {
    kernels.layers->copy_block(valid, num_lanes, source + first * stride, stride, out, kernels.lanes);
  }
  std::memset(out + valid * kernels.lanes, 0, sizeof(float) * (depth - valid) * kernels.lanes);
}

void dense_input_gradient(const Kernels& kernels, std::int64_t batch, std::int64_t in, std::int64_t units,
                          const float* v_z, const float* weight, float* v_x, int threads) {
  const Slabs slabs(units);
  const std::int64_t panel_floats = std::int64_t(slabs.count) * kernels.rows * SLAB_STRIDE;
  const std::int64_t lane_floats = slabs.total() * kernels.lanes,
                     tile = std::int64_t(kernels.rows) * kernels.lanes;
  // Even panels: a last one of two rows would have too few sums in flight.
  const std::int64_t panels = ceil_div(batch, kernels.rows), lane_panels = ceil_div(in, kernels.lanes);
  Workspace& shared = shared_workspace();
  reserve(shared, Workspace::bytes_for<float>(panels * panel_floats));
  float* const rows = shared.take<float>(panels * panel_floats);  // [panels][slabs][rows][SLAB_STRIDE]
  parallel_for(threads, panels, [&](Workspace&, std::int64_t p) {
    const std::int64_t b = part(batch, panels, p);
    pack_row_panel(kernels, slabs, 0, slabs.count, v_z + b * units, units, false,
                   int(part(batch, panels, p + 1) - b), rows + p * panel_floats);
  });
  parallel_for(threads, lane_panels, [&](Workspace& workspace, std::int64_t l) {
    const std::int64_t c = l * kernels.lanes;
    const int num_lanes = int(std::min<std::int64_t>(kernels.lanes, in - c));
    reserve(workspace,
            Workspace::bytes_for<float>(lane_floats) + Workspace::bytes_for<float>(MAX_TILES * tile));
    float* const lanes = workspace.take<float>(lane_floats);       // [slabs.total()][lanes]
    float* const tiles = workspace.take<float>(MAX_TILES * tile);  // [panels][rows][lanes]
    for (std::int64_t p0 = 0; p0 < panels; p0 += MAX_TILES) {
      const std::int64_t p1 = std::min(p0 + MAX_TILES, panels);
      for (int s = 0; s < slabs.count; ++s) {
        const std::int64_t first = slab_begin(slabs, s);
        if (p0 == 0) pack_lane_slab(kernels, slabs, s, first, weight + c, in, false, num_lanes, lanes);
        // While this slab is worked on, the next one, or the first of the next panel, comes into the second-level
        // cache: panel p asks for cache line p of its rows.
        const float* ahead =
            s + 1 < slabs.count ? weight + slab_begin(slabs, s + 1) * in + c : weight + c + num_lanes;
        for (std::int64_t p = p0; p < p1; ++p) {
          const bool asks = p0 == 0 && p * 16 < num_lanes && c + num_lanes < in;
          kernels.multiply(int(part(batch, panels, p + 1) - part(batch, panels, p)), num_lanes,
                           slab_depth(slabs, s), rows + p * panel_floats + s * kernels.rows * SLAB_STRIDE,
                           lanes + first * kernels.lanes, tiles + (p - p0) * tile, s == 0,
                           reinterpret_cast<const char*>(asks ? ahead + p * 16 : rows),
                           asks ? in * std::int64_t(sizeof(float)) : 0);
        }
      }
      for (std::int64_t p = p0; p < p1; ++p) {
        const std::int64_t b = part(batch, panels, p), end = part(batch, panels, p + 1);
        for (std::int64_t i = b; i < end; ++i)
          std::memcpy(v_x + i * in + c, tiles + (p - p0) * tile + (i - b) * kernels.lanes,
                      sizeof(float) * num_lanes);
      }
    }
  });
}

void dense_weight_gradient(const Kernels& kernels, std::int64_t batch, std::int64_t in, std::int64_t units,
                           const float* v_z, const float* x, float* v_weight, float* v_bias, int threads) {
  const Slabs slabs(batch);
  const std::int64_t panel_floats = std::int64_t(slabs.count) * kernels.rows * SLAB_STRIDE;
  const std::int64_t lane_floats = slabs.total() * kernels.lanes,
                     tile = std::int64_t(kernels.rows) * kernels.lanes;
  const std::int64_t panels = ceil_div(units, kernels.rows);
  const std::int64_t lane_panels = v_weight == nullptr ? 0 : ceil_div(in, kernels.lanes);
  Workspace& shared = shared_workspace();
  reserve(shared, Workspace::bytes_for<float>(lane_panels * lane_floats));
  float* const lanes = shared.take<float>(lane_panels * lane_floats);  // [lane panels][slabs.total()][lanes]
  parallel_for(threads, lane_panels, [&](Workspace&, std::int64_t l) {
    const int num_lanes = int(std::min<std::int64_t>(kernels.lanes, in - l * kernels.lanes));
    for (int s = 0; s < slabs.count; ++s)
      pack_lane_slab(kernels, slabs, s, slab_begin(slabs, s), x + l * kernels.lanes, in, false, num_lanes,
                     lanes + l * lane_floats);
  });
  parallel_for(threads, panels, [&](Workspace& workspace, std::int64_t p) {
    const std::int64_t u = part(units, panels, p);
    const int num_rows = int(part(units, panels, p + 1) - u);
    reserve(workspace,
            Workspace::bytes_for<float>(panel_floats) + Workspace::bytes_for<float>(MAX_TILES * tile));
    float* const rows = workspace.take<float>(panel_floats);       // [slabs][rows][SLAB_STRIDE]
    float* const tiles = workspace.take<float>(MAX_TILES * tile);  // [lane panels][rows][lanes]
    pack_row_panel(kernels, slabs, 0, slabs.count, v_z + u, units, true, num_rows, rows);
    if (v_bias != nullptr) {
      for (int r = 0; r < num_rows; ++r) {
        float total = 0;
        for (int s = 0; s < slabs.count; ++s)
          total += kernels.layers->sum(slabs.valid(slab_begin(slabs, s), s),
                                       rows + (s * kernels.rows + r) * SLAB_STRIDE);
        v_bias[u + r] = total;
      }
    }
    for (std::int64_t l0 = 0; l0 < lane_panels; l0 += MAX_TILES) {
      const std::int64_t l1 = std::min(l0 + MAX_TILES, lane_panels);
      for (int s = 0; s < slabs.count; ++s) {
        const float* slab = rows + s * kernels.rows * SLAB_STRIDE;
        for (std::int64_t l = l0; l < l1; ++l)
          kernels.multiply(num_rows, int(std::min<std::int64_t>(kernels.lanes, in - l * kernels.lanes)),
                           slab_depth(slabs, s), slab,
                           lanes + l * lane_floats + slab_begin(slabs, s) * kernels.lanes,
                           tiles + (l - l0) * tile, s == 0, reinterpret_cast<const char*>(slab), 0);
      }
      for (int r = 0; r < num_rows; ++r) {
        for (std::int64_t l = l0; l < l1; ++l)
          std::memcpy(v_weight + (u + r) * in + l * kernels.lanes,
                      tiles + (l - l0) * tile + r * kernels.lanes,
                      sizeof(float) * std::min<std::int64_t>(kernels.lanes, in - l * kernels.lanes));
      }
    }
  });
}

}  // namespace gancli
