// The Parzen log-sum-exp on a GPU. In the order of a call:
//
//   parzen_centre.h    mean_columns, half_norms: the centre of the data and a typical half norm, the `level`, from a few
//                      samples
//   for each chunk of points:
//     pack.h           pack_rows: centre, half norms, refusals; rows in the form that the product reads (product.h)
//     for each chunk of samples:
//       pack.h         likewise
//       parzen_score.h score_tiles: the products, and in their epilogue a running maximum and a running sum per σ
//       parzen_join.h  combine_parts: the splits of this chunk join what earlier chunks gave
//     parzen_join.h    finish_points: the nearest sample once more, exactly; the logarithm
//
// With scores t_ij = x_i·μ_j − ½‖μ_j‖² + level the exponent −‖x_i − μ_j‖²/(2σ²) is (t_ij − ½‖x_i‖² − level)/σ², so that
// the nearest sample has the largest t. What float32 loses in t is multiplied by 1/σ², 100 at σ = 0.1. Terms count from
// the largest score so far, `top`: it is subtracted from the unrounded product, so that a score near it, and
// only those matter, keeps its digits. The nearest sample of a point is looked at once more in the end.
#include <algorithm>

#include "pack.h"
#include "parzen.h"
#include "parzen_centre.h"
#include "parzen_join.h"
#include "parzen_plan.h"
#include "parzen_score.h"

namespace gancli::cuda {
namespace {

constexpr double LOG2_E = 1.4426950408889634;
constexpr int WARPS = tiles::THREADS / 32;

Widths widths_of(const double* sigmas, int count) {
  Widths widths{count, {}};
  for (int s = 0; s < count; ++s) {
    // Finite and normal in float32 for every σ.
    widths.factor[s] = float(std::clamp(LOG2_E / (sigmas[s] * sigmas[s]), 1e-30, 1e30));
  }
  return widths;
}

// Where everything lies in the workspace.
struct Memory {
  float* centre;
  double* centre_half_norms;
  unsigned char *points, *samples;
  float *point_scale, *sample_scale, *sample_start;
  double* half_norm;
  double* running;
  Nearest* nearest;
  Parts parts;
  Totals totals[2];
  std::int64_t bytes;

  Memory(const Plan& plan, std::int64_t d, void* workspace) {
    Arena arena(workspace);
    centre = arena.take<float>(d);
    centre_half_norms = arena.take<double>(CENTRE_SAMPLES);
    points = arena.take<unsigned char>(plan.points * plan.row_bytes);
    samples = arena.take<unsigned char>(plan.samples * plan.row_bytes);
    point_scale = arena.take<float>(plan.padded_points());
    sample_scale = arena.take<float>(plan.padded_samples());
    sample_start = arena.take<float>(plan.padded_samples());
    half_norm = arena.take<double>(plan.padded_points());
    running = arena.take<double>(plan.slots * plan.sigmas * tiles::THREADS);
    const std::int64_t parts_points = plan.parts() * plan.points;
    nearest = arena.take<Nearest>(plan.slots * tiles::THREADS);
    parts = {arena.take<float>(parts_points), arena.take<Nearest>(parts_points),
             arena.take<float>(parts_points * plan.sigmas)};
    for (Totals& total : totals)
      total = {arena.take<float>(plan.points), arena.take<float>(plan.points),
               arena.take<std::int64_t>(plan.points), arena.take<double>(plan.points * plan.sigmas)};
    bytes = arena.used();
  }
};

template <Product product>
std::int64_t slots(int device) {
  return gpu::blocks_at_once("score_tiles", score_tiles<product>, tiles::THREADS, tiles::SHARED_BYTES,
                             device);
}

template <Product product>
class Call {
 public:
  Call(Rows x, Rows samples, std::int64_t d, const std::vector<double>& sigmas, float* out,
       std::int64_t* refused, void* workspace, Queue queue)
      : x_(x),
        samples_(samples),
        d_(d),
        sigmas_(sigmas),
        out_(out),
        refused_(refused),
        queue_(queue),
        plan_(x.count, samples.count, d, int(sigmas.size()), slots<product>(queue.device)),
        memory_(plan_, d, workspace) {}

  void run() {
    find_centre();
    for (std::size_t first = 0; first < sigmas_.size(); first += std::size_t(plan_.sigmas)) {
      const int count = int(std::min(sigmas_.size() - first, std::size_t(plan_.sigmas)));
      for (std::int64_t point = 0; point < x_.count; point += plan_.points)
        score_points(point, std::min(plan_.points, x_.count - point), int(first), count);
    }
  }

 private:
  static constexpr int THREADS = 256;

  void find_centre() {
    gpu::launch("mean_columns", mean_columns,
                {std::min<std::int64_t>(tiles::ceil_div(d_, THREADS), 1024), THREADS}, queue_, samples_, d_,
                memory_.centre);
    gpu::launch("half_norms", half_norms, {CENTRE_SAMPLES / WARPS, THREADS}, queue_, samples_, d_,
                memory_.centre, memory_.centre_half_norms);
  }

