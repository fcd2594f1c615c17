// The Parzen log-sum-exp where both sides have many rows (parzen_narrow.cpp has the rest). From the outside in:
//
//   work items     blocks of points × a range of sample chunks, handed to threads as they come free
//     block        of points, centred and transposed once per item into lane panels, which stay in the second-level
//                  cache
//     chunks       a fixed cut of the samples: the running sums start and end here, in float32 within, double beyond
//       samples    a few rows at a time, centred into a row panel that stays in the first-level cache slab by slab
//         slabs    of the inner dimension
//           panels of the block: one micro-kernel call each, accumulating a tile of scores
//         panels   again: fold the finished tile of scores into the running log-sum-exp
#include "parzen.h"

#include <algorithm>

#include "parallel.h"
#include "parzen_call.h"
#include "parzen_narrow.h"
#include "parzen_plan.h"

namespace gancli {
namespace {

// Points in lane panels, samples in row panels.
class Panels : public Call {
 public:
  Panels(const Problem& problem, const Plan& plan)
      : Call(problem, Slabs(problem.d), plan.ranges > 1 ? plan.chunks : 1), plan_(plan) {}

 private:
  std::int64_t items() const override { return plan_.groups * plan_.ranges; }
  BufferSizes buffer_sizes() const override {
    const std::int64_t lanes = plan_.panels_per_block * kernels_.lanes;
    return {lanes * slabs_.total(), std::int64_t(slabs_.count) * kernels_.rows * SLAB_STRIDE,
            lanes * kernels_.rows, kernels_.rows, lanes};
  }
  void run_item(Buffers& buffers, std::int64_t item) override;
  bool pack_points(Buffers& buffers, std::int64_t first_panel, std::int64_t num_panels) const;
  bool pack_samples(Buffers& buffers, std::int64_t first, int count) const;
  void score_chunk(Buffers& buffers, std::int64_t num_panels, std::int64_t block_lanes, std::int64_t begin,
                   std::int64_t end, Ahead next_points);

