// Maximum over pieces and pooling windows: a thread for each number that is written, so that nothing is added up in an
// order of chance.
#include <cstring>

#include "device.h"
#include "maxout_pool.h"
#include "tiles.h"

namespace gancli::cuda {
namespace {

constexpr int THREADS = 256;

template <typename Number>
struct Forward {
  PoolShape shape;
  const Number* z;
  const float* bias;
  Number* y;
  std::uint8_t* index;
};

template <typename Number>
struct Backward {
  PoolShape shape;
  const Number* v_y;
  const std::uint8_t* index;
  Number* v_z;
};

__device__ __forceinline__ float as_float(float number) { return number; }
__device__ __forceinline__ float as_float(Bfloat16 number) {
  const std::uint32_t bits = std::uint32_t(number.bits) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

__device__ __forceinline__ void store(float* to, float value) { *to = value; }
__device__ __forceinline__ void store(Bfloat16* to, float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  // To the nearest, to even between two; NaN, whose last bits alone might say so, stays one.
  to->bits = value == value ? std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : std::uint16_t(0x7fc0);
}

__device__ __forceinline__ std::int64_t own_number() {
  return std::int64_t(blockIdx.x) * THREADS + threadIdx.x;
}

template <typename Number>
__global__ void __launch_bounds__(THREADS) pool_forward(const __grid_constant__ Forward<Number> p) {
  const PoolShape& s = p.shape;
  const std::int64_t number = own_number();
  if (number >= s.batch * s.channels * s.pooled_height * s.pooled_width) return;
  const std::int64_t column = number % s.pooled_width * s.stride;
  const std::int64_t row = number / s.pooled_width % s.pooled_height * s.stride;
  const std::int64_t image = number / (s.pooled_width * s.pooled_height);  // of one channel
  const std::int64_t plane = s.height * s.width;
  const Number* z = p.z + image * s.pieces * plane;
  const float* bias = p.bias + image % s.channels * s.pieces;
  float best = 0;
  int winner = -1;
  for (int r = 0; r < s.pool && row + r < s.height; ++r) {
    for (int c = 0; c < s.pool && column + c < s.width; ++c) {
      for (int j = 0; j < s.pieces; ++j) {
        const float value = as_float(z[j * plane + (row + r) * s.width + column + c]) + bias[j];
        if (winner < 0 || tiles::wins(value, best)) {
          best = value;
          winner = (r * s.pool + c) * s.pieces + j;
        }
      }
    }
  }
  store(&p.y[number], best);
  p.index[number] = std::uint8_t(winner);
}

template <typename Number>
__global__ void __launch_bounds__(THREADS) pool_backward(const __grid_constant__ Backward<Number> p) {
  const PoolShape& s = p.shape;
  const std::int64_t number = own_number();
  if (number >= s.batch * s.channels * s.pieces * s.height * s.width) return;
  const std::int64_t column = number % s.width, row = number / s.width % s.height;
  const int piece = int(number / (s.width * s.height) % s.pieces);
  const std::int64_t image = number / (s.width * s.height * s.pieces);
  const std::int64_t first_window = image * s.pooled_height * s.pooled_width;
  // The windows that reach this row: those that begin on it or less than `pool` rows before.
  const std::int64_t first_row = row < s.pool ? 0 : (row - s.pool) / s.stride + 1;
  const std::int64_t first_column = column < s.pool ? 0 : (column - s.pool) / s.stride + 1;
  float sum = 0;
  for (std::int64_t wr = first_row; wr < s.pooled_height && wr * s.stride <= row; ++wr) {
    for (std::int64_t wc = first_column; wc < s.pooled_width && wc * s.stride <= column; ++wc) {
      const std::int64_t window = first_window + wr * s.pooled_width + wc;
      const std::int64_t position = (row - wr * s.stride) * s.pool + column - wc * s.stride;
      if (p.index[window] == position * s.pieces + piece) sum += as_float(p.v_y[window]);
    }
  }
  store(&p.v_z[number], sum);
}

}  // namespace

template <typename Number>
void maxout_pool_forward(PoolShape shape, const Number* z, const float* bias, Number* y, std::uint8_t* index,
                         Queue queue) {
  gpu::use(queue.device);
  const std::int64_t windows = shape.batch * shape.channels * shape.pooled_height * shape.pooled_width;
  gpu::launch("maxout_pool_forward", pool_forward<Number>, {tiles::ceil_div(windows, THREADS), THREADS},
              queue, Forward<Number>{shape, z, bias, y, index});
}

template <typename Number>
void maxout_pool_backward(PoolShape shape, const Number* v_y, const std::uint8_t* index, Number* v_z,
                          Queue queue) {
  gpu::use(queue.device);
  const std::int64_t count = shape.batch * shape.channels * shape.pieces * shape.height * shape.width;
  gpu::launch("maxout_pool_backward", pool_backward<Number>, {tiles::ceil_div(count, THREADS), THREADS},
              queue, Backward<Number>{shape, v_y, index, v_z});
}

template void maxout_pool_forward(PoolShape, const float*, const float*, float*, std::uint8_t*, Queue);
template void maxout_pool_forward(PoolShape, const Bfloat16*, const float*, Bfloat16*, std::uint8_t*, Queue);
template void maxout_pool_backward(PoolShape, const float*, const std::uint8_t*, float*, Queue);
template void maxout_pool_backward(PoolShape, const Bfloat16*, const std::uint8_t*, Bfloat16*, Queue);

}  // namespace gancli::cuda
