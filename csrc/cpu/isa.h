// Which micro-kernels this CPU can run.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace gancli {

// The instruction sets that this build has and this CPU runs, widest first; the last is always "baseline".
std::vector<const Kernels*> supported_kernels();

// The kernels of that name; "" means the widest. Throws std::invalid_argument that lists the choices.
const Kernels& kernels_named(const std::string& name);

}  // namespace gancli
