// What the CUDA kernels ask of the machine they run on.
#pragma once

namespace gancli::cuda {

// CUDA versions, 1000·major + 10·minor: what the driver serves, 0 where there is none, and what this was compiled for.
int driver_version();
int compiled_version();

// Bytes of shared memory that the largest block needs, and that a block may have on a device.
int shared_memory_needed();
int shared_memory_allowed(int device);

}  // namespace gancli::cuda
