// What every way through the distances shares: the centred data, the running state of the lanes, and the results.
//
// With scores t_ij = x_i·μ_j − ½‖μ_j‖² the exponent −‖x_i − μ_j‖²/(2σ²) is (t_ij − ½‖x_i‖²)/σ², so the nearest sample
// is the one of largest t, and ‖x_i‖² enters once per point at the end, in double. What float32 loses in t is multiplied
// by 1/σ² (100 at σ = 0.1), so it must stay near 1e−6; three things see to that. All data are centred. Half norms count
// from a typical one, the `level`, which leaves small numbers to add to the product. And products are summed in pieces.
//
// Why the bits do not depend on the number of threads: a lane never mixes with another, chunks are cut by the number of
// samples alone, and their results are merged in order, whoever computed them.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../log_sum_exp.h"
#include "kernels.h"
#include "parzen.h"
#include "parzen_buffers.h"

namespace gancli {

// What is asked for.
struct Problem {
  const Kernels& kernels;
  Rows x, samples;
  std::int64_t d;
  const double* sigmas;  // [num_sigmas]
  int num_sigmas;
};

// Where the data lie, from a few samples.
struct Centre {
  std::vector<float> point;  // [slabs.total()] their mean, padded with zeros
  double level;              // the mean of ½‖sample − point‖²

  Centre(const Kernels& kernels, Rows samples, const Slabs& slabs);
};

// The sample that a point scores highest with.
struct Nearest {
  double exponent;     // −½ squared distance
  double magnitude;    // of the largest number in its score, roughly: what rounding goes with
  std::int64_t index;  // among all samples
};

// What to read ahead while a tile is worked on: `step` bytes from `data` on in each step of the work.
struct Ahead {
  const char* data;
  std::int64_t step;
};

// One call: everything that its threads share. A way through the distances says what its work items are and hands the
// running log-sum-exp of each chunk of samples to fold().
class Call {
 public:
  // sets: results kept apart: one per chunk where samples are split among threads, else one
  Call(const Problem& problem, const Slabs& slabs, std::int64_t sets);
  virtual ~Call() = default;
  Call(const Call&) = delete;

  Refused run(float* out, int threads);

 protected:
  virtual std::int64_t items() const = 0;
  virtual BufferSizes buffer_sizes() const = 0;
  virtual void run_item(Buffers& buffers, std::int64_t item) = 0;

  // Copy row i, centred, to its place in a row panel. Returns ‖row − centre‖².
  double centre_row(const Rows& rows, std::int64_t i, float* out, std::int64_t slab_distance) const;
  // Keep what the scores of a point or a sample need beside its products. Returns whether the row may be used.
  bool take_point(Buffers& buffers, std::int64_t lane, double squared_norm) const;
  bool take_sample(Buffers& buffers, std::int64_t row, double squared_norm) const;
  // Fold a tile of scores into the running log-sum-exp of a lane panel (Kernels::score).
  void score(Buffers& buffers, std::int64_t panel, int first, int num_rows, int num_lanes, float* tile,
             const float* start) const;
  // Begin a chunk: nothing is summed in any of `lanes` lanes. Those from `count` on hold no point, and no score counts there.
  void restart(Buffers& buffers, std::int64_t count, std::int64_t lanes) const;
  // Merge what a chunk gave the points [first, first + count) into their results.
  void fold(const Buffers& buffers, std::int64_t first, std::int64_t count, std::int64_t chunk,
            std::int64_t first_sample);
  // Where to read ahead so that rows [first, first + count) are there after `steps` steps.
  Ahead ahead_of(Rows rows, std::int64_t first, std::int64_t count, std::int64_t steps) const;
  void refuse(Refused what) { refused_.store(what, std::memory_order_relaxed); }
  bool refused() const { return refused_.load(std::memory_order_relaxed) != Refused::nothing; }

  const Kernels& kernels_;
  const Rows x_, samples_;
  const Slabs slabs_;
  const Centre centre_;

 private:
  LaneState lane_state(const Buffers& buffers, std::int64_t panel) const;
  void finish_point(Buffers& buffers, std::int64_t i, float* out) const;

  const double* const sigmas_;  // [num_sigmas]
  const int num_sigmas_;
  const double smallest_sigma_;
  const std::vector<Width> widths_;  // [num_sigmas]
  const std::int64_t sets_;
  std::vector<LogSumExp> sums_;   // [sets][num_sigmas][m]
  std::vector<Nearest> nearest_;  // [sets][m]
  std::atomic<Refused> refused_{Refused::nothing};
};

}  // namespace gancli
