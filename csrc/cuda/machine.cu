#include "device.h"
#include "machine.h"
#include "tiles.h"

namespace gancli::cuda {

int driver_version() {
  int version = 0;
  gpu::check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
  return version;
}

int compiled_version() { return CUDART_VERSION; }

int shared_memory_needed() { return tiles::SHARED_BYTES; }

int shared_memory_allowed(int device) {
  int bytes = 0;
  gpu::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
             "cudaDeviceGetAttribute");
  return bytes;
}

}  // namespace gancli::cuda
