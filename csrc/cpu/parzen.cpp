// The loops of the Parzen log-sum-exp. From the outside in:
//
//   work items     a block of points × a range of sample chunks, handed to threads as they come free
//     points       centred and transposed once per item into lane panels, which stay in the second-level
//     cache chunks       a fixed cut of the samples: the running sums start and end here, in float32 within,
//     double beyond
//       samples    a few rows at a time, centred into a row panel that stays in the first-level cache slab by
//       slab
//         slabs    of the inner dimension
//           panels of the block: one micro-kernel call each, accumulating a tile of scores
//         panels   again: fold the finished tile of scores into the running log-sum-exp
//
// With scores t_ij = x_i·μ_j − ½‖μ_j‖² the exponent −‖x_i − μ_j‖²/(2σ²) is (t_ij − ½‖x_i‖²)/σ², so the
// nearest sample is the one of largest t, and ‖x_i‖² enters once per point at the end, in double. What
// float32 loses in t is multiplied by 1/σ² (100 at σ = 0.1), so it must stay near 1e−6; three things see to
// that. All data are centred. Half norms count from a typical one, the `level`, which leaves small numbers to
// add to the product. And products are summed slab by slab.
//
// Why the bits do not depend on the number of threads: a lane never mixes with another, chunks are cut by the
// number of samples alone, and their results are merged in order, whoever computed them.
#include "parzen.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <new>
#include <vector>

#include "../log_sum_exp.h"
#include "workspace.h"

namespace gancli {
namespace {

// ---- sizes, with their reasons
// ----------------------------------------------------------------------------------

// Share of the second-level cache for the packed points of a block. The rest is for the samples on their way
// through.
constexpr double POINTS_SHARE_OF_L2 = 0.6;
constexpr std::int64_t L2_IF_UNKNOWN = 512 << 10;
// Beyond this many panels the tiles of a block leave the first-level cache, and copying samples is long
// amortised.
constexpr std::int64_t MAX_PANELS = 12;
// Samples per chunk, at least: enough tiles to bury the merge, few enough that 20 points × 100,000 samples
// feed 16 threads. At most MAX_CHUNKS chunks, so that what threads hand over stays bounded.
constexpr std::int64_t MIN_CHUNK = 2048;
constexpr std::int64_t MAX_CHUNKS = 64;
// Work items per thread below which samples are split too.
constexpr std::int64_t ITEMS_PER_THREAD = 4;
// The centre is the mean of this many samples, evenly spread. It only has to be near the data: what the mean
// of 64 is off adds a sixty-fourth to the squared norms, and the mean of all would cost one more pass over
// memory.
constexpr std::int64_t CENTRE_SAMPLES = 64;
// Largest ½‖row‖²: products of two such rows, and sums of them, stay finite in float32.
constexpr double HALF_NORM_LIMIT = FLT_MAX / 16;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t second_level_cache() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return L2_IF_UNKNOWN;
}

// How the work is cut. Only `chunk` may matter for the bits of the result, and it depends on n alone.
struct Plan {
  std::int64_t panels;            // lane panels that hold all points
  std::int64_t blocks;            // groups of panels
  std::int64_t panels_per_block;  // at most
  std::int64_t chunk;             // samples per chunk
  std::int64_t chunks;
  std::int64_t ranges;  // groups of chunks; 1 unless there are too few blocks for the threads

