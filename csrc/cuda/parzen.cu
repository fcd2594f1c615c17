// The Parzen log-sum-exp on a GPU. In the order of a call:
//
//   mean_columns, half_norms   the centre of the data and a typical half norm, the `level`, from a few samples
//   for each chunk of points:
//     pack_rows        centre, half norms, refusals; rows in the form that the product reads (product.h)
//     for each chunk of samples:
//       pack_rows      likewise
//       score_tiles    the products, and in their epilogue a running maximum and a running sum per σ
//       combine_parts  the splits of this chunk join what earlier chunks gave
//     finish_points    the nearest sample once more, exactly; the logarithm
//
// With scores t_ij = x_i·μ_j − ½‖μ_j‖² + level the exponent −‖x_i − μ_j‖²/(2σ²) is (t_ij − ½‖x_i‖² − level)/σ², so that
// the nearest sample has the largest t. What float32 loses in t is multiplied by 1/σ², 100 at σ = 0.1. Terms count from
// the largest score so far, `top`: it is subtracted from the unrounded product, so that a score near it, and
// only those matter, keeps its digits. The nearest sample of a point is looked at once more in the end.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "pack.h"
#include "parzen.h"
#include "parzen_plan.h"
#include "product.h"

namespace gancli::cuda {
namespace {

using tiles::Place;
using tiles::ROWS_PER_LANE;

constexpr double LOG2_E = 1.4426950408889634;
// Terms smaller than 2^−EXPONENT_RANGE of the largest are left out: 2^31 of them would still vanish in float32.
constexpr float EXPONENT_RANGE = 64;
// A rounded score may lie above the one it counts from. For a σ so small that this alone would overflow, it is cut here.
constexpr float MOST_EXPONENT = 16;

constexpr int WARPS = tiles::THREADS / 32;

// ---- the centre --------------------------------------------------------------------------------------------

// The i-th of the samples that give the centre.
__device__ __forceinline__ const float* centre_sample(Rows samples, int used, int i) {
  return samples.data + samples.count * i / used * samples.row_stride;
}
GANCLI_INDEX int centre_samples(std::int64_t count) {
  return count < CENTRE_SAMPLES ? int(count) : CENTRE_SAMPLES;
}

__global__ void mean_columns(Rows samples, std::int64_t d, float* centre) {
  const int used = centre_samples(samples.count);
  for (std::int64_t k = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; k < d;
       k += std::int64_t(gridDim.x) * blockDim.x) {
    double sum = 0;
    for (int i = 0; i < used; ++i) sum += double(centre_sample(samples, used, i)[k * samples.column_stride]);
    centre[k] = float(sum / used);
  }
}

// half_norms[i] = ½‖centre sample i‖², a warp each.
__global__ void half_norms(Rows samples, std::int64_t d, const float* centre, double* half_norms) {
  const int used = centre_samples(samples.count), lane = int(threadIdx.x % 32);
  const int i = int(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (i >= used) return;
  const float* row = centre_sample(samples, used, i);
  double sum = 0;
  for (std::int64_t k = lane; k < d; k += 32) {
    const double value = centred(row, samples.column_stride, centre, k);
    sum += value * value;
  }
  sum = sum_over_warp(sum);
  if (lane == 0) half_norms[i] = 0.5 * sum;
}

// ---- scoring -----------------------------------------------------------------------------------------------

// Factors log₂e/σ² of a pass: the exponent of 2 per unit of score.
struct Widths {
  int count;
  float factor[MAX_SIGMAS_PER_PASS];
};

// The sample that has the largest rounded score.
struct Nearest {
  std::int32_t number;  // within the chunk
  float score;          // counted from the rounded one: what rounding took
};

// What parts hand over, each [parts][points] (sums [parts][count of σ][points]).
struct Parts {
  float* top;  // largest rounded score
  Nearest* nearest;
  float* sum;  // Σ 2^((t − top)·factor)
};

struct Scoring {
  PackedRows points, samples;
  std::uint32_t row_bytes;
  int steps;
  const float* point_scale;
  const float* sample_scale;
  const float* sample_start;
  Items items;
  Widths widths;
  float largest_factor;
  // What threads keep of their own row beside the largest score, in device memory for want of registers: running sums
  // [blocks][count of σ][threads] and the nearest sample [blocks][threads].
  double* running;
  Nearest* nearest;
  Parts parts;
};

// A product x·μ becomes a score: the rounded one says where the top is; counted from the top, it keeps its digits. The sum
// stands alone, never fused with the product's scaling, so that the same product gives the same score wherever it is asked.
__device__ __forceinline__ float rounded_score(float product, float start) {
  return __fadd_rn(product, start);
}
__device__ __forceinline__ float score_from(float top, float product, float start) {
  return (product - top) + start;
}

// Where a tile has a new nearest sample for some row of this warp: which, and its score from the top. `start` is that of
// the lane's first column.
__device__ __forceinline__ void find_nearest(const Sums& products, const float* start,
                                             const float (&tile_top)[ROWS_PER_LANE], const Place& place,
                                             int first_column, float own_top, Nearest* nearest) {
#pragma unroll
  for (int r = 0; r < ROWS_PER_LANE; ++r) {
    std::int32_t column = INT32_MAX;
    float score = 0;
#pragma unroll
    for (int ni = 0; ni < 8; ++ni) {
      const float2 starts = gpu::read_pair(start + 8 * ni);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float product = products[r / 2][ni][2 * (r % 2) + e];
        const float own_start = e ? starts.y : starts.x;
        if (rounded_score(product, own_start) == tile_top[r] && column == INT32_MAX) {
          column = first_column + 8 * ni + e;
          score = score_from(tile_top[r], product, own_start);
        }
      }
    }
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2) {
      const std::int32_t other = __shfl_xor_sync(gpu::ALL_LANES, column, apart);
      const float other_score = __shfl_xor_sync(gpu::ALL_LANES, score, apart);
      if (other < column) {
        column = other;
        score = other_score;
      }
    }
    if (r == place.member && tile_top[r] > own_top && column < INT32_MAX) *nearest = {column, score};
  }
}

// Fold a finished tile of products into the running maximum and sums of its rows.
__device__ __forceinline__ void fold_tile(Sums& sums, const Scoring& p, const Place& place, int row_tile,
                                          int column_tile, bool first_tile, double* running, Nearest* nearest,
                                          float& own_top) {
  const int first_column = column_tile * tiles::COLUMNS + tiles::column_of(place, 0);
  const float* start = p.sample_start + first_column;
  float tile_top[ROWS_PER_LANE], point_scale[ROWS_PER_LANE];
#pragma unroll
  for (int r = 0; r < ROWS_PER_LANE; ++r) {
    point_scale[r] = p.point_scale[row_tile * tiles::ROWS + tiles::row_of(place, r)];
    tile_top[r] = -INFINITY;
  }
#pragma unroll
  for (int ni = 0; ni < 8; ++ni) {
    const float2 scales = gpu::read_pair(p.sample_scale + first_column + 8 * ni);
    const float2 starts = gpu::read_pair(start + 8 * ni);
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& sum = sums[r / 2][ni][2 * (r % 2) + e];
        sum = sum * point_scale[r] * (e ? scales.y : scales.x);  // powers of two: exact
        tile_top[r] = fmaxf(tile_top[r], rounded_score(sum, e ? starts.y : starts.x));
      }
    }
    __syncwarp();  // all reads at once would take more registers than there are
  }
  float top[ROWS_PER_LANE];
  bool rises = false;
  float highest = -INFINITY;  // of any row in this tile, counted from that row's top
