// The loops of the Parzen log-sum-exp. From the outside in:
//
//   work items     blocks of points × a range of sample chunks, handed to threads as they come free
//     block        of points, centred and transposed once per item into lane panels, which stay in the second-level
//                  cache
//     chunks       a fixed cut of the samples: the running sums start and end here, in float32 within, double beyond
//       samples    a few rows at a time, centred into a row panel that stays in the first-level cache slab by slab
//         slabs    of the inner dimension
//           panels of the block: one micro-kernel call each, accumulating a tile of scores
//         panels   again: fold the finished tile of scores into the running log-sum-exp
//
// With scores t_ij = x_i·μ_j − ½‖μ_j‖² the exponent −‖x_i − μ_j‖²/(2σ²) is (t_ij − ½‖x_i‖²)/σ², so the nearest sample
// is the one of largest t, and ‖x_i‖² enters once per point at the end, in double. What float32 loses in t is multiplied
// by 1/σ² (100 at σ = 0.1), so it must stay near 1e−6; three things see to that. All data are centred. Half norms count
// from a typical one, the `level`, which leaves small numbers to add to the product. And products are summed slab by
// slab.
//
// Why the bits do not depend on the number of threads: a lane never mixes with another, chunks are cut by the number of
// samples alone, and their results are merged in order, whoever computed them.
#include "parzen.h"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <new>
#include <vector>

#include "../log_sum_exp.h"
#include "parzen_plan.h"

namespace gancli {
namespace {

// The centre is the mean of this many samples, evenly spread. It only has to be near the data: what the mean of 64 is off
// adds a sixty-fourth to the squared norms, and the mean of all would cost one more pass over memory.
constexpr std::int64_t CENTRE_SAMPLES = 64;
// Largest ½‖row‖²: products of two such rows, and sums of them, stay finite in float32.
constexpr double HALF_NORM_LIMIT = FLT_MAX / 16;

// A score may be off by this share of its scalar product (measured at d = 784: 8e−8 root mean square), and a result by
// that over σ². Where it could exceed ALLOWED_ERROR, in nats, the nearest sample's distance is computed once more.
constexpr double ROUNDING_OF_PRODUCT = 2.4e-7;
constexpr double ALLOWED_ERROR = 2e-4;

// Where the data lie, from a few samples.
struct Centre {
  std::vector<float> point;  // [slabs.total()] their mean, padded with zeros
  double level;              // the mean of ½‖sample − point‖²

  Centre(const Kernels& kernels, Rows samples, const Slabs& slabs) : point(slabs.total(), 0.0f), level(0) {
    const std::int64_t used = std::min(samples.count, CENTRE_SAMPLES);
    const auto row = [&](std::int64_t i) {
      return samples.data + samples.count * i / used * samples.row_stride;
    };
    std::vector<double> sum(slabs.columns, 0.0);
    for (std::int64_t i = 0; i < used; ++i) {
      for (std::int64_t k = 0; k < slabs.columns; ++k) sum[k] += row(i)[k * samples.column_stride];
    }
    for (std::int64_t k = 0; k < slabs.columns; ++k) point[k] = float(sum[k] / double(used));
    std::vector<float> centred(slabs.count * SLAB_STRIDE);
    for (std::int64_t i = 0; i < used; ++i) {
      level +=
          0.5 / double(used) *
          kernels.centre_row(slabs, row(i), samples.column_stride, point.data(), centred.data(), SLAB_STRIDE);
    }
  }
};

std::vector<Width> widths_of(const double* sigmas, int num_sigmas) {
  std::vector<Width> widths(num_sigmas);
  for (int s = 0; s < num_sigmas; ++s) {
    // Finite and normal in float32 for every σ: 0·∞ would be NaN where a point meets the nearest sample.
    const double scale = std::clamp(1.4426950408889634 / (sigmas[s] * sigmas[s]), 1e-30, 1e30);
    widths[s] = {float(scale), float(-EXPONENT_RANGE / scale)};
  }
  return widths;
}

// The sample that a point scores highest with.
struct Nearest {
  double exponent;     // −½ squared distance
  double product;      // x·μ, roughly: what the rounding of the score goes with
  std::int64_t index;  // among all samples
};

// What to read ahead while a tile is worked on: `step` bytes from `data` on per column.
struct Ahead {
  const char* data;
  std::int64_t step;
};

// One call: everything that its threads share.
class Call {
 public:
  Call(const Kernels& kernels, Rows x, Rows samples, std::int64_t d, const double* sigmas, int num_sigmas,
       int threads)
      : kernels_(kernels),
        x_(x),
        samples_(samples),
        slabs_(d),
        plan_(kernels, slabs_, x.count, samples.count, threads),
        centre_(kernels, samples, slabs_),
        sigmas_(sigmas),
        num_sigmas_(num_sigmas),
        smallest_sigma_(num_sigmas > 0 ? *std::min_element(sigmas, sigmas + num_sigmas) : 1.0),
        widths_(widths_of(sigmas, num_sigmas)),
        sets_(plan_.ranges > 1 ? plan_.chunks : 1),
        sums_(sets_ * num_sigmas * x.count, log_sum_exp_empty()),
        nearest_(sets_ * x.count, {-INFINITY, 0, 0}) {}

