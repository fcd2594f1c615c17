// gancli._cpu: the native CPU kernels for Python. Pointers, sizes and strides in; nothing of torch.
//
// Callers (gancli/ops) check shapes and dtypes, allocate the results and keep the tensors alive during the call.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/denormals.h"
#include "cpu/elementwise.h"
#include "cpu/isa.h"
#include "cpu/maxout.h"
#include "cpu/maxout_conv.h"
#include "cpu/measure.h"
#include "cpu/meeting.h"
#include "cpu/parzen.h"

namespace py = pybind11;
using gancli::kernels_named;

namespace {

// Python passes addresses as integers (torch.Tensor.data_ptr()).
template <typename T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const gancli::Kernels* kernels : gancli::supported_kernels()) names.emplace_back(kernels->name);
  return names;
}

std::string parzen_log_sum_exp(std::uintptr_t out, std::uintptr_t x, std::int64_t m,
                               std::int64_t x_row_stride, std::int64_t x_column_stride,
                               std::uintptr_t samples, std::int64_t n, std::int64_t samples_row_stride,
                               std::int64_t samples_column_stride, std::int64_t d,
                               const std::vector<double>& sigmas, int threads, const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  gancli::Refused refused;
  {
    py::gil_scoped_release release;
    refused = gancli::parzen_log_sum_exp(
        kernels, {pointer<const float>(x), m, x_row_stride, x_column_stride},
        {pointer<const float>(samples), n, samples_row_stride, samples_column_stride}, d, sigmas.data(),
        int(sigmas.size()), pointer<float>(out), threads);
  }
  switch (refused) {
    case gancli::Refused::x:
      return "x";
    case gancli::Refused::samples:
      return "samples";
    case gancli::Refused::nothing:
      break;
  }
  return "";
}

void maxout_forward(std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, std::int64_t batch,
                    std::int64_t in, std::int64_t units, std::int64_t pieces, bool relu, std::uintptr_t y,
                    std::uintptr_t index, int threads, const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  py::gil_scoped_release release;
  gancli::maxout_forward(kernels, {batch, in, units, pieces}, pointer<const float>(x),
                         pointer<const float>(weight), pointer<const float>(bias), relu, pointer<float>(y),
                         pointer<std::uint8_t>(index), threads);
}

void maxout_backward(std::uintptr_t v_y, std::uintptr_t index, std::uintptr_t x, std::uintptr_t weight,
                     std::int64_t batch, std::int64_t in, std::int64_t units, std::int64_t pieces,
                     std::uintptr_t v_x, std::uintptr_t v_weight, std::uintptr_t v_bias, int threads,
                     const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  py::gil_scoped_release release;
  gancli::maxout_backward(kernels, {batch, in, units, pieces}, pointer<const float>(v_y),
                          pointer<const std::uint8_t>(index), pointer<const float>(x),
                          pointer<const float>(weight), pointer<float>(v_x), pointer<float>(v_weight),
                          pointer<float>(v_bias), threads);
}

gancli::ConvShape conv_shape(const py::dict& sizes) {
  const auto size = [&](const char* name) { return sizes[name].cast<std::int64_t>(); };
  return {size("batch"),    size("in"),     size("height"),        size("width"),
          size("channels"), size("pieces"), size("pool"),          size("kernel"),
          size("pad"),      size("stride"), size("pooled_height"), size("pooled_width")};
}

void maxout_conv_forward(std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, const py::dict& shape,
                         std::uintptr_t y, std::uintptr_t index, int threads, const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  const gancli::ConvShape sizes = conv_shape(shape);
  py::gil_scoped_release release;
  gancli::maxout_conv_forward(kernels, sizes, pointer<const float>(x), pointer<const float>(weight),
                              pointer<const float>(bias), pointer<float>(y), pointer<std::uint8_t>(index),
                              threads);
}

void maxout_conv_backward(std::uintptr_t v_y, std::uintptr_t index, std::uintptr_t x, std::uintptr_t weight,
                          const py::dict& shape, std::uintptr_t v_x, std::uintptr_t v_weight,
                          std::uintptr_t v_bias, int threads, const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  const gancli::ConvShape sizes = conv_shape(shape);
  py::gil_scoped_release release;
  gancli::maxout_conv_backward(kernels, sizes, pointer<const float>(v_y), pointer<const std::uint8_t>(index),
                               pointer<const float>(x), pointer<const float>(weight), pointer<float>(v_x),
                               pointer<float>(v_weight), pointer<float>(v_bias), threads);
}

void dropout(std::uintptr_t x, std::uintptr_t y, std::int64_t count, std::uint64_t seed, double keep,
             int threads, const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  py::gil_scoped_release release;
  gancli::dropout(kernels, count, seed, keep, pointer<const float>(x), pointer<float>(y), threads);
}