#pragma unroll
  for (int r = 0; r < ROWS_PER_LANE; ++r) {
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2)
      tile_top[r] = fmaxf(tile_top[r], __shfl_xor_sync(gpu::ALL_LANES, tile_top[r], apart));
    top[r] = __shfl_sync(gpu::ALL_LANES, own_top, (place.lane & ~3) | r);
    rises |= tile_top[r] > top[r];
    top[r] = fmaxf(top[r], tile_top[r]);
    highest = fmaxf(highest, tile_top[r] - top[r]);
  }
  rises = __any_sync(gpu::ALL_LANES, rises);
  const float old_top = own_top;
  if (rises) {
    find_nearest(sums, start, tile_top, place, first_column, own_top, nearest);
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) own_top = r == place.member ? top[r] : own_top;
  }
  const float most = MOST_EXPONENT / p.largest_factor;
#pragma unroll
  for (int ni = 0; ni < 8; ++ni) {
    const float2 starts = gpu::read_pair(start + 8 * ni);
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& sum = sums[r / 2][ni][2 * (r % 2) + e];
        sum = fminf(score_from(top[r], sum, e ? starts.y : starts.x), most);
      }
    }
    __syncwarp();
  }
  const bool upper = place.member & 2, odd = place.member & 1;
#pragma unroll 1
  for (int s = 0; s < p.widths.count; ++s) {
    const float factor = p.widths.factor[s];
    // Nothing of this tile counts for any row of the warp: the usual case where σ is small.
    if (!__any_sync(gpu::ALL_LANES, first_tile || rises || highest * factor >= -EXPONENT_RANGE)) continue;
    float row_sum[ROWS_PER_LANE];
#pragma unroll
    for (int r = 0; r < ROWS_PER_LANE; ++r) {
      row_sum[r] = 0;
#pragma unroll
      for (int ni = 0; ni < 8; ++ni) {
#pragma unroll
        for (int e = 0; e < 2; ++e) row_sum[r] += gpu::exp2_fast(sums[r / 2][ni][2 * (r % 2) + e] * factor);
      }
    }
    // Each member ends with the sum of its own row, r = member.
    float half[2];
#pragma unroll
    for (int r = 0; r < 2; ++r)
      half[r] = (upper ? row_sum[2 + r] : row_sum[r]) +
                __shfl_xor_sync(gpu::ALL_LANES, upper ? row_sum[r] : row_sum[2 + r], 2);
    const float own_sum =
        (odd ? half[1] : half[0]) + __shfl_xor_sync(gpu::ALL_LANES, odd ? half[0] : half[1], 1);
    double& total = running[std::int64_t(s) * tiles::THREADS];
    const double before = first_tile ? 0.0 : total * double(gpu::exp2_fast((old_top - own_top) * factor));
    total = before + double(own_sum);
  }
}

