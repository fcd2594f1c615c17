// Self-test of the Parzen kernels without Python, to be run under sanitizers: every instruction set of this machine, sizes
// at the edges of tiles, slabs and chunks, strides, thread counts, refusals; against the formula in double.
#include "cpu/parzen.h"

#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu/isa.h"
#include "cpu/measure.h"
#include "cpu/parzen_narrow.h"
#include "parzen_expected.h"

namespace {

using gancli::Kernels;
using gancli::Refused;
using Way = Refused (*)(const Kernels&, gancli::Rows, gancli::Rows, std::int64_t, const double*, int, float*,
                        int);

// The way for few rows, whatever their number.
Refused narrow(const Kernels& kernels, gancli::Rows x, gancli::Rows samples, std::int64_t d,
               const double* sigmas, int num_sigmas, float* out, int threads) {
  return gancli::narrow_log_sum_exp({kernels, x, samples, d, sigmas, num_sigmas}, out, threads);
}

void check(const Kernels& kernels, Way log_sum_exp, Matrix x, Matrix samples) {
  const std::vector<double> sigmas = {0.2, 1.0, 30.0};
  const int count = int(sigmas.size());
  std::vector<float> first;
  for (int threads : {1, 2, 7}) {
    std::vector<float> out(count * x.rows, NAN);
    const Refused refused =
        log_sum_exp(kernels, x, samples, x.columns, sigmas.data(), count, out.data(), threads);
    EXPECT(refused == Refused::nothing, "%s", kernels.name);
    if (threads == 1) first = out;
    for (std::size_t i = 0; i < out.size(); ++i) {
      EXPECT(out[i] == first[i], "%s: %d threads change result %zu", kernels.name, threads, i);
    }
  }
  for (int s = 0; s < count; ++s) {
    for (std::int64_t i = 0; i < x.rows; i += 7) {
      const double want = expected(x, samples, i, sigmas[s]), got = first[s * x.rows + i];
      EXPECT(std::abs(got - want) <= 3e-4 + 2e-7 * std::abs(want),
             "%s %lldx%lldx%lld sigma %g point %lld: %.9g, got %.9g", kernels.name, (long long)x.rows,
             (long long)samples.rows, (long long)x.columns, sigmas[s], (long long)i, want, got);
    }
  }
}

void check_refusals(const Kernels& kernels, Way log_sum_exp) {
  const double sigma = 1.0;
  for (float bad : {float(NAN), float(INFINITY), -FLT_MAX}) {
    Matrix x(40, 19), samples(33, 19), bad_x = x, bad_samples = samples;
    bad_x.at(37, 18) = bad;
    bad_samples.at(32, 18) = bad;
    std::vector<float> out(40);
    const auto run = [&](const Matrix& a, const Matrix& b) {
      return log_sum_exp(kernels, a, b, 19, &sigma, 1, out.data(), 2);
    };
    EXPECT(run(x, samples) == Refused::nothing, "%s", kernels.name);
    EXPECT(run(bad_x, samples) == Refused::x, "%s %g", kernels.name, bad);
    EXPECT(run(x, bad_samples) != Refused::nothing, "%s %g", kernels.name, bad);
  }
}

void check_algebra() {
  using namespace gancli;
  const LogSumExp empty = log_sum_exp_empty(), one = log_sum_exp_add(empty, -3.0);
  EXPECT(log_sum_exp_finish(empty) == -INFINITY, "empty");
  EXPECT(log_sum_exp_finish(one) == -3.0, "one term");
  EXPECT(log_sum_exp_finish(log_sum_exp_merge(empty, one)) == -3.0, "neutral on the left");
  EXPECT(log_sum_exp_finish(log_sum_exp_merge(one, empty)) == -3.0, "neutral on the right");
  const double two = log_sum_exp_finish(log_sum_exp_add(one, -3.0));
  EXPECT(std::abs(two - (-3.0 + std::log(2.0))) < 1e-15, "two equal terms: %.17g", two);
  EXPECT(log_sum_exp_finish(log_sum_exp_add(one, -1e300)) == -3.0, "a term that vanishes");
}

}  // namespace

int main() {
  check_algebra();
  for (const Kernels* kernels : gancli::supported_kernels()) {
    const std::int64_t lanes = kernels->lanes, rows = kernels->rows, slab = kernels->dot_slab;
    for (Way log_sum_exp : {&gancli::parzen_log_sum_exp, &narrow}) {
      for (std::int64_t m : {std::int64_t(1), lanes - 1, lanes, lanes + 1}) {
        for (std::int64_t n : {std::int64_t(1), rows - 1, rows, rows + 1, 2 * rows + 1}) {
          for (std::int64_t d : {1, 3, 16, 17, 127, 128, 129})
            check(*kernels, log_sum_exp, Matrix(m, d), Matrix(n, d));
        }
      }
      check(*kernels, log_sum_exp, Matrix(5, 3), Matrix(5000, 3));
      check(*kernels, log_sum_exp, Matrix(20, 33, 2, 3), Matrix(30, 33, 3, 2));
      check_refusals(*kernels, log_sum_exp);
    }
    check(*kernels, gancli::parzen_log_sum_exp, Matrix(15 * lanes + 1, 200), Matrix(300, 200));
    check(*kernels, gancli::parzen_log_sum_exp, Matrix(0, 4), Matrix(3, 4));
    for (std::int64_t few : {1, 2, 3, 4, 5}) {
      for (std::int64_t d : {slab - 1, slab, slab + 1, 2 * slab + 17}) {
        check(*kernels, narrow, Matrix(few, d), Matrix(11, d));
        check(*kernels, narrow, Matrix(11, d), Matrix(few, d));
      }
    }
    check(*kernels, narrow, Matrix(70, 40, 3, 1), Matrix(2, 40, 1, 2));
    check(*kernels, narrow, Matrix(2, 40, 1, 2), Matrix(70, 40, 3, 1));
    EXPECT(gancli::fma_peak(*kernels, 2, 0.001) > 0, "%s", kernels->name);
    for (std::int64_t count : {1, 63, 64, 65, 70000}) {
      std::vector<float> data(count, 1.0f);
      EXPECT(gancli::read_bandwidth(*kernels, data.data(), count, 2) > 0, "%s", kernels->name);
    }
    std::printf("%s: done\n", kernels->name);
  }
  std::printf(failures ? "%d failures\n" : "all passed\n", failures);
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
