// The Python face of the kernel: addresses, sizes and codes in, nothing out. It knows neither torch nor numpy, so one
// build serves every version of both; cubefast/lattice/_native.py is its only caller and has checked everything.
#include <pthread.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "dispatch.h"
#include "threads.h"

namespace cubefast {
bool in_forked_child = false;
}

namespace py = pybind11;
using namespace cubefast;

namespace {

const void* in(uintptr_t address) { return reinterpret_cast<const void*>(address); }
void* out(uintptr_t address) { return reinterpret_cast<void*>(address); }

Forward forward_of(const Sizes& sizes, uintptr_t state, uintptr_t drive, uintptr_t w_perceive,
                   uintptr_t w_update, uintptr_t b_update, uintptr_t neighbors, uintptr_t final_state,
                   uintptr_t trajectory) {
  return {sizes,        in(state),    in(drive),
          in(w_perceive), in(w_update), in(b_update),
          static_cast<const int32_t*>(in(neighbors)), out(final_state), out(trajectory)};
}

py::dict build_info() {
  py::dict info;
  info["compiler"] = __VERSION__;
#ifdef _OPENMP
  info["openmp"] = _OPENMP;
#else
  info["openmp"] = py::none();
#endif
  info["isas"] = available_isas();
  return info;
}

}  // namespace

PYBIND11_MODULE(_cubefast_native, m) {
  m.doc() = "The compiled kernel of cubefast. Private: use cubefast.lattice_rollout.";
  m.attr("__version__") = CUBEFAST_VERSION;

  pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });

  m.def("build_info", &build_info, "Compiler, OpenMP version and the instruction sets that can run here.");
  m.def("active_isa", &active_isa, "The instruction set in use; raises RuntimeError if CUBEFAST_ISA cannot run here.");

  py::class_<Sizes>(m, "Sizes")
      .def(py::init([](int64_t batch, int64_t cells, int64_t state_size, int64_t hidden_size, int64_t slots,
                       int64_t steps, int64_t drive_batch_stride, int64_t checkpoint_every,
                       int64_t saved_states, int activation, int update, int threads) {
             return Sizes{batch,  cells, state_size, hidden_size, slots, steps, drive_batch_stride, checkpoint_every,
                          saved_states, static_cast<Activation>(activation), static_cast<Update>(update), threads};
           }));

  m.def(
      "forward",
      [](const Sizes& sizes, bool is_double, uintptr_t state, uintptr_t drive, uintptr_t w_perceive,
         uintptr_t w_update, uintptr_t b_update, uintptr_t neighbors, uintptr_t final_state,
         uintptr_t trajectory) {
        const Kernel& kernel = active_kernel();
        const Forward f = forward_of(sizes, state, drive, w_perceive, w_update, b_update, neighbors,
                                     final_state, trajectory);
        py::gil_scoped_release release;
        (is_double ? kernel.forward_double : kernel.forward_float)(f);
      },
      "Runs the lattice; see csrc/params.h for what each address holds.");

  m.def(
      "backward",
      [](const Sizes& sizes, bool is_double, uintptr_t state, uintptr_t drive, uintptr_t w_perceive,
         uintptr_t w_update, uintptr_t b_update, uintptr_t neighbors, uintptr_t final_state,
         uintptr_t trajectory, uintptr_t reader_offsets, uintptr_t readers, uintptr_t dfinal,
         uintptr_t dstate, uintptr_t ddrive, uintptr_t dw_perceive, uintptr_t dw_update, uintptr_t db_update) {
        const Kernel& kernel = active_kernel();
        const Backward g{forward_of(sizes, state, drive, w_perceive, w_update, b_update, neighbors,
                                    final_state, trajectory),
                         static_cast<const int32_t*>(in(reader_offsets)),
                         static_cast<const int32_t*>(in(readers)),
                         in(dfinal),
                         out(dstate),
                         out(ddrive),
                         out(dw_perceive),
                         out(dw_update),
                         out(db_update)};
        py::gil_scoped_release release;
        (is_double ? kernel.backward_double : kernel.backward_float)(g);
      },
      "Runs it backward; an address of 0 for a gradient means that it is not asked for.");
}