__device__ __forceinline__ void hand_over(const Scoring& p, const Place& place, const Items::Item& item,
                                          const double* running, const Nearest* nearest, float own_top) {
  const std::int64_t row = std::int64_t(item.row_tile) * tiles::ROWS + tiles::own_row(place);
  if (row >= p.points.count) return;
  const std::int64_t part = std::int64_t(item.split) * tiles::WARP_COLUMNS + place.warp_column;
  const std::int64_t at = part * p.points.count + row;
  p.parts.top[at] = own_top;
  p.parts.nearest[at] = *nearest;
  for (int s = 0; s < p.widths.count; ++s)
    p.parts.sum[(part * p.widths.count + s) * p.points.count + row] =
        float(running[std::int64_t(s) * tiles::THREADS]);
}

__device__ __forceinline__ double* running_of(const Scoring& p, int thread) {
  return p.running + std::int64_t(blockIdx.x) * p.widths.count * tiles::THREADS + thread;
}

__device__ __forceinline__ Nearest* nearest_of(const Scoring& p, int thread) {
  return p.nearest + std::int64_t(blockIdx.x) * tiles::THREADS + thread;
}

// Two blocks on a processor, so that one multiplies while the other takes exponentials; only the shared memory of compute
// capability 9 holds two, and plain float32 needs the registers of both.
__host__ __device__ constexpr int blocks_per_processor(Product product) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return 1 + 0 * int(product);
#else
  return product == Product::split_half ? 2 : 1;
#endif
}

