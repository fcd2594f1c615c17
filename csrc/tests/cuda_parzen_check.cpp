// The Parzen kernels of csrc/cuda, run on the CPU (cuda_emulation.h): sizes at the edges of tiles, steps, splits and
// chunks, strides, both products, refusals; against the formula in double. And the plan they are cut by.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/parzen.cu"
#include "parzen_expected.h"

namespace {

using namespace gancli::cuda;
using gancli::emulation::options;

struct Result {
  std::vector<float> out;
  std::int64_t refused[2];
};

Result run(Product product, const Matrix& x, const Matrix& samples, const std::vector<double>& sigmas) {
  Result result{std::vector<float>(sigmas.size() * x.rows, NAN), {NOT_REFUSED, NOT_REFUSED}};
  const std::int64_t bytes =
      parzen_workspace_bytes(product, x.rows, samples.rows, x.columns, int(sigmas.size()), 0);
  // Doubles, for alignment; poisoned.
  std::vector<double> workspace(bytes / 8, NAN);
  parzen_log_sum_exp(product, x, samples, x.columns, sigmas, result.out.data(), result.refused,
                     workspace.data(), {0, nullptr});
  return result;
}

const char* name(Product product) { return product == Product::split_half ? "split" : "float32"; }

void compare(Product product, Matrix& x, Matrix& samples, const std::vector<double>& sigmas,
             const Result& result, double score_error) {
  EXPECT(result.refused[0] == NOT_REFUSED && result.refused[1] == NOT_REFUSED, "%s", name(product));
  for (std::size_t s = 0; s < sigmas.size(); ++s) {
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const double want = expected(x, samples, i, sigmas[s]), got = result.out[s * x.rows + i];
      // The float32 result, the exponential, and the error of a score over σ².
      const double limit = 1.2e-7 * std::abs(want) + 2e-6 + score_error / (sigmas[s] * sigmas[s]);
      EXPECT(std::abs(got - want) <= limit, "%s %lldx%lldx%lld sigma %g point %lld: %.9g, got %.9g",
             name(product), (long long)x.rows, (long long)samples.rows, (long long)x.columns, sigmas[s],
             (long long)i, want, got);
    }
  }
}

void check(Matrix x, Matrix samples, const std::vector<double>& sigmas = {0.2, 1.0, 30.0}) {
  for (Product product : {Product::split_half, Product::float32})
    compare(product, x, samples, sigmas, run(product, x, samples, sigmas), 4e-6);
}

void check_refusals() {
  for (float bad : {float(NAN), float(INFINITY), -FLT_MAX}) {
    Matrix x(40, 19), samples(70, 19), bad_x = x, bad_samples = samples;
    bad_x.at(37, 18) = bad;
    bad_x.at(39, 2) = bad;
    bad_samples.at(69, 18) = bad;
    for (Product product : {Product::split_half, Product::float32}) {
      Result result = run(product, bad_x, samples, {1.0});
      EXPECT(result.refused[0] == 37 && result.refused[1] == NOT_REFUSED, "%s %g", name(product), bad);
      result = run(product, x, bad_samples, {1.0});
      EXPECT(result.refused[0] != NOT_REFUSED || result.refused[1] == 69, "%s %g", name(product), bad);
    }
  }
}

void check_plan() {
  for (std::int64_t m : {1, 20, 127, 128, 129, 10000, 100000, 5000000}) {
    for (std::int64_t n : {1, 128, 129, 10000, 100000, 3000000}) {
      for (std::int64_t d : {1, 32, 33, 784, 3072, 200000, 3000000}) {
        for (int sigmas : {1, 10, 64, 300}) {
          const Plan plan(m, n, d, sigmas, 264);
          const std::int64_t bytes = Memory(plan, d, nullptr).bytes;
          EXPECT(bytes < 256 * MIB, "%lld x %lld x %lld, %d: %lld", (long long)m, (long long)n, (long long)d,
                 sigmas, (long long)bytes);
          EXPECT(plan.points >= 1 && plan.samples >= 1 && plan.max_splits >= 1, "%lld", (long long)m);
          const Items items = plan.items(std::min(m, plan.points), std::min(n, plan.samples));
          EXPECT(items.splits <= plan.max_splits, "%d splits", items.splits);
        }
      }
    }
  }
  // Every tile exactly once, whatever the cut.
  for (Items items : {Items{1, 1, 1}, Items{16, 5, 3}, Items{17, 9, 9}, Items{40, 7, 4}, Items{3, 100, 37}}) {
    std::vector<int> seen(items.row_tiles * items.column_tiles);
    for (int number = 0; number < items.count(); ++number) {
      const Items::Item item = items.at(number);
      EXPECT(item.first < item.last && item.split < items.splits, "%d", number);
      for (int tile = item.first; tile < item.last; ++tile)
        ++seen.at(item.row_tile * items.column_tiles + tile);
    }
    for (int count : seen) EXPECT(count == 1, "%d", count);
  }
}

