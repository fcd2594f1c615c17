// Dense products of a layer around the micro-kernel `multiply`.
#pragma once

#include "maxout.h"

namespace gancli {

// v_x [batch][in] = v_z [batch][units] · weight [units][in]
void dense_input_gradient(const Kernels& kernels, std::int64_t batch, std::int64_t in, std::int64_t units,
                          const float* v_z, const float* weight, float* v_x, int threads);

// v_weight [units][in] = v_zᵀ · x, v_bias [units] = Σ_b v_z[b]; either may be null
void dense_weight_gradient(const Kernels& kernels, std::int64_t batch, std::int64_t in, std::int64_t units,
                           const float* v_z, const float* x, float* v_weight, float* v_bias, int threads);

// Copy the rows of a matrix, or the columns (then `transposed`), into some slabs of a row panel (kernels.h), padded with
// zeros.
//   source: row r, column k at r·stride + k, or at k·stride + r;  panel [end_slab − first_slab][rows][SLAB_STRIDE]
void pack_row_panel(const Kernels& kernels, const Slabs& slabs, int first_slab, int end_slab,
                    const float* source, std::int64_t stride, bool transposed, int num_rows, float* panel);

// Copy columns of a matrix, or rows (then `transposed`), into slab i of a lane panel, padded with zeros.
//   source: column k of lane l at k·stride + l, or at l·stride + k;  panel [slabs.total()][lanes]
void pack_lane_slab(const Kernels& kernels, const Slabs& slabs, int slab, std::int64_t first,
                    const float* source, std::int64_t stride, bool transposed, int num_lanes, float* panel);

// Where each slab begins: first [slabs.count].
inline std::int64_t slab_begin(const Slabs& slabs, int slab) {
  const std::int64_t extra = slabs.units % slabs.count;
  return PAD * (std::int64_t(slabs.units / slabs.count) * slab + (slab < extra ? slab : extra));
}

// Columns of a slab that a micro-kernel call must walk: those that hold data, in steps of 4.
inline int slab_depth(const Slabs& slabs, int slab) {
  return int((slabs.valid(slab_begin(slabs, slab), slab) + 3) / 4 * 4);
}

}  // namespace gancli
