// The momentum update of csrc/cuda, run on the CPU (cuda_emulation.h), against the formulas: both forms, tensors of any
// size and more of them than one launch takes.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cuda/momentum.cu"

int main() {
  using namespace gancli::cuda;
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::vector<std::int64_t> counts = {1, 0, 255, 256, 2048, 2049, 5000};
  for (int i = 0; i < 70; ++i) counts.push_back(1 + i % 3);
  const float lr = 0.1f, momentum = 0.7f;
  for (bool rate_inside : {true, false}) {
    std::vector<std::vector<float>> gradients, velocities, parameters;
    for (std::int64_t count : counts) {
      for (auto* all : {&gradients, &velocities, &parameters}) {
        all->emplace_back(count);
        for (float& value : all->back()) value = normal(rng);
      }
    }
    const auto old_velocities = velocities, old_parameters = parameters;
    std::vector<Updated> tensors;
    for (std::size_t i = 0; i < counts.size(); ++i)
      tensors.push_back({gradients[i].data(), velocities[i].data(), parameters[i].data(), counts[i]});
    momentum_update(tensors, &lr, &momentum, rate_inside, {0, nullptr});
    for (std::size_t i = 0; i < counts.size(); ++i) {
      for (std::int64_t at = 0; at < counts[i]; ++at) {
        const double kept = double(momentum) * old_velocities[i][at];
        const double velocity = rate_inside ? kept - double(lr) * gradients[i][at] : kept + gradients[i][at];
        const double parameter = old_parameters[i][at] + (rate_inside ? velocity : -double(lr) * velocity);
        if (std::fabs(velocities[i][at] - velocity) <= 1e-6 &&
            std::fabs(parameters[i][at] - parameter) <= 1e-6)
          continue;
        std::fprintf(stderr, "momentum: wrong at %d of tensor %d, rate inside: %d\n", int(at), int(i),
                     rate_inside);
        return 1;
      }
    }
  }
  std::printf("all passed\n");
}