  const Plan plan_;
};

// Returns whether every row may be used.
bool Panels::pack_points(Buffers& buffers, std::int64_t first_panel, std::int64_t num_panels) const {
  bool usable = true;
  for (std::int64_t p = 0; p < num_panels; ++p) {
    float* panel = buffers.points + p * slabs_.total() * kernels_.lanes;
    for (int lane = 0; lane < kernels_.lanes; lane += kernels_.width) {
      for (int r = 0; r < kernels_.width; ++r) {
        const std::int64_t i = (first_panel + p) * kernels_.lanes + lane + r;
        // Lanes past the last point repeat it: finite numbers that nobody reads.
        const double squared = centre_row(x_, std::min(i, x_.count - 1), buffers.rows + r * SLAB_STRIDE,
                                          kernels_.width * SLAB_STRIDE);
        usable &= take_point(buffers, p * kernels_.lanes + lane + r, squared);
      }
      kernels_.transpose_rows(slabs_, buffers.rows, panel, lane);
    }
  }
  return usable;
}

// Returns whether every row may be used.
bool Panels::pack_samples(Buffers& buffers, std::int64_t first, int count) const {
  bool usable = true;
  for (int r = 0; r < count; ++r) {
    usable &= take_sample(
        buffers, r,
        centre_row(samples_, first + r, buffers.samples + r * SLAB_STRIDE, kernels_.rows * SLAB_STRIDE));
  }
  return usable;
}

void Panels::score_chunk(Buffers& buffers, std::int64_t num_panels, std::int64_t block_lanes,
                         std::int64_t begin, std::int64_t end, Ahead next_points) {
  const std::int64_t lanes = num_panels * kernels_.lanes;
  restart(buffers, lanes, lanes);

  const std::int64_t panel_floats = slabs_.total() * kernels_.lanes;
  const std::int64_t tile_floats = std::int64_t(kernels_.rows) * kernels_.lanes;
  const char* ahead = next_points.data;
  std::int64_t step = next_points.step;
  int count;
  for (std::int64_t first = begin; first < end; first += count) {
    // Full panels, and two even ones at the end instead of a full one and a crumb.
    const std::int64_t left = end - first;
    count = int(left >= 2 * kernels_.rows || left == kernels_.rows ? kernels_.rows
                : left > kernels_.rows                             ? ceil_div(left, 2)
                                                                   : left);
    if (!pack_samples(buffers, first, count)) return refuse(Refused::samples);

    // While this panel is worked on, the next one comes into the second-level cache, spread evenly over the work.
    if (!next_points.data) {
      const std::int64_t next = std::min<std::int64_t>(kernels_.rows, samples_.count - first - count);
      const Ahead rows = ahead_of(samples_, first + count, next, slabs_.total() * num_panels);
      ahead = rows.data;
      step = rows.step;
    }

    std::int64_t column = 0;
    for (int slab = 0; slab < slabs_.count; ++slab) {
      const int depth = int(ceil_div(slabs_.valid(column, slab), 4) * 4);
      for (std::int64_t p = 0; p < num_panels; ++p) {
        const int num_lanes = int(std::min<std::int64_t>(kernels_.lanes, block_lanes - p * kernels_.lanes));
        kernels_.multiply(count, num_lanes, depth, buffers.samples + slab * kernels_.rows * SLAB_STRIDE,
                          buffers.points + p * panel_floats + column * kernels_.lanes,
                          buffers.tiles + p * tile_floats, slab == 0, ahead, step);
        ahead += depth * step;
      }
      column += slabs_.padded(slab);
    }
    for (std::int64_t p = 0; p < num_panels; ++p) {
      const int num_lanes = int(std::min<std::int64_t>(kernels_.lanes, block_lanes - p * kernels_.lanes));
      score(buffers, p, int(first - begin), count, num_lanes, buffers.tiles + p * tile_floats,
            buffers.sample_start);
    }
  }
}

void Panels::run_item(Buffers& buffers, std::int64_t item) {
  const std::int64_t group = item / plan_.ranges, range = item % plan_.ranges;
  const std::int64_t last_block = part(plan_.blocks, plan_.groups, group + 1);
  const std::int64_t last_chunk = part(plan_.chunks, plan_.ranges, range + 1);
  for (std::int64_t block = part(plan_.blocks, plan_.groups, group); block < last_block; ++block) {
    const std::int64_t first_panel = part(plan_.panels, plan_.blocks, block);
    const std::int64_t num_panels = part(plan_.panels, plan_.blocks, block + 1) - first_panel;
    const std::int64_t first = first_panel * kernels_.lanes;
    const std::int64_t count = std::min(num_panels * kernels_.lanes, x_.count - first);
    if (!pack_points(buffers, first_panel, num_panels)) return refuse(Refused::x);
    // Where samples are few, what comes next is the points of the next block.
    Ahead next_points{nullptr, 0};
    if (plan_.groups < plan_.blocks && block + 1 < last_block) {
      const std::int64_t steps = slabs_.total() * num_panels * ceil_div(samples_.count, kernels_.rows);
      next_points = ahead_of(x_, first + count, std::min(count, x_.count - first - count), steps);
    }
    for (std::int64_t chunk = part(plan_.chunks, plan_.ranges, range); chunk < last_chunk; ++chunk) {
      score_chunk(buffers, num_panels, count, chunk * plan_.chunk,
                  std::min((chunk + 1) * plan_.chunk, samples_.count), next_points);
      if (refused()) return;
      fold(buffers, first, count, chunk, chunk * plan_.chunk);
    }
  }
}

}  // namespace

Refused parzen_log_sum_exp(const Kernels& kernels, Rows x, Rows samples, std::int64_t d, const double* sigmas,
                           int num_sigmas, float* out, int threads) {
  if (x.count == 0) return Refused::nothing;
  const Problem problem{kernels, x, samples, d, sigmas, num_sigmas};
  if (is_narrow(kernels, x.count, samples.count, d)) return narrow_log_sum_exp(problem, out, threads);
  return Panels(problem, Plan(kernels, Slabs(d), x.count, samples.count, threads)).run(out, threads);
}

}  // namespace gancli
