// The Parzen log-sum-exp where one side has few rows: those are `kept`, the other side's `streamed`. From the outside in:
//
//   work items   few points: ranges of chunks of samples; few samples: ranges of lane panels of points
//     kept rows  centred once per item; they stay in the second-level cache
//     streamed   STREAMED rows at a time; each is read once, from where the caller has it
//       slabs    of the inner dimension
//         kept   a group at a time; with the first group, the streamed rows are centred into the first-level cache
//     scores     once a tile of them is full, the same running log-sum-exp as ever (kernels.h)
#include "parzen_narrow.h"

#include <algorithm>

#include "parallel.h"
#include "parzen_call.h"
#include "parzen_plan.h"

namespace gancli {
namespace {

// Samples whose scores are folded at a time: about as many as a tile of AVX-512 has, since what a fold costs per σ and lane
// is shared by them, and few enough that their terms need no compensated sum.
constexpr std::int64_t TILE_SAMPLES = 16;
static_assert(TILE_SAMPLES % STREAMED == 0, "streamed samples do not straddle two tiles");

// What both ways share: the short side, the long side, and their products.
class Narrow : public Call {
 protected:
  // Where the products of a group of streamed rows go: those with kept row q begin at
  // tiles + (q / lanes)·panel_step + (q % lanes)·kept_step.
  struct Target {
    float* tiles;
    std::int64_t streamed_step, kept_step, panel_step;
  };

  Narrow(const Problem& problem, Rows kept, Rows streamed, std::int64_t sets)
      : Call(problem, Slabs(problem.d, problem.kernels.dot_slab), sets), kept_(kept), streamed_(streamed) {}

  std::int64_t streamed_floats() const { return std::int64_t(slabs_.count) * STREAMED * slabs_.stride; }
  std::int64_t group_floats() const { return std::int64_t(slabs_.count) * kernels_.kept * slabs_.stride; }
  std::int64_t kept_floats() const { return ceil_div(kept_.count, kernels_.kept) * group_floats(); }

  // Centre kept row q into [group][slab][kept][stride]. Returns its squared norm.
  double pack_kept(float* kept, std::int64_t q) const {
    float* out = kept + q / kernels_.kept * group_floats() + q % kernels_.kept * slabs_.stride;
    return centre_row(kept_, q, out, std::int64_t(kernels_.kept) * slabs_.stride);
  }

  void multiply(std::int64_t first, std::int64_t count, float* streamed, const float* kept, float* gathered,
                Target target, double* squares) const;

  const Rows kept_, streamed_;