  Plan(const Kernels& kernels, const Slabs& slabs, std::int64_t m, std::int64_t n, int threads) {
    const std::int64_t panel_bytes = slabs.total() * kernels.lanes * std::int64_t(sizeof(float));
    const std::int64_t fit = std::int64_t(POINTS_SHARE_OF_L2 * double(second_level_cache())) / panel_bytes;
    panels = ceil_div(m, kernels.lanes);
    chunk = ceil_div(std::max(MIN_CHUNK, ceil_div(n, MAX_CHUNKS)), kernels.rows) * kernels.rows;
    chunks = ceil_div(n, chunk);
    blocks = ceil_div(panels, std::clamp<std::int64_t>(fit, 1, MAX_PANELS));
    const std::int64_t wanted = ITEMS_PER_THREAD * threads;
    if (blocks * chunks < wanted) blocks = std::min(panels, ceil_div(wanted, chunks));
    if (blocks >= threads) blocks = std::min(panels, ceil_div(blocks, threads) * threads);
    panels_per_block = ceil_div(panels, blocks);
    ranges = blocks >= wanted ? 1 : std::min(chunks, ceil_div(wanted, blocks));
  }

  // Part `i` of `parts` equal parts of 0 .. count: where it begins (part i + 1 begins where it ends).
  static std::int64_t part(std::int64_t count, std::int64_t parts, std::int64_t i) {
    return count * i / parts;
  }
};

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

// One thread's buffers for a block of points, cut from its workspace.
struct Buffers {
  float* points;        // [panels][slabs.total()][lanes] packed, centred
  float* samples;       // [slabs][rows][SLAB_STRIDE] packed, centred
  float* rows;          // [slabs][width][SLAB_STRIDE] centred points before they are transposed
  float* tiles;         // [panels][rows][lanes] scores
  float* point_start;   // [lanes] level − ½‖x‖²
  float* sample_start;  // [rows] level − ½‖μ‖²
  float* self;          // [panels][lanes] score of each point with its copy, rounded as that would be
  float* limit;         // [panels][lanes] the larger of that and the true score
  double* origin;       // [panels][lanes] true score of each point with itself, ½‖x‖² + level
  float* max;           // [panels][lanes] running maximum
  float* sum;           // [panels][σ][lanes] running sums and what they hold too much
  float* excess;

  Buffers(Workspace& workspace, const Kernels& kernels, const Slabs& slabs, std::int64_t panels,
          std::int64_t num_sigmas) {
    struct Piece {
      float** where;
      std::int64_t count;
    };
    const std::int64_t lanes = panels * kernels.lanes;
    const Piece pieces[] = {
        {&points, lanes * slabs.total()},
        {&samples, std::int64_t(slabs.count) * kernels.rows * SLAB_STRIDE},
        {&rows, std::int64_t(slabs.count) * kernels.width * SLAB_STRIDE},
        {&tiles, lanes * kernels.rows},
        {&point_start, kernels.lanes},
        {&sample_start, kernels.rows},
        {&self, lanes},
        {&limit, lanes},
        {&max, lanes},
        {&sum, lanes * num_sigmas},
        {&excess, lanes * num_sigmas},
    };
    std::size_t bytes = Workspace::bytes_for<double>(lanes);
    for (const Piece& piece : pieces) bytes += Workspace::bytes_for<float>(piece.count);
    workspace.reset(bytes);
    origin = workspace.take<double>(lanes);
    for (const Piece& piece : pieces) *piece.where = workspace.take<float>(piece.count);
  }
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
        widths_(widths_of(sigmas, num_sigmas)),
        partials_((plan_.ranges > 1 ? plan_.chunks : 1) * num_sigmas * x.count, log_sum_exp_empty()) {}

  Refused run(float* out, int threads);