void momentum_update(const std::vector<std::uintptr_t>& parameters,
                     const std::vector<std::uintptr_t>& velocities,
                     const std::vector<std::uintptr_t>& gradients, const std::vector<std::int64_t>& counts,
                     const std::vector<std::int64_t>& parts, const std::vector<std::int64_t>& strides,
                     double momentum, double lr, int threads, const std::string& isa) {
  const gancli::Kernels& kernels = kernels_named(isa);
  std::vector<gancli::Updated> tensors;
  for (std::size_t i = 0; i < counts.size(); ++i)
    tensors.push_back({pointer<float>(parameters.at(i)), pointer<float>(velocities.at(i)),
                       pointer<const float>(gradients.at(i)), counts[i], parts.at(i), strides.at(i)});
  py::gil_scoped_release release;
  gancli::momentum_update(kernels, tensors.data(), std::int64_t(tensors.size()), float(momentum), float(lr),
                          threads);
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "Native CPU kernels of gancli; see gancli.ops for the functions to call.";

#if defined(_OPENMP)
  module.attr("openmp") = true;
#else
  module.attr("openmp") = false;
#endif
#if defined(__x86_64__)
  __builtin_cpu_init();
  module.attr("intel") = bool(__builtin_cpu_is("intel"));
#else
  module.attr("intel") = false;
#endif
  module.def("instruction_sets", &instruction_sets,
             "Names of the instruction sets that this build has and this CPU runs, widest first.");

  module.def("parzen_log_sum_exp", &parzen_log_sum_exp, py::arg("out"), py::arg("x"), py::arg("m"),
             py::arg("x_row_stride"), py::arg("x_column_stride"), py::arg("samples"), py::arg("n"),
             py::arg("samples_row_stride"), py::arg("samples_column_stride"), py::arg("d"), py::arg("sigmas"),
             py::arg("threads"), py::arg("isa") = "",
             "Write L (s, m) to out. Returns '', or the argument that holds a row which is not finite or "
             "whose squares "
             "overflow float32.");

  module.def("maxout_forward", &maxout_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::arg("batch"), py::arg("in_"), py::arg("units"), py::arg("pieces"), py::arg("relu"),
             py::arg("y"), py::arg("index"), py::arg("threads"), py::arg("isa") = "",
             "Write y and, unless its address is 0, index (cpu/maxout.h).");
  module.def("maxout_backward", &maxout_backward, py::arg("v_y"), py::arg("index"), py::arg("x"),
             py::arg("weight"), py::arg("batch"), py::arg("in_"), py::arg("units"), py::arg("pieces"),
             py::arg("v_x"), py::arg("v_weight"), py::arg("v_bias"), py::arg("threads"), py::arg("isa") = "",
             "Write the gradients whose address is not 0 (cpu/maxout.h).");

  module.def("maxout_conv_forward", &maxout_conv_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::arg("shape"), py::arg("y"), py::arg("index"), py::arg("threads"), py::arg("isa") = "",
             "Write y and index (cpu/maxout_conv.h); shape names the fields of ConvShape.");
  module.def("maxout_conv_backward", &maxout_conv_backward, py::arg("v_y"), py::arg("index"), py::arg("x"),
             py::arg("weight"), py::arg("shape"), py::arg("v_x"), py::arg("v_weight"), py::arg("v_bias"),
             py::arg("threads"), py::arg("isa") = "",
             "Write the gradients whose address is not 0 (cpu/maxout_conv.h).");

  module.attr("turn_stride") = gancli::TURN_STRIDE;
  module.def(
      "meet",
      [](std::uintptr_t turns, std::int64_t rank, std::int64_t size, std::int64_t turn, double seconds) {
        py::gil_scoped_release release;
        return gancli::meet(pointer<std::int64_t>(turns), rank, size, turn, seconds);
      },
      py::arg("turns"), py::arg("rank"), py::arg("size"), py::arg("turn"), py::arg("seconds"),
      "Wait for all ranks; False if some have not come within these seconds (cpu/meeting.h).");

  module.def(
      "count_nonzeros",
      [](std::uintptr_t values, std::int64_t count) {
        py::gil_scoped_release release;
        return gancli::count_nonzeros(pointer<const float>(values), count);
      },
      py::arg("values"), py::arg("count"), "Count the float32 that are not zero.");
  module.def("dropout", &dropout, py::arg("x"), py::arg("y"), py::arg("count"), py::arg("seed"),
             py::arg("keep"), py::arg("threads"), py::arg("isa") = "",
             "Write x/keep or 0 to y (cpu/elementwise.h).");
  module.def("momentum_update", &momentum_update, py::arg("parameters"), py::arg("velocities"),
             py::arg("gradients"), py::arg("counts"), py::arg("parts"), py::arg("strides"),
             py::arg("momentum"), py::arg("lr"), py::arg("threads"), py::arg("isa") = "",
             "Update velocities and parameters in place (cpu/elementwise.h).");

  module.def(
      "set_flush_denormals",
      [](bool on, int threads) {
        py::gil_scoped_release release;
        return gancli::set_flush_denormals(on, threads);
      },
      py::arg("on"), py::arg("threads"),
      "Let all threads take denormal numbers for zero, or no longer (cpu/denormals.h).");

  module.def(
      "fma_peak",
      [](int threads, double seconds, const std::string& isa) {
        const gancli::Kernels& kernels = kernels_named(isa);
        py::gil_scoped_release release;
        return gancli::fma_peak(kernels, threads, seconds);
      },
      py::arg("threads"), py::arg("seconds") = 0.1, py::arg("isa") = "",
      "Measure floating-point operations per second of independent fused multiply-adds.");

  module.def(
      "read_bandwidth",
      [](std::uintptr_t data, std::int64_t count, int threads, const std::string& isa) {
        const gancli::Kernels& kernels = kernels_named(isa);
        py::gil_scoped_release release;
        return gancli::read_bandwidth(kernels, pointer<const float>(data), count, threads);
      },
      py::arg("data"), py::arg("count"), py::arg("threads"), py::arg("isa") = "",
      "Read float32 data [count] once; returns bytes per second.");
}
