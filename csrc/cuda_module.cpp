// gancli._cuda: the CUDA kernels for Python. Device pointers, sizes, strides and a stream in; nothing of torch.
//
// Callers (gancli/ops) check shapes and dtypes, allocate results and workspaces and keep the tensors alive until
// the work that is queued here is done.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/machine.h"
#include "cuda/maxout.h"
#include "cuda/maxout_pool.h"
#include "cuda/momentum.h"
#include "cuda/parzen.h"

namespace py = pybind11;
using gancli::cuda::Product;
using gancli::cuda::Queue;

namespace {

// Python passes addresses as integers (torch.Tensor.data_ptr()).
template <typename T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

Product product_named(const std::string& name) {
  if (name == "split") return Product::split_half;
  if (name == "float32") return Product::float32;
  throw std::invalid_argument("product must be split or float32, got " + name);
}

std::int64_t parzen_workspace_bytes(const std::string& product, std::int64_t m, std::int64_t n,
                                    std::int64_t d, int num_sigmas, int device) {
  return gancli::cuda::parzen_workspace_bytes(product_named(product), m, n, d, num_sigmas, device);
}

void parzen_log_sum_exp(const std::string& product, std::uintptr_t out, std::uintptr_t x, std::int64_t m,
                        std::int64_t x_row_stride, std::int64_t x_column_stride, std::uintptr_t samples,
                        std::int64_t n, std::int64_t samples_row_stride, std::int64_t samples_column_stride,
                        std::int64_t d, const std::vector<double>& sigmas, std::uintptr_t refused,
                        std::uintptr_t workspace, int device, std::uintptr_t stream) {
  const Product kind = product_named(product);
  py::gil_scoped_release release;
  gancli::cuda::parzen_log_sum_exp(
      kind, {pointer<const float>(x), m, x_row_stride, x_column_stride},
      {pointer<const float>(samples), n, samples_row_stride, samples_column_stride}, d, sigmas,
      pointer<float>(out), pointer<std::int64_t>(refused), pointer<void>(workspace),
      Queue{device, pointer<void>(stream)});
}

using Address = std::uintptr_t;

std::int64_t maxout_workspace_bytes(std::int64_t batch, std::int64_t in, std::int64_t units,
                                    std::int64_t pieces) {
  return gancli::cuda::maxout_workspace_bytes({batch, in, units, pieces});
}

void maxout_forward(Address x, Address weight, Address bias, std::int64_t batch, std::int64_t in,
                    std::int64_t units, std::int64_t pieces, Address y, Address index, Address workspace,
                    int device, Address stream) {
  py::gil_scoped_release release;
  gancli::cuda::maxout_forward({batch, in, units, pieces}, pointer<const float>(x),
                               pointer<const float>(weight), pointer<const float>(bias), pointer<float>(y),
                               pointer<std::uint8_t>(index), pointer<void>(workspace),
                               Queue{device, pointer<void>(stream)});
}

void maxout_backward(Address v_y, Address index, Address x, Address weight, std::int64_t batch,
                     std::int64_t in, std::int64_t units, std::int64_t pieces, Address v_x, Address v_weight,
                     Address v_bias, int device, Address stream) {
  py::gil_scoped_release release;
  gancli::cuda::maxout_backward({batch, in, units, pieces}, pointer<const float>(v_y),
                                pointer<const std::uint8_t>(index), pointer<const float>(x),
                                pointer<const float>(weight), pointer<float>(v_x), pointer<float>(v_weight),
                                pointer<float>(v_bias), Queue{device, pointer<void>(stream)});
}

gancli::cuda::PoolShape pool_shape(std::int64_t batch, std::int64_t channels, std::int64_t height,
                                   std::int64_t width, std::int64_t pooled_height, std::int64_t pooled_width,
                                   int pieces, int pool, int stride) {
  return {batch, channels, height, width, pooled_height, pooled_width, pieces, pool, stride};
}

template <typename Number>
void pool_forward(gancli::cuda::PoolShape shape, Address z, Address bias, Address y, Address index,
                  Queue queue) {
  gancli::cuda::maxout_pool_forward(shape, pointer<const Number>(z), pointer<const float>(bias),
                                    pointer<Number>(y), pointer<std::uint8_t>(index), queue);
}

void maxout_pool_forward(bool bfloat16, Address z, Address bias, std::int64_t batch, std::int64_t channels,
                         std::int64_t height, std::int64_t width, std::int64_t pooled_height,
                         std::int64_t pooled_width, int pieces, int pool, int stride, Address y,
                         Address index, int device, Address stream) {
  py::gil_scoped_release release;
  const auto run = bfloat16 ? pool_forward<gancli::cuda::Bfloat16> : pool_forward<float>;
  run(pool_shape(batch, channels, height, width, pooled_height, pooled_width, pieces, pool, stride), z, bias,
      y, index, Queue{device, pointer<void>(stream)});
}

template <typename Number>
void pool_backward(gancli::cuda::PoolShape shape, Address v_y, Address index, Address v_z, Queue queue) {
  gancli::cuda::maxout_pool_backward(shape, pointer<const Number>(v_y), pointer<const std::uint8_t>(index),
                                     pointer<Number>(v_z), queue);
}

void maxout_pool_backward(bool bfloat16, Address v_y, Address index, std::int64_t batch,
                          std::int64_t channels, std::int64_t height, std::int64_t width,
                          std::int64_t pooled_height, std::int64_t pooled_width, int pieces, int pool,
                          int stride, Address v_z, int device, Address stream) {
  py::gil_scoped_release release;
  const auto run = bfloat16 ? pool_backward<gancli::cuda::Bfloat16> : pool_backward<float>;
  run(pool_shape(batch, channels, height, width, pooled_height, pooled_width, pieces, pool, stride), v_y,
      index, v_z, Queue{device, pointer<void>(stream)});
}

void momentum_update(const std::vector<Address>& parameters, const std::vector<Address>& velocities,
                     const std::vector<Address>& gradients, const std::vector<std::int64_t>& counts,
                     Address lr, Address momentum, bool rate_inside, int device, Address stream) {
  if (velocities.size() != parameters.size() || gradients.size() != parameters.size() ||
      counts.size() != parameters.size())
    throw std::invalid_argument("parameters, velocities, gradients and counts must be equally many");
  std::vector<gancli::cuda::Updated> tensors;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    tensors.push_back({pointer<const float>(gradients[i]), pointer<float>(velocities[i]),
                       pointer<float>(parameters[i]), counts[i]});
  py::gil_scoped_release release;
  gancli::cuda::momentum_update(tensors, pointer<const float>(lr), pointer<const float>(momentum),
                                rate_inside, Queue{device, pointer<void>(stream)});
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA kernels of gancli; see gancli.ops for the functions to call.";

  module.def(
      "archs", [] { return std::vector<std::string>{GANCLI_CUDA_ARCHS}; },
      "What the module was compiled for: machine code (sm_…) and PTX for later devices (compute_…).");
  module.attr("COMPILED_VERSION") = gancli::cuda::compiled_version();
  module.def("driver_version", &gancli::cuda::driver_version,
             "CUDA's version that the driver serves, 1000·major + 10·minor; 0 without a driver.");
  module.attr("SHARED_MEMORY_NEEDED") = gancli::cuda::shared_memory_needed();
  module.def("shared_memory_allowed", &gancli::cuda::shared_memory_allowed, py::arg("device"),
             "Bytes of shared memory that a block may have on a device.");

  module.attr("NOT_REFUSED") = gancli::cuda::NOT_REFUSED;
  module.def("parzen_workspace_bytes", &parzen_workspace_bytes, py::arg("product"), py::arg("m"),
             py::arg("n"), py::arg("d"), py::arg("num_sigmas"), py::arg("device"),
             "Device memory that parzen_log_sum_exp needs to work in.");
  module.def("parzen_log_sum_exp", &parzen_log_sum_exp, py::arg("product"), py::arg("out"), py::arg("x"),
             py::arg("m"), py::arg("x_row_stride"), py::arg("x_column_stride"), py::arg("samples"),
             py::arg("n"), py::arg("samples_row_stride"), py::arg("samples_column_stride"), py::arg("d"),
             py::arg("sigmas"), py::arg("refused"), py::arg("workspace"), py::arg("device"),
             py::arg("stream"), "Queue the log-sum-exp on a stream (cuda/parzen.h).");

  module.attr("MOST_PIECES") = gancli::cuda::MOST_PIECES;
  module.def("maxout_workspace_bytes", &maxout_workspace_bytes, py::arg("batch"), py::arg("in_"),
             py::arg("units"), py::arg("pieces"), "Device memory that maxout_forward needs to work in.");
  module.def("maxout_forward", &maxout_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::arg("batch"), py::arg("in_"), py::arg("units"), py::arg("pieces"), py::arg("y"),
             py::arg("index"), py::arg("workspace"), py::arg("device"), py::arg("stream"),
             "Queue y and index on a stream (cuda/maxout.h).");
  module.def("maxout_backward", &maxout_backward, py::arg("v_y"), py::arg("index"), py::arg("x"),
             py::arg("weight"), py::arg("batch"), py::arg("in_"), py::arg("units"), py::arg("pieces"),
             py::arg("v_x"), py::arg("v_weight"), py::arg("v_bias"), py::arg("device"), py::arg("stream"),
             "Queue the gradients whose address is not 0 (cuda/maxout.h).");

  module.attr("MOST_CANDIDATES") = gancli::cuda::MOST_CANDIDATES;
  module.def("maxout_pool_forward", &maxout_pool_forward, py::arg("bfloat16"), py::arg("z"), py::arg("bias"),
             py::arg("batch"), py::arg("channels"), py::arg("height"), py::arg("width"),
             py::arg("pooled_height"), py::arg("pooled_width"), py::arg("pieces"), py::arg("pool"),
             py::arg("stride"), py::arg("y"), py::arg("index"), py::arg("device"), py::arg("stream"),
             "Queue y and index on a stream (cuda/maxout_pool.h).");
  module.def("maxout_pool_backward", &maxout_pool_backward, py::arg("bfloat16"), py::arg("v_y"),
             py::arg("index"), py::arg("batch"), py::arg("channels"), py::arg("height"), py::arg("width"),
             py::arg("pooled_height"), py::arg("pooled_width"), py::arg("pieces"), py::arg("pool"),
             py::arg("stride"), py::arg("v_z"), py::arg("device"), py::arg("stream"),
             "Queue the gradient for z (cuda/maxout_pool.h).");

  module.def("momentum_update", &momentum_update, py::arg("parameters"), py::arg("velocities"),
             py::arg("gradients"), py::arg("counts"), py::arg("lr"), py::arg("momentum"),
             py::arg("rate_inside"), py::arg("device"), py::arg("stream"),
             "Queue the update of all tensors on a stream (cuda/momentum.h).");
}