  Refused run(float* out, int threads);

 private:
  void run_item(Buffers& buffers, std::int64_t item);
  bool pack_points(Buffers& buffers, std::int64_t first_panel, std::int64_t num_panels) const;
  bool pack_samples(Buffers& buffers, std::int64_t first, int count) const;
  void score_chunk(Buffers& buffers, std::int64_t num_panels, std::int64_t block_lanes, std::int64_t begin,
                   std::int64_t end, Ahead next_points);
  Ahead ahead_of(Rows rows, std::int64_t first, std::int64_t count, std::int64_t steps) const;
  void fold(const Buffers& buffers, std::int64_t first, std::int64_t count, std::int64_t chunk);
  void finish_point(Buffers& buffers, std::int64_t i, float* out) const;
  LaneState lane_state(const Buffers& buffers, std::int64_t panel) const;
  void refuse(Refused what) { refused_.store(what, std::memory_order_relaxed); }
  bool refused() const { return refused_.load(std::memory_order_relaxed) != Refused::nothing; }

  const Kernels& kernels_;
  const Rows x_, samples_;
  const Slabs slabs_;
  const Plan plan_;
  const Centre centre_;
  const double* const sigmas_;  // [num_sigmas]
  const int num_sigmas_;
  const double smallest_sigma_;
  const std::vector<Width> widths_;  // [num_sigmas]
  const std::int64_t sets_;          // results kept apart: one per chunk where samples are split, else one
  std::vector<LogSumExp> sums_;      // [sets][num_sigmas][m]
  std::vector<Nearest> nearest_;     // [sets][m]
  std::atomic<Refused> refused_{Refused::nothing};
};

LaneState Call::lane_state(const Buffers& buffers, std::int64_t panel) const {
  const std::int64_t lane = panel * kernels_.lanes;
  return {buffers.limit + lane, buffers.max + lane, buffers.nearest + lane, buffers.sum + lane * num_sigmas_,
          buffers.excess + lane * num_sigmas_};
}

// Returns whether every row may be used.
bool Call::pack_points(Buffers& buffers, std::int64_t first_panel, std::int64_t num_panels) const {
  bool usable = true;
  for (std::int64_t p = 0; p < num_panels; ++p) {
    float* panel = buffers.points + p * slabs_.total() * kernels_.lanes;
    double* origin = buffers.origin + p * kernels_.lanes;
    float* limit = buffers.limit + p * kernels_.lanes;
    for (int lane = 0; lane < kernels_.lanes; lane += kernels_.width) {
      for (int r = 0; r < kernels_.width; ++r) {
        const std::int64_t i = (first_panel + p) * kernels_.lanes + lane + r;
        // Lanes past the last point repeat it: finite numbers that nobody reads.
        const float* row = x_.data + std::min(i, x_.count - 1) * x_.row_stride;
        const double half_norm =
            0.5 * kernels_.centre_row(slabs_, row, x_.column_stride, centre_.point.data(),
                                      buffers.rows + r * SLAB_STRIDE, kernels_.width * SLAB_STRIDE);
        origin[lane + r] = half_norm + centre_.level;
        limit[lane + r] = float(origin[lane + r]);
        usable &= half_norm <= HALF_NORM_LIMIT;
      }
      kernels_.transpose_rows(slabs_, buffers.rows, panel, lane);
    }
  }
  return usable;
}

// Returns whether every row may be used.
bool Call::pack_samples(Buffers& buffers, std::int64_t first, int count) const {
  bool usable = true;
  for (int r = 0; r < count; ++r) {
    const double half_norm =
        0.5 * kernels_.centre_row(slabs_, samples_.data + (first + r) * samples_.row_stride,
                                  samples_.column_stride, centre_.point.data(),
                                  buffers.samples + r * SLAB_STRIDE, kernels_.rows * SLAB_STRIDE);
    buffers.sample_start[r] = float(centre_.level - half_norm);
    usable &= half_norm <= HALF_NORM_LIMIT;
  }
  return usable;
}

void Call::score_chunk(Buffers& buffers, std::int64_t num_panels, std::int64_t block_lanes,
                       std::int64_t begin, std::int64_t end, Ahead next_points) {
  const std::int64_t lanes = num_panels * kernels_.lanes;
  std::fill_n(buffers.max, lanes, -FLT_MAX);
  std::fill_n(buffers.sum, lanes * num_sigmas_, 0.0f);
  std::fill_n(buffers.excess, lanes * num_sigmas_, 0.0f);

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
      kernels_.score(int(first - begin), count, num_lanes, buffers.tiles + p * tile_floats,
                     buffers.sample_start, widths_.data(), num_sigmas_, lane_state(buffers, p));
    }
  }
}