 private:
  RawRows raw_rows(std::int64_t first, std::int64_t count, float* gathered) const;
};

// Rows [first, first + count) as dot_rows reads them: in place where it may read STREAMED rows of neighbouring columns there,
// else from a copy in which the last row stands for those that are missing.
RawRows Narrow::raw_rows(std::int64_t first, std::int64_t count, float* gathered) const {
  const float* rows = streamed_.data + first * streamed_.row_stride;
  if (streamed_.column_stride == 1 && count == STREAMED) {
    return {rows, streamed_.row_stride, 0, nullptr};
  }
  for (std::int64_t r = 0; r < STREAMED; ++r) {
    const float* row = rows + std::min(r, count - 1) * streamed_.row_stride;
    for (std::int64_t k = 0; k < slabs_.columns; ++k)
      gathered[r * slabs_.total() + k] = row[k * streamed_.column_stride];
  }
  return {gathered, slabs_.total(), 0, nullptr};
}

// Scalar products of streamed rows [first, first + count), count ≤ STREAMED, with all kept ones; and their squared norms.
//   streamed [streamed_floats()], gathered [STREAMED][slabs.total()]: room to work in;  squares [STREAMED]
void Narrow::multiply(std::int64_t first, std::int64_t count, float* streamed, const float* kept,
                      float* gathered, Target target, double* squares) const {
  std::fill_n(squares, STREAMED, 0.0);
  RawRows raw = raw_rows(first, count, gathered);
  raw.centre = centre_.point.data();
  // While these rows are worked on, the next ones come into the second-level cache, spread evenly over the work.
  const std::int64_t next = first + count, vectors = slabs_.total() / kernels_.width;
  const Ahead ahead = ahead_of(streamed_, next, std::min<std::int64_t>(STREAMED, streamed_.count - next),
                               vectors * ceil_div(kept_.count, kernels_.kept));
  DotRows task{};
  task.prefetch = ahead.data;
  task.prefetch_step = ahead.step;
  task.streamed_step = target.streamed_step;
  task.kept_step = target.kept_step;
  std::int64_t column = 0;
  for (int slab = 0; slab < slabs_.count; ++slab) {
    task.depth = slabs_.padded(slab);
    task.streamed = streamed + std::int64_t(slab) * STREAMED * slabs_.stride;
    task.kept = kept + std::int64_t(slab) * kernels_.kept * slabs_.stride;
    task.fresh = slab == 0;
    raw.columns = slabs_.valid(column, slab);
    for (std::int64_t q = 0; q < kept_.count; q += kernels_.kept) {
      task.num_kept = int(std::min<std::int64_t>(kernels_.kept, kept_.count - q));
      task.out =
          target.tiles + q / kernels_.lanes * target.panel_step + q % kernels_.lanes * target.kept_step;
      kernels_.dot_rows(task, q == 0 ? &raw : nullptr);
      task.kept += group_floats();
      task.prefetch += task.depth / kernels_.width * task.prefetch_step;
    }
    for (std::int64_t r = 0; r < count; ++r)
      squares[r] += kernels_.squared_norm(task.streamed + r * slabs_.stride, task.depth);
    raw.rows += task.depth;
    raw.centre += task.depth;
    column += task.depth;
  }
}

// The points are kept, and the samples streamed.
class FewPoints : public Narrow {
 public:
  FewPoints(const Problem& problem, std::int64_t chunk, std::int64_t ranges)
      : Narrow(problem, problem.x, problem.samples, ranges > 1 ? ceil_div(problem.samples.count, chunk) : 1),
        panels_(ceil_div(x_.count, kernels_.lanes)),
        chunk_(chunk),
        chunks_(ceil_div(samples_.count, chunk)),
        ranges_(ranges) {}

 private:
  std::int64_t items() const override { return ranges_; }
  BufferSizes buffer_sizes() const override {
    return {kept_floats(), streamed_floats(), panels_ * tile_floats(), TILE_SAMPLES,
            panels_ * kernels_.lanes};
  }
  void run_item(Buffers& buffers, std::int64_t item) override;
  void score_chunk(Buffers& buffers, std::int64_t begin, std::int64_t end);
  std::int64_t tile_floats() const { return TILE_SAMPLES * kernels_.lanes; }