void check_split() {
  using gancli::gpu::from_half;
  for (float largest : {0.5f, 1.0f, 3e-30f, 1e-20f, 1e18f, 255.0f}) {
    const int exponent = split_exponent(largest);
    for (int i = 0; i < 2000; ++i) {
      const float x = largest * (2 * next_uniform() - 1) * std::exp2(-20.0f * next_uniform());
      const SplitNumber parts = split(std::ldexp(x, -exponent));
      const double back = std::ldexp(double(from_half(parts.hi)) + double(from_half(parts.lo)), exponent);
      const double limit =
          std::max({std::ldexp(double(std::fabs(x)), -23), std::ldexp(double(largest), -38), 0x1p-84});
      EXPECT(std::fabs(back - x) <= limit, "%g of %g comes back as %g", x, largest, back);
    }
  }
  for (int bits = 0; bits < 0x7c00; ++bits)
    EXPECT(gancli::gpu::to_half(from_half(std::uint16_t(bits))) == bits, "%x", bits);
}

// Rows × samples × columns from a file of float32, results to standard output: for tests on real data from Python.
int score_file(int argc, char** argv) {
  if (argc < 7) return EXIT_FAILURE;
  const std::int64_t m = std::atoll(argv[3]), n = std::atoll(argv[4]), d = std::atoll(argv[5]);
  Matrix x(m, d), samples(n, d);
  std::FILE* file = std::fopen(argv[2], "rb");
  if (!file || std::fread(x.data.data(), 4, m * d, file) != std::size_t(m * d) ||
      std::fread(samples.data.data(), 4, n * d, file) != std::size_t(n * d))
    return EXIT_FAILURE;
  std::fclose(file);
  std::vector<double> sigmas;
  for (int i = 6; i < argc; ++i) sigmas.push_back(std::atof(argv[i]));
  const bool plain =
      std::getenv("GANCLI_CUDA_PRODUCT") && !std::strcmp(std::getenv("GANCLI_CUDA_PRODUCT"), "float32");
  const Result result = run(plain ? Product::float32 : Product::split_half, x, samples, sigmas);
  std::fwrite(result.out.data(), 4, result.out.size(), stdout);
  return result.refused[0] == NOT_REFUSED && result.refused[1] == NOT_REFUSED ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && !std::strcmp(argv[1], "score")) return score_file(argc, argv);
  check_plan();
  check_split();
  for (bool late : {false, true}) {
    for (bool reverse : {false, true}) {
      options.late_copies = late;
      options.reverse_warps = reverse;
      options.processors = reverse ? 1 : 4;  // one block takes all items, or several share them
      check(Matrix(130, 70), Matrix(300, 70));
    }
  }
  check(Matrix(1, 1), Matrix(1, 1));
  check(Matrix(3, 33, 1, 1, 1000), Matrix(129, 33, 1, 1, 1000));
  check(Matrix(129, 32), Matrix(128, 32));
  check(Matrix(20, 31, 2, 3), Matrix(500, 31, 3, 2));
  check(Matrix(2, 5), Matrix(1500, 5), std::vector<double>(70, 0.7));
  options.mma_columns = 8;
  check(Matrix(5, 64), Matrix(200, 64), {0.1, 0.5});
  check_refusals();
  std::printf(failures ? "%d failures\n" : "all passed\n", failures);
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