// Blocks stay and take one item after another.
template <Product product>
__global__ void __launch_bounds__(tiles::THREADS, blocks_per_processor(product))
    score_tiles(const __grid_constant__ Scoring p) {
  const std::uint32_t shared = gpu::shared_memory();
  const Multiplier<product> multiplier(tiles::place_of(gpu::thread_number()));
  __shared__ Items::Item item;  // the same for all threads: not in registers, which are scarce

  for (int number = int(blockIdx.x); number < p.items.count(); number += int(gridDim.x)) {
    if (gpu::thread_number() == 0) item = p.items.at(number);
    __syncthreads();
    float own_top = -FLT_MAX;
    *nearest_of(p, gpu::thread_number()) = {0, 0};
    Sums sums;
    clear(sums);

    // Steps of all tiles of the item in one row, so that copies run ahead across tiles, below the epilogue.
    int copied_tile = item.first, copied_step = 0;
    const auto copy_next = [&](int stage) {
      if (copied_tile < item.last) {
        copy_step(shared + stage * tiles::STAGE_BYTES, p.points, item.row_tile * tiles::ROWS, p.samples,
                  copied_tile * tiles::COLUMNS, p.row_bytes, copied_step, gpu::thread_number());
        if (++copied_step == p.steps) {
          copied_step = 0;
          ++copied_tile;
        }
      }
      gpu::commit_copies();  // an empty group where nothing is left, so that counting them goes on
    };
#pragma unroll
    for (int stage = 0; stage + 1 < tiles::STAGES; ++stage) copy_next(stage);

    int stage = 0;
    for (int tile = item.first; tile < item.last; ++tile) {
#pragma unroll 1
      for (int step = 0; step < p.steps; ++step) {
        gpu::wait_for_copies<tiles::STAGES - 2>();
        __syncthreads();  // the step is here for all, and all are done with the stage that is copied to next
        copy_next(stage == 0 ? tiles::STAGES - 1 : stage - 1);
        multiplier.step(sums, shared + stage * tiles::STAGE_BYTES);
        stage = stage + 1 == tiles::STAGES ? 0 : stage + 1;
      }
      const int thread = gpu::thread_number();
      fold_tile(sums, p, tiles::place_of(thread), item.row_tile, tile, tile == item.first,
                running_of(p, thread), nearest_of(p, thread), own_top);
      clear(sums);
    }
    const int thread = gpu::thread_number();
    hand_over(p, tiles::place_of(thread), item, running_of(p, thread), nearest_of(p, thread), own_top);
    __syncthreads();  // the next item's first copies go where these steps were read
  }
}

// ---- joining -----------------------------------------------------------------------------------------------

// What the chunks of samples so far gave each point, each [points]; sums [count of σ][points].
struct Totals {
  float* top;
  float* nearest_score;
  std::int64_t* nearest;  // its number among all samples
  double* sum;
};

struct Combining {
  Parts parts;
  int num_parts;
  std::int64_t points;
  std::int64_t first_sample;  // of this chunk
  bool first_chunk;
  Widths widths;
  // Threads of all σ read a point's old state while that of the first writes the new one, so they lie apart.
  Totals before, after;
};

__device__ __forceinline__ double rescaled(double sum, float top, float new_top, float factor) {
  // Nothing was summed yet where the top is still at its start; −FLT_MAX less a large top would overflow.
  return top == new_top || sum == 0 ? sum : sum * exp2((double(top) - double(new_top)) * double(factor));
}

// A thread per point and σ.
__global__ void combine_parts(const __grid_constant__ Combining p) {
  const std::int64_t number = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t i = number % p.points;
  const int s = int(number / p.points);
  if (s >= p.widths.count) return;
  float top = p.first_chunk ? -FLT_MAX : p.before.top[i];
  int best = -1;
  for (int part = 0; part < p.num_parts; ++part) {
    const float other = p.parts.top[part * p.points + i];
    if (other > top) {
      top = other;
      best = part;
    }
  }
  const std::int64_t at = std::int64_t(s) * p.points + i;
  double sum = p.first_chunk ? 0 : rescaled(p.before.sum[at], p.before.top[i], top, p.widths.factor[s]);
  for (int part = 0; part < p.num_parts; ++part)
    sum += rescaled(double(p.parts.sum[(std::int64_t(part) * p.widths.count + s) * p.points + i]),
                    p.parts.top[part * p.points + i], top, p.widths.factor[s]);
  p.after.sum[at] = sum;
  if (s > 0) return;
  p.after.top[i] = top;
  if (best >= 0) {
    p.after.nearest_score[i] = p.parts.nearest[best * p.points + i].score;
    p.after.nearest[i] = p.first_sample + p.parts.nearest[best * p.points + i].number;
  } else {
    p.after.nearest_score[i] = p.first_chunk ? 0 : p.before.nearest_score[i];
    p.after.nearest[i] = p.first_chunk ? 0 : p.before.nearest[i];
  }
}