 private:
  void run_item(Buffers& buffers, std::int64_t item);
  bool pack_points(Buffers& buffers, std::int64_t first_panel, std::int64_t num_panels) const;
  bool pack_samples(Buffers& buffers, std::int64_t first, int count) const;
  void score_chunk(Buffers& buffers, std::int64_t num_panels, std::int64_t block_lanes, std::int64_t begin,
                   std::int64_t end);
  void fold(const Buffers& buffers, std::int64_t first, std::int64_t count, LogSumExp* partial) const;
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
  const std::vector<Width> widths_;  // [num_sigmas]
  std::vector<LogSumExp> partials_;  // [chunks or 1][num_sigmas][m], exponents relative to the point itself
  std::atomic<Refused> refused_{Refused::nothing};
};

LaneState Call::lane_state(const Buffers& buffers, std::int64_t panel) const {
  const std::int64_t lane = panel * kernels_.lanes;
  return {buffers.limit + lane, buffers.max + lane, buffers.sum + lane * num_sigmas_,
          buffers.excess + lane * num_sigmas_};
}

// Returns whether every row may be used.
bool Call::pack_points(Buffers& buffers, std::int64_t first_panel, std::int64_t num_panels) const {
  bool usable = true;
  for (std::int64_t p = 0; p < num_panels; ++p) {
    float* panel = buffers.points + p * slabs_.total() * kernels_.lanes;
    double* origin = buffers.origin + p * kernels_.lanes;
    for (int lane = 0; lane < kernels_.lanes; lane += kernels_.width) {
      for (int r = 0; r < kernels_.width; ++r) {
        const std::int64_t i = (first_panel + p) * kernels_.lanes + lane + r;
        // Lanes past the last point repeat it: finite numbers that nobody reads.
        const float* row = x_.data + std::min(i, x_.count - 1) * x_.row_stride;
        const double half_norm =
            0.5 * kernels_.centre_row(slabs_, row, x_.column_stride, centre_.point.data(),
                                      buffers.rows + r * SLAB_STRIDE, kernels_.width * SLAB_STRIDE);
        buffers.point_start[lane + r] = float(centre_.level - half_norm);
        origin[lane + r] = half_norm + centre_.level;
        usable &= half_norm <= HALF_NORM_LIMIT;
      }
      kernels_.transpose_rows(slabs_, buffers.rows, panel, lane);
    }
    float* self = buffers.self + p * kernels_.lanes;
    float* limit = buffers.limit + p * kernels_.lanes;
    kernels_.self_scores(slabs_, panel, buffers.point_start, self);
    for (int lane = 0; lane < kernels_.lanes; ++lane) limit[lane] = std::max(self[lane], float(origin[lane]));
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
                       std::int64_t begin, std::int64_t end) {
  const std::int64_t lanes = num_panels * kernels_.lanes;
  std::fill_n(buffers.max, lanes, -FLT_MAX);
  std::fill_n(buffers.sum, lanes * num_sigmas_, 0.0f);
  std::fill_n(buffers.excess, lanes * num_sigmas_, 0.0f);

  const std::int64_t panel_floats = slabs_.total() * kernels_.lanes;
  const std::int64_t tile_floats = std::int64_t(kernels_.rows) * kernels_.lanes;
  const bool contiguous = samples_.column_stride == 1 && samples_.row_stride == slabs_.columns;
  int count;
  for (std::int64_t first = begin; first < end; first += count) {
    // Full panels, and two even ones at the end instead of a full one and a crumb.
    const std::int64_t left = end - first;
    count = int(left >= 2 * kernels_.rows || left == kernels_.rows ? kernels_.rows
                : left > kernels_.rows                             ? ceil_div(left, 2)
                                                                   : left);
    if (!pack_samples(buffers, first, count)) return refuse(Refused::samples);

    // While this panel is worked on, the next one comes into the second-level cache, spread evenly over the
    // work.
    const char* ahead = reinterpret_cast<const char*>(samples_.data + (first + count) * samples_.row_stride);
    const std::int64_t bytes_ahead = std::min<std::int64_t>(kernels_.rows, samples_.count - first - count) *
                                     slabs_.columns * std::int64_t(sizeof(float));
    const std::int64_t step = contiguous ? ceil_div(bytes_ahead, slabs_.total() * num_panels) : 0;
    if (step == 0) ahead = reinterpret_cast<const char*>(buffers.samples);

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
      kernels_.score(count, num_lanes, buffers.tiles + p * tile_floats, buffers.sample_start, widths_.data(),
                     num_sigmas_, lane_state(buffers, p));
    }
  }
}

// Merge what a chunk gave the points [first, first + count) into partial [num_sigmas][m].
void Call::fold(const Buffers& buffers, std::int64_t first, std::int64_t count, LogSumExp* partial) const {
  const double unit = std::ldexp(1.0, 1 - EXPONENT_RANGE);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t panel = i / kernels_.lanes, lane = i % kernels_.lanes;
    const LaneState state = lane_state(buffers, panel);
    // −½ squared distance to the nearest sample. If that scored as a copy of the point would, it is one.
    const bool copy = state.max[lane] == buffers.self[i];
    const double beyond = copy ? 0.0 : std::min(double(state.max[lane]) - buffers.origin[i], 0.0);
    for (int s = 0; s < num_sigmas_; ++s) {
      const std::int64_t at = std::int64_t(s) * kernels_.lanes + lane;
      LogSumExp& total = partial[s * x_.count + first + i];
      total = log_sum_exp_merge(total, {beyond / (sigmas_[s] * sigmas_[s]),
                                        (double(state.sum[at]) - double(state.excess[at])) / unit});
    }
  }
}