// Merge what a chunk gave the points [first, first + count) into their results.
void Call::fold(const Buffers& buffers, std::int64_t first, std::int64_t count, std::int64_t chunk) {
  const double unit = std::ldexp(1.0, 1 - EXPONENT_RANGE);
  const std::int64_t set = sets_ > 1 ? chunk : 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t lane = i % kernels_.lanes;
    const LaneState state = lane_state(buffers, i / kernels_.lanes);
    const double exponent = std::min(double(state.max[lane]) - buffers.origin[i], 0.0);
    Nearest& nearest = nearest_[set * x_.count + first + i];
    if (exponent > nearest.exponent) {
      // x·μ = ½‖x‖² + ½‖μ‖² − ½‖x − μ‖², and a near sample is about as long as the point.
      const double product = 2 * (buffers.origin[i] - centre_.level) + exponent;
      nearest = {exponent, product, chunk * plan_.chunk + std::int64_t(state.nearest[lane])};
    }
    for (int s = 0; s < num_sigmas_; ++s) {
      const std::int64_t at = std::int64_t(s) * kernels_.lanes + lane;
      const double sum = (double(state.sum[at]) - double(state.excess[at])) / unit;
      LogSumExp& total = sums_[(set * num_sigmas_ + s) * x_.count + first + i];
      total = log_sum_exp_merge(total, {exponent / (sigmas_[s] * sigmas_[s]), sum});
    }
  }
}

// Join the chunks of point i in order. Where the score of a near sample is a large product less large norms, its distance
// is computed once more from the difference of the two rows, and the sum counts from there: exact for what dominates it.
void Call::finish_point(Buffers& buffers, std::int64_t i, float* out) const {
  Nearest nearest = nearest_[i];
  for (std::int64_t set = 1; set < sets_; ++set) {
    const Nearest& other = nearest_[set * x_.count + i];
    if (other.exponent > nearest.exponent) nearest = other;
  }
  double exponent = nearest.exponent;
  if (nearest.product * ROUNDING_OF_PRODUCT > ALLOWED_ERROR * smallest_sigma_ * smallest_sigma_) {
    const float* sample = samples_.data + nearest.index * samples_.row_stride;
    for (std::int64_t k = 0; k < slabs_.columns; ++k)
      buffers.sample_row[k] = sample[k * samples_.column_stride];
    std::fill(buffers.sample_row + slabs_.columns, buffers.sample_row + slabs_.total(), 0.0f);
    exponent = -0.5 * kernels_.centre_row(slabs_, x_.data + i * x_.row_stride, x_.column_stride,
                                          buffers.sample_row, buffers.rows, SLAB_STRIDE);
  }
  for (int s = 0; s < num_sigmas_; ++s) {
    LogSumExp total = log_sum_exp_empty();
    for (std::int64_t set = 0; set < sets_; ++set) {
      total = log_sum_exp_merge(total, sums_[(set * num_sigmas_ + s) * x_.count + i]);
    }
    total.max = exponent / (sigmas_[s] * sigmas_[s]);
    // Where the true value is beyond float32 the largest finite one stands for it.
    out[s * x_.count + i] = float(std::max(log_sum_exp_finish(total), double(-FLT_MAX)));
  }
}

// Where to read ahead so that rows [first, first + count) are there after `steps` columns of a tile.
Ahead Call::ahead_of(Rows rows, std::int64_t first, std::int64_t count, std::int64_t steps) const {
  const bool contiguous = rows.column_stride == 1 && rows.row_stride == slabs_.columns;
  if (!contiguous || count <= 0) return {reinterpret_cast<const char*>(rows.data), 0};
  const std::int64_t bytes = count * slabs_.columns * std::int64_t(sizeof(float));
  return {reinterpret_cast<const char*>(rows.data + first * rows.row_stride), ceil_div(bytes, steps)};
}

void Call::run_item(Buffers& buffers, std::int64_t item) {
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
      fold(buffers, first, count, chunk);
    }
  }
}

Refused Call::run(float* out, int threads) {
  const std::int64_t items = plan_.groups * plan_.ranges;
  std::atomic<bool> out_of_memory{false};
#pragma omp parallel num_threads(threads)
  {
    static thread_local Workspace workspace;
    Buffers buffers(kernels_, slabs_, plan_.panels_per_block, num_sigmas_);
    if (!buffers.take_from(workspace)) out_of_memory = true;
#pragma omp for schedule(dynamic)
    for (std::int64_t item = 0; item < items; ++item) {
      if (!refused() && !out_of_memory) run_item(buffers, item);
    }
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < x_.count; ++i) {
      if (!refused() && !out_of_memory) finish_point(buffers, i, out);
    }
  }
  if (out_of_memory) throw std::bad_alloc();
  return refused_.load();
}

}  // namespace

Refused parzen_log_sum_exp(const Kernels& kernels, Rows x, Rows samples, std::int64_t d, const double* sigmas,
                           int num_sigmas, float* out, int threads) {
  if (x.count == 0) return Refused::nothing;
  return Call(kernels, x, samples, d, sigmas, num_sigmas, threads).run(out, threads);
}

}  // namespace gancli