  const std::int64_t panels_, chunk_, chunks_, ranges_;
};

void FewPoints::run_item(Buffers& buffers, std::int64_t item) {
  bool usable = true;
  for (std::int64_t i = 0; i < x_.count; ++i) usable &= take_point(buffers, i, pack_kept(buffers.points, i));
  if (!usable) return refuse(Refused::x);
  const std::int64_t last = part(chunks_, ranges_, item + 1);
  for (std::int64_t chunk = part(chunks_, ranges_, item); chunk < last; ++chunk) {
    score_chunk(buffers, chunk * chunk_, std::min((chunk + 1) * chunk_, samples_.count));
    if (refused()) return;
    fold(buffers, 0, x_.count, chunk, chunk * chunk_);
  }
}

void FewPoints::score_chunk(Buffers& buffers, std::int64_t begin, std::int64_t end) {
  restart(buffers, x_.count, panels_ * kernels_.lanes);
  for (std::int64_t first = begin; first < end; first += TILE_SAMPLES) {
    const std::int64_t count = std::min(TILE_SAMPLES, end - first);
    for (std::int64_t row = 0; row < count; row += STREAMED) {
      const std::int64_t rows = std::min<std::int64_t>(STREAMED, count - row);
      const Target target{buffers.tiles + row * kernels_.lanes, kernels_.lanes, 1, tile_floats()};
      double squares[STREAMED];
      multiply(first + row, rows, buffers.samples, buffers.points, buffers.rows, target, squares);
      bool usable = true;
      for (std::int64_t r = 0; r < rows; ++r) usable &= take_sample(buffers, row + r, squares[r]);
      if (!usable) return refuse(Refused::samples);
    }
    for (std::int64_t p = 0; p < panels_; ++p) {
      const std::int64_t lanes = std::min<std::int64_t>(kernels_.lanes, x_.count - p * kernels_.lanes);
      score(buffers, p, int(first - begin), int(count), int(lanes), buffers.tiles + p * tile_floats(),
            buffers.sample_start);
    }
  }
}

// The samples are kept, and the points streamed.
class FewSamples : public Narrow {
 public:
  FewSamples(const Problem& problem, int threads)
      : Narrow(problem, problem.samples, problem.x, 1),
        panels_(ceil_div(x_.count, kernels_.lanes)),
        items_(std::min(panels_, ITEMS_PER_THREAD * threads)) {}

 private:
  std::int64_t items() const override { return items_; }
  BufferSizes buffer_sizes() const override {
    return {streamed_floats(), kept_floats(), samples_.count * kernels_.lanes, samples_.count,
            kernels_.lanes};
  }
  void run_item(Buffers& buffers, std::int64_t item) override;
  void score_panel(Buffers& buffers, std::int64_t first, std::int64_t count);

  const std::int64_t panels_, items_;
};

void FewSamples::run_item(Buffers& buffers, std::int64_t item) {
  bool usable = true;
  for (std::int64_t j = 0; j < samples_.count; ++j)
    usable &= take_sample(buffers, j, pack_kept(buffers.samples, j));
  if (!usable) return refuse(Refused::samples);
  const std::int64_t last = part(panels_, items_, item + 1);
  for (std::int64_t panel = part(panels_, items_, item); panel < last && !refused(); ++panel) {
    const std::int64_t first = panel * kernels_.lanes;
    score_panel(buffers, first, std::min<std::int64_t>(kernels_.lanes, x_.count - first));
  }
}

void FewSamples::score_panel(Buffers& buffers, std::int64_t first, std::int64_t count) {
  for (std::int64_t lane = 0; lane < count; lane += STREAMED) {
    const std::int64_t rows = std::min<std::int64_t>(STREAMED, count - lane);
    const Target target{buffers.tiles + lane, 1, kernels_.lanes,
                        std::int64_t(kernels_.lanes) * kernels_.lanes};
    double squares[STREAMED];
    multiply(first + lane, rows, buffers.points, buffers.samples, buffers.rows, target, squares);
    bool usable = true;
    for (std::int64_t r = 0; r < rows; ++r) usable &= take_point(buffers, lane + r, squares[r]);
    if (!usable) return refuse(Refused::x);
  }
  restart(buffers, count, kernels_.lanes);
  for (std::int64_t row = 0; row < samples_.count; row += TILE_SAMPLES) {
    score(buffers, 0, int(row), int(std::min(TILE_SAMPLES, samples_.count - row)), int(count),
          buffers.tiles + row * kernels_.lanes, buffers.sample_start + row);
  }
  fold(buffers, first, count, 0, 0);
}

}  // namespace

Refused narrow_log_sum_exp(const Problem& problem, float* out, int threads) {
  if (problem.samples.count <= problem.x.count) return FewSamples(problem, threads).run(out, threads);
  const std::int64_t chunk = chunk_of(problem.samples.count, TILE_SAMPLES);
  const std::int64_t ranges = std::min(ceil_div(problem.samples.count, chunk), ITEMS_PER_THREAD * threads);
  return FewPoints(problem, chunk, ranges).run(out, threads);
}

}  // namespace gancli
