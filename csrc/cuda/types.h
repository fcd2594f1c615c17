// What the bindings and the CUDA sources share. Plain C++: no CUDA header needed.
#pragma once

#include <cstdint>

namespace gancli::cuda {

// How float32 rows are multiplied: as two halves each on tensor cores, or as they are. Both to float32 accuracy.
enum class Product { split_half, float32 };

// A strided view of float32 rows in device memory.
struct Rows {
  const float* data;                       // [count][d]
  std::int64_t count;                      // number of rows
  std::int64_t row_stride, column_stride;  // in floats, any sign
};

// Where to queue the work: a device by number and a cudaStream_t of it.
struct Queue {
  int device;
  void* stream;
};

}  // namespace gancli::cuda
