#include "isa.h"

#include <stdexcept>

namespace gancli {

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  // These also ask the operating system whether it saves the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("fma")) {
    found.push_back(&kernels_avx512);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&kernels_avx2);
#endif
  found.push_back(&kernels_baseline);
  return found;
}

const Kernels& kernels_named(const std::string& name) {
  static const std::vector<const Kernels*> supported = supported_kernels();
  if (name.empty()) return *supported.front();
  std::string choices;
  for (const Kernels* kernels : supported) {
    if (name == kernels->name) return *kernels;
    choices += (choices.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::invalid_argument("instruction set '" + name +
                              "' is not available here, choose from: " + choices);
}

}  // namespace gancli
