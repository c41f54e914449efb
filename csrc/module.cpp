// The Python face of the kernel: addresses, sizes and codes in, nothing out. It knows neither torch nor numpy, so one
// build serves every version of both; cubefast/lattice/_native.py is its only caller and has checked shapes, dtypes and
// names. What stands in the tables is checked here, at every call: it is memory that others may have written to.
#include <pthread.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "dispatch.h"
#include "tables.h"
#include "threads.h"

namespace cubefast {
bool in_forked_child = false;
}

namespace py = pybind11;
using namespace cubefast;

namespace {

const void* in(uintptr_t address) { return reinterpret_cast<const void*>(address); }
void* out(uintptr_t address) { return reinterpret_cast<void*>(address); }
const int32_t* table(uintptr_t address) { return reinterpret_cast<const int32_t*>(address); }

unsigned long main_thread = 0;  // the one that Python gives signals to

// Runs work(interruption) without the GIL. Throws what a signal's handler raised meanwhile, such as KeyboardInterrupt.
template <typename Work>
void run_interruptibly(const Work& work) {
  struct Asking : Interruption {
    PyThreadState* thread = nullptr;
  } asking;
  asking.stop = 0;
  asking.ask = nullptr;
  if (PyThread_get_thread_ident() == main_thread)
    asking.ask = [](Interruption* interruption) {
      Asking* self = static_cast<Asking*>(interruption);
      if (self->stop != 0) return;
      PyEval_RestoreThread(self->thread);
      if (PyErr_CheckSignals() != 0) __atomic_store_n(&self->stop, 1, __ATOMIC_RELAXED);
      self->thread = PyEval_SaveThread();
    };
  asking.thread = PyEval_SaveThread();
  try {
    work(&asking);
  } catch (...) {
    PyEval_RestoreThread(asking.thread);
    throw;
  }
  PyEval_RestoreThread(asking.thread);
  if (asking.stop != 0) throw py::error_already_set();
}

using Addresses = std::array<uintptr_t, 5>;  // state, drive, w_perceive, w_update, b_update

Forward forward_of(const Sizes& sizes, const Addresses& inputs, uintptr_t neighbors, uintptr_t filters,
                   uintptr_t final_state, uintptr_t trajectory, uintptr_t kept) {
  Forward f{};
  f.sizes = sizes;
  f.state = in(inputs[0]);
  f.drive = in(inputs[1]);
  f.w_perceive = in(inputs[2]);
  f.w_update = in(inputs[3]);
  f.b_update = in(inputs[4]);
  f.neighbors = table(neighbors);
  f.filters = in(filters);
  f.final_state = out(final_state);
  f.trajectory = out(trajectory);
  f.kept = static_cast<uint8_t*>(out(kept));
  return f;
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

  main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
  available_isas();  // made now, under the lock of the import, so that no fork meets them half made
  pthread_atfork(nullptr, nullptr, [] {
    in_forked_child = true;
    main_thread = PyThread_get_thread_ident();
  });

  m.def("build_info", &build_info, "Compiler, OpenMP version and the instruction sets that can run here.");
  m.def("active_isa", &active_isa, "The instruction set in use; raises RuntimeError if CUBEFAST_ISA cannot run here.");

  py::class_<Sizes>(m, "Sizes")
      .def(py::init([](int64_t batch, int64_t cells, int64_t state_size, int64_t hidden_size, int64_t slots,
                       int64_t steps, int64_t drive_batch_stride, int64_t drive_cell_stride, int64_t checkpoint_every,
                       int64_t saved_states, int activation, int update, int threads) {
        return Sizes{batch,
                     cells,
                     state_size,
                     hidden_size,
                     slots,
                     steps,
                     drive_batch_stride,
                     drive_cell_stride,
                     checkpoint_every,
                     saved_states,
                     static_cast<Activation>(activation),
                     static_cast<Update>(update),
                     threads};
      }))
      .def("set_options", [](Sizes& sizes, int64_t filters, bool depthwise, uint64_t fire_below, uint64_t seed,
                             int64_t first_step, int64_t alive_channel, double alive_threshold, int64_t return_every,
                             int64_t drive_step_stride) {
        sizes.filters = filters;
        sizes.depthwise = depthwise;
        sizes.fire_below = fire_below;
        sizes.seed = seed;
        sizes.first_step = first_step;
        sizes.alive_channel = alive_channel;
        sizes.alive_threshold = alive_threshold;
        sizes.return_every = return_every;
        sizes.drive_step_stride = drive_step_stride;
      });

  m.def(
      "reverse_table",
      [](uintptr_t neighbors, int64_t cells, int64_t degree, uintptr_t reader_offsets, uintptr_t readers) {
        check_neighbors(table(neighbors), cells, degree);
        py::gil_scoped_release release;
        reverse_table(table(neighbors), cells, degree, static_cast<int32_t*>(out(reader_offsets)),
                      static_cast<int32_t*>(out(readers)));
      },
      "Writes who reads each cell, from who is read by each.");

  m.def(
      "forward",
      [](const Sizes& sizes, bool is_double, const Addresses& inputs, uintptr_t neighbors, uintptr_t filters,
         uintptr_t final_state, uintptr_t trajectory, uintptr_t states, uintptr_t kept) {
        const Kernel& kernel = active_kernel();
        Forward f = forward_of(sizes, inputs, neighbors, filters, final_state, trajectory, kept);
        f.states = out(states);
        run_interruptibly([&](Interruption* interruption) {
          check_neighbors(f.neighbors, sizes.cells, sizes.slots - 1);
          f.interruption = interruption;
          (is_double ? kernel.forward_double : kernel.forward_float)(f);
        });
      },
      "Runs the lattice; see csrc/params.h for what each address holds.");

  m.def(
      "backward",
      [](const Sizes& sizes, bool is_double, const Addresses& inputs, uintptr_t neighbors, uintptr_t filters,
         uintptr_t final_state, uintptr_t trajectory, uintptr_t kept, uintptr_t reader_offsets, uintptr_t readers,
         int64_t readers_count, uintptr_t dfinal, uintptr_t dstates, const std::array<uintptr_t, 6>& gradients) {
        const Kernel& kernel = active_kernel();
        Backward g{};
        g.forward = forward_of(sizes, inputs, neighbors, filters, final_state, trajectory, kept);
        g.reader_offsets = table(reader_offsets);
        g.readers = table(readers);
        g.dfinal = in(dfinal);
        g.dstates = in(dstates);
        g.dstate = out(gradients[0]);
        g.ddrive = out(gradients[1]);
        g.dw_perceive = out(gradients[2]);
        g.dw_update = out(gradients[3]);
        g.db_update = out(gradients[4]);
        g.dfilters = out(gradients[5]);
        run_interruptibly([&](Interruption* interruption) {
          check_neighbors(g.forward.neighbors, sizes.cells, sizes.slots - 1);
          check_readers(g.forward.neighbors, sizes.cells, sizes.slots - 1, g.reader_offsets, g.readers, readers_count);
          g.forward.interruption = interruption;
          (is_double ? kernel.backward_double : kernel.backward_float)(g);
        });
      },
      "Runs it backward; an address of 0 for a gradient means that it is not asked for.");
}