  // Rows first … first + count of x or of the samples; what is wanted of their norms, the caller adds.
  Packing packing_of(Rows rows, std::int64_t first, std::int64_t count, unsigned char* packed, float* scale,
                     std::int64_t* refused) const {
    Packing packing{};
    packing.rows = rows;
    packing.first = first;
    packing.count = count;
    packing.capacity = tiles::round_up(count, tiles::ROWS);
    packing.d = d_;
    packing.steps = plan_.steps;
    packing.centre = memory_.centre;
    packing.centre_half_norms = memory_.centre_half_norms;
    packing.centre_samples = centre_samples(samples_.count);
    packing.packed = packed;
    packing.scale = scale;
    packing.refused = refused;
    return packing;
  }

  void pack(const Packing& packing) {
    gpu::launch("pack_rows", pack_rows<product>,
                {std::min<std::int64_t>(tiles::ceil_div(packing.capacity, WARPS), 4096), THREADS}, queue_,
                packing);
  }

  void score_points(std::int64_t first, std::int64_t points, int first_sigma, int num_sigmas) {
    Packing packing = packing_of(x_, first, points, memory_.points, memory_.point_scale, refused_);
    packing.half_norm = memory_.half_norm;
    pack(packing);
    const Widths widths = widths_of(sigmas_.data() + first_sigma, num_sigmas);
    int turn = 0;
    for (std::int64_t sample = 0; sample < samples_.count; sample += plan_.samples, turn ^= 1)
      score_chunk(points, sample, std::min(plan_.samples, samples_.count - sample), widths, turn);

    Finishing finishing{x_,
                        samples_,
                        d_,
                        first,
                        points,
                        memory_.half_norm,
                        memory_.totals[turn],
                        widths,
                        {},
                        out_ + std::int64_t(first_sigma) * x_.count};
    std::copy_n(sigmas_.data() + first_sigma, num_sigmas, finishing.sigma);
    gpu::launch("finish_points", finish_points, {tiles::ceil_div(points, WARPS), THREADS}, queue_, finishing);
  }

  void score_chunk(std::int64_t points, std::int64_t first, std::int64_t count, const Widths& widths,
                   int turn) {
    if (packed_samples_ != first) {
      Packing packing =
          packing_of(samples_, first, count, memory_.samples, memory_.sample_scale, refused_ + 1);
      packing.start = memory_.sample_start;
      pack(packing);
      packed_samples_ = first;
    }
    Scoring scoring{{memory_.points, int(points)},
                    {memory_.samples, int(count)},
                    std::uint32_t(plan_.row_bytes),
                    int(plan_.steps),
                    memory_.point_scale,
                    memory_.sample_scale,
                    memory_.sample_start,
                    plan_.items(points, count),
                    widths,
                    *std::max_element(widths.factor, widths.factor + widths.count),
                    memory_.running,
                    memory_.nearest,
                    memory_.parts};
    gpu::launch(
        "score_tiles", score_tiles<product>,
        {std::min<std::int64_t>(scoring.items.count(), plan_.slots), tiles::THREADS, tiles::SHARED_BYTES},
        queue_, scoring);
    const int parts = int(scoring.items.splits) * tiles::WARP_COLUMNS;
    Combining combining{
        memory_.parts,           parts, points, first, first == 0, widths, memory_.totals[turn],
        memory_.totals[turn ^ 1]};
    gpu::launch("combine_parts", combine_parts, {tiles::ceil_div(points * widths.count, THREADS), THREADS},
                queue_, combining);
  }

  const Rows x_, samples_;
  const std::int64_t d_;
  const std::vector<double>& sigmas_;
  float* const out_;
  std::int64_t* const refused_;
  const Queue queue_;
  const Plan plan_;
  const Memory memory_;
  std::int64_t packed_samples_ = -1;  // the first of the chunk that is packed now
};

}  // namespace

std::int64_t parzen_workspace_bytes(Product product, std::int64_t m, std::int64_t n, std::int64_t d,
                                    int num_sigmas, int device) {
  const std::int64_t at_once =
      product == Product::split_half ? slots<Product::split_half>(device) : slots<Product::float32>(device);
  return Memory(Plan(m, n, d, num_sigmas, at_once), d, nullptr).bytes;
}

void parzen_log_sum_exp(Product product, Rows x, Rows samples, std::int64_t d,
                        const std::vector<double>& sigmas, float* out, std::int64_t* refused, void* workspace,
                        Queue queue) {
  if (x.count == 0 || sigmas.empty()) return;
  if (product == Product::split_half) {
    Call<Product::split_half>(x, samples, d, sigmas, out, refused, workspace, queue).run();
  } else {
    Call<Product::float32>(x, samples, d, sigmas, out, refused, workspace, queue).run();
  }
}

}  // namespace gancli::cuda