void Call::run_item(Buffers& buffers, std::int64_t item) {
  const std::int64_t block = item / plan_.ranges, range = item % plan_.ranges;
  const std::int64_t first_panel = Plan::part(plan_.panels, plan_.blocks, block);
  const std::int64_t num_panels = Plan::part(plan_.panels, plan_.blocks, block + 1) - first_panel;
  const std::int64_t first = first_panel * kernels_.lanes;
  const std::int64_t count = std::min(num_panels * kernels_.lanes, x_.count - first);
  if (!pack_points(buffers, first_panel, num_panels)) return refuse(Refused::x);
  const std::int64_t end = Plan::part(plan_.chunks, plan_.ranges, range + 1);
  for (std::int64_t chunk = Plan::part(plan_.chunks, plan_.ranges, range); chunk < end; ++chunk) {
    score_chunk(buffers, num_panels, count, chunk * plan_.chunk,
                std::min((chunk + 1) * plan_.chunk, samples_.count));
    if (refused()) return;
    fold(buffers, first, count, partials_.data() + (plan_.ranges > 1 ? chunk : 0) * num_sigmas_ * x_.count);
  }
}

Refused Call::run(float* out, int threads) {
  const std::int64_t items = plan_.blocks * plan_.ranges;
  bool out_of_memory = false;
#pragma omp parallel num_threads(threads) reduction(|| : out_of_memory)
  {
    // An exception may not leave a parallel region.
    static thread_local Workspace workspace;
    try {
      Buffers buffers(workspace, kernels_, slabs_, plan_.panels_per_block, num_sigmas_);
#pragma omp for schedule(dynamic) nowait
      for (std::int64_t item = 0; item < items; ++item) {
        if (!refused()) run_item(buffers, item);
      }
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  }
  if (out_of_memory) throw std::bad_alloc();
  if (refused()) return refused_.load();

  const std::int64_t size = num_sigmas_ * x_.count,
                     sets = std::int64_t(partials_.size()) / std::max<std::int64_t>(size, 1);
  for (std::int64_t i = 0; i < size; ++i) {
    LogSumExp total = partials_[i];
    for (std::int64_t set = 1; set < sets; ++set) total = log_sum_exp_merge(total, partials_[set * size + i]);
    // Where the true value is beyond float32 the largest finite one stands for it.
    out[i] = float(std::max(log_sum_exp_finish(total), double(-FLT_MAX)));
  }
  return Refused::nothing;
}

}  // namespace

Refused parzen_log_sum_exp(const Kernels& kernels, Rows x, Rows samples, std::int64_t d, const double* sigmas,
                           int num_sigmas, float* out, int threads) {
  if (x.count == 0) return Refused::nothing;
  return Call(kernels, x, samples, d, sigmas, num_sigmas, threads).run(out, threads);
}

}  // namespace gancli