struct Finishing {
  Rows x, samples;
  std::int64_t d, first, points;  // points first … first + points of x
  const double* half_norm;        // [points] ½‖x‖² + level
  Totals totals;
  Widths widths;
  double sigma[MAX_SIGMAS_PER_PASS];
  float* out;  // [count of σ][m]
};

// log Σ, given the exact −½‖x − μ‖² of the nearest sample, that score and the rounded one counted from the same top, and
// the sum of all terms. The nearest sample's term is put right; the others get half of its correction, since half of
// what rounding did to near neighbours it did to all alike.
GANCLI_INDEX double corrected_log_sum(double exact, double exact_score, double rounded_score, double sum,
                                      double sigma, double factor, double num_samples) {
  const double scale = 1 / (sigma * sigma);
  const double others = sum - exp2(rounded_score * factor);
  if (!(others > 0)) return exact * scale;
  // Relative to the nearest one's term. No other sample is nearer, so that none can count for more.
  const double log_others = log(others) - 0.5 * (exact_score + rounded_score) * scale;
  return exact * scale + log1p(fmin(exp(fmin(log_others, 700.0)), num_samples - 1));
}

// A warp per point.
__global__ void finish_points(const __grid_constant__ Finishing p) {
  const int lane = int(threadIdx.x % 32);
  const std::int64_t i = std::int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (i >= p.points) return;
  const float* point = p.x.data + (p.first + i) * p.x.row_stride;
  const float* sample = p.samples.data + p.totals.nearest[i] * p.samples.row_stride;
  double squared = 0;
  for (std::int64_t k = lane; k < p.d; k += 32) {
    const double difference =
        double(point[k * p.x.column_stride]) - double(sample[k * p.samples.column_stride]);
    squared += difference * difference;
  }
  const double exact = -0.5 * sum_over_warp(squared);
  const double exact_score = exact + p.half_norm[i] - double(p.totals.top[i]);
  for (int s = lane; s < p.widths.count; s += 32) {
    const double factor = double(p.widths.factor[s]);
    const double rounded = fmin(double(p.totals.nearest_score[i]), MOST_EXPONENT / factor);
    const double value =
        corrected_log_sum(exact, exact_score, rounded, p.totals.sum[std::int64_t(s) * p.points + i],
                          p.sigma[s], factor, double(p.samples.count));
    // Where the true value is beyond float32 the largest finite one stands for it.
    p.out[std::int64_t(s) * p.x.count + p.first + i] = float(fmax(value, -double(FLT_MAX)));
  }
}

// ---- a call ------------------------------------------------------------------------------------------------

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

  void pack(Packing packing) {
    packing.capacity = tiles::round_up(packing.count, tiles::ROWS);
    packing.d = d_;
    packing.steps = plan_.steps;
    packing.centre = memory_.centre;
    packing.centre_half_norms = memory_.centre_half_norms;
    packing.centre_samples = centre_samples(samples_.count);
    gpu::launch("pack_rows", pack_rows<product>,
                {std::min<std::int64_t>(tiles::ceil_div(packing.capacity, WARPS), 4096), THREADS}, queue_,
                packing);
  }

  void score_points(std::int64_t first, std::int64_t points, int first_sigma, int num_sigmas) {
    Packing packing{};
    packing.rows = x_;
    packing.first = first;
    packing.count = points;
    packing.packed = memory_.points;
    packing.scale = memory_.point_scale;
    packing.half_norm = memory_.half_norm;
    packing.refused = refused_;
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
      Packing packing{};
      packing.rows = samples_;
      packing.first = first;
      packing.count = count;
      packing.packed = memory_.samples;
      packing.scale = memory_.sample_scale;
      packing.start = memory_.sample_start;
      packing.refused = refused_ + 1;
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
