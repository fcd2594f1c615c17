#include "parzen_call.h"

#include <algorithm>
#include <cfloat>
#include <new>

#include "parallel.h"

namespace gancli {
namespace {

// The centre is the mean of this many samples, evenly spread. It only has to be near the data: what the mean of 64 is off
// adds a sixty-fourth to the squared norms, and the mean of all would cost one more pass over memory.
constexpr std::int64_t CENTRE_SAMPLES = 64;
// Largest ½‖row‖²: products of two such rows, and sums of them, stay finite in float32.
constexpr double HALF_NORM_LIMIT = FLT_MAX / 16;

// A score may be off by this share of the largest number in it (measured at d = 784: 8e−8 root mean square), and a result
// by that over σ². Where it could exceed ALLOWED_ERROR, in nats, the nearest sample's distance is computed once more.
constexpr double ROUNDING_OF_SCORE = 2.4e-7;
constexpr double ALLOWED_ERROR = 2e-4;

std::vector<Width> widths_of(const double* sigmas, int num_sigmas) {
  std::vector<Width> widths(num_sigmas);
  for (int s = 0; s < num_sigmas; ++s) {
    // Finite and normal in float32 for every σ: 0·∞ would be NaN where a point meets the nearest sample.
    const double scale = std::clamp(1.4426950408889634 / (sigmas[s] * sigmas[s]), 1e-30, 1e30);
    widths[s] = {float(scale), float(-EXPONENT_RANGE / scale)};
  }
  return widths;
}

}  // namespace

Centre::Centre(const Kernels& kernels, Rows samples, const Slabs& slabs)
    : point(slabs.total(), 0.0f), level(0) {
  const std::int64_t used = std::min(samples.count, CENTRE_SAMPLES);
  const auto row = [&](std::int64_t i) {
    return samples.data + samples.count * i / used * samples.row_stride;
  };
  std::vector<double> sum(slabs.columns, 0.0);
  for (std::int64_t i = 0; i < used; ++i) {
    for (std::int64_t k = 0; k < slabs.columns; ++k) sum[k] += row(i)[k * samples.column_stride];
  }
  for (std::int64_t k = 0; k < slabs.columns; ++k) point[k] = float(sum[k] / double(used));
  std::vector<float> centred(slabs.count * slabs.stride);
  for (std::int64_t i = 0; i < used; ++i) {
    level +=
        0.5 / double(used) *
        kernels.centre_row(slabs, row(i), samples.column_stride, point.data(), centred.data(), slabs.stride);
  }
}

Call::Call(const Problem& problem, const Slabs& slabs, std::int64_t sets)
    : kernels_(problem.kernels),
      x_(problem.x),
      samples_(problem.samples),
      slabs_(slabs),
      centre_(problem.kernels, problem.samples, slabs_),
      sigmas_(problem.sigmas),
      num_sigmas_(problem.num_sigmas),
      smallest_sigma_(num_sigmas_ > 0 ? *std::min_element(sigmas_, sigmas_ + num_sigmas_) : 1.0),
      widths_(widths_of(sigmas_, num_sigmas_)),
      sets_(sets),
      sums_(sets * num_sigmas_ * x_.count, log_sum_exp_empty()),
      nearest_(sets * x_.count, {-INFINITY, 0, 0}) {}

double Call::centre_row(const Rows& rows, std::int64_t i, float* out, std::int64_t slab_distance) const {
  return kernels_.centre_row(slabs_, rows.data + i * rows.row_stride, rows.column_stride,
                             centre_.point.data(), out, slab_distance);
}

bool Call::take_point(Buffers& buffers, std::int64_t lane, double squared_norm) const {
  const double half_norm = 0.5 * squared_norm;
  buffers.origin[lane] = half_norm + centre_.level;
  buffers.limit[lane] = float(buffers.origin[lane]);
  return half_norm <= HALF_NORM_LIMIT;
}

bool Call::take_sample(Buffers& buffers, std::int64_t row, double squared_norm) const {
  const double half_norm = 0.5 * squared_norm;
  buffers.sample_start[row] = float(centre_.level - half_norm);
  return half_norm <= HALF_NORM_LIMIT;
}

LaneState Call::lane_state(const Buffers& buffers, std::int64_t panel) const {
  const std::int64_t lane = panel * kernels_.lanes;
  return {buffers.limit + lane, buffers.max + lane, buffers.nearest + lane, buffers.sum + lane * num_sigmas_,
          buffers.excess + lane * num_sigmas_};
}

void Call::restart(Buffers& buffers, std::int64_t count, std::int64_t lanes) const {
  std::fill_n(buffers.max, count, -FLT_MAX);
  // A score of at most −FLT_MAX beside a maximum of 0 is out of range for every σ.
  std::fill(buffers.max + count, buffers.max + lanes, 0.0f);
  std::fill(buffers.limit + count, buffers.limit + lanes, -FLT_MAX);
  std::fill_n(buffers.sum, lanes * num_sigmas_, 0.0f);
  std::fill_n(buffers.excess, lanes * num_sigmas_, 0.0f);
}

void Call::score(Buffers& buffers, std::int64_t panel, int first, int num_rows, int num_lanes, float* tile,
                 const float* start) const {
  kernels_.score(first, num_rows, num_lanes, tile, start, widths_.data(), num_sigmas_,
                 lane_state(buffers, panel));
}

void Call::fold(const Buffers& buffers, std::int64_t first, std::int64_t count, std::int64_t chunk,
                std::int64_t first_sample) {
  const double unit = std::ldexp(1.0, 1 - EXPONENT_RANGE);
  const std::int64_t set = sets_ > 1 ? chunk : 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t lane = i % kernels_.lanes;
    const LaneState state = lane_state(buffers, i / kernels_.lanes);
    const double exponent = std::min(double(state.max[lane]) - buffers.origin[i], 0.0);
    Nearest& nearest = nearest_[set * x_.count + first + i];
    if (exponent > nearest.exponent) {
      // x·μ = ½‖x‖² + ½‖μ‖² − ½‖x − μ‖², and a near sample is about as long as the point. Near the centre both are
      // short and the product is nothing, but the score holds the level.
      const double product = 2 * (buffers.origin[i] - centre_.level) + exponent;
      const double magnitude = std::max(product, std::abs(double(state.max[lane])));
      nearest = {exponent, magnitude, first_sample + std::int64_t(state.nearest[lane])};
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
  if (nearest.magnitude * ROUNDING_OF_SCORE > ALLOWED_ERROR * smallest_sigma_ * smallest_sigma_) {
    const float* sample = samples_.data + nearest.index * samples_.row_stride;
    for (std::int64_t k = 0; k < slabs_.columns; ++k)
      buffers.sample_row[k] = sample[k * samples_.column_stride];
    std::fill(buffers.sample_row + slabs_.columns, buffers.sample_row + slabs_.total(), 0.0f);
    exponent = -0.5 * kernels_.centre_row(slabs_, x_.data + i * x_.row_stride, x_.column_stride,
                                          buffers.sample_row, buffers.rows, slabs_.stride);
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

Ahead Call::ahead_of(Rows rows, std::int64_t first, std::int64_t count, std::int64_t steps) const {
  const bool contiguous = rows.column_stride == 1 && rows.row_stride == slabs_.columns;
  if (!contiguous || count <= 0) return {reinterpret_cast<const char*>(rows.data), 0};
  const std::int64_t bytes = count * slabs_.columns * std::int64_t(sizeof(float));
  return {reinterpret_cast<const char*>(rows.data + first * rows.row_stride), ceil_div(bytes, steps)};
}

Refused Call::run(float* out, int threads) {
  const std::int64_t num_items = items();
  const BufferSizes sizes = buffer_sizes();
  std::atomic<bool> out_of_memory{false};
#pragma omp parallel num_threads(threads)
  {
    static thread_local Workspace workspace;
    Buffers buffers(kernels_, slabs_, sizes, num_sigmas_);
    if (!buffers.take_from(workspace)) out_of_memory = true;
#pragma omp for schedule(dynamic)
    for (std::int64_t item = 0; item < num_items; ++item) {
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

}  // namespace gancli
