// The Python face of the kernel: addresses, sizes and codes in, nothing out. It knows neither torch nor numpy, so one
// build serves every version of both; cubefast/lattice/_native.py is its only caller and has checked shapes, dtypes and
// names. What stands in the tables is checked here, at every call: it is memory that others may have written to.
#include <pthread.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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

Forward forward_of(const Sizes& sizes, uintptr_t state, uintptr_t drive, uintptr_t w_perceive,
                   uintptr_t w_update, uintptr_t b_update, uintptr_t neighbors, uintptr_t final_state,
                   uintptr_t trajectory) {
  return {sizes,        in(state),    in(drive),
          in(w_perceive), in(w_update), in(b_update),
          table(neighbors), out(final_state), out(trajectory), nullptr};
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
  pthread_atfork(nullptr, nullptr, [] {
    in_forked_child = true;
    main_thread = PyThread_get_thread_ident();
  });

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
      [](const Sizes& sizes, bool is_double, uintptr_t state, uintptr_t drive, uintptr_t w_perceive,
         uintptr_t w_update, uintptr_t b_update, uintptr_t neighbors, uintptr_t final_state,
         uintptr_t trajectory) {
        const Kernel& kernel = active_kernel();
        Forward f = forward_of(sizes, state, drive, w_perceive, w_update, b_update, neighbors, final_state, trajectory);
        run_interruptibly([&](Interruption* interruption) {
          check_neighbors(f.neighbors, sizes.cells, sizes.slots - 1);
          f.interruption = interruption;
          (is_double ? kernel.forward_double : kernel.forward_float)(f);
        });
      },
      "Runs the lattice; see csrc/params.h for what each address holds.");

  m.def(
      "backward",
      [](const Sizes& sizes, bool is_double, uintptr_t state, uintptr_t drive, uintptr_t w_perceive,
         uintptr_t w_update, uintptr_t b_update, uintptr_t neighbors, uintptr_t final_state,
         uintptr_t trajectory, uintptr_t reader_offsets, uintptr_t readers, int64_t readers_count, uintptr_t dfinal,
         uintptr_t dstate, uintptr_t ddrive, uintptr_t dw_perceive, uintptr_t dw_update, uintptr_t db_update) {
        const Kernel& kernel = active_kernel();
        Backward g{forward_of(sizes, state, drive, w_perceive, w_update, b_update, neighbors,
                              final_state, trajectory),
                   table(reader_offsets),
                   table(readers),
                   in(dfinal),
                   out(dstate),
                   out(ddrive),
                   out(dw_perceive),
                   out(dw_update),
                   out(db_update)};
        run_interruptibly([&](Interruption* interruption) {
          check_neighbors(g.forward.neighbors, sizes.cells, sizes.slots - 1);
          check_readers(g.forward.neighbors, sizes.cells, sizes.slots - 1, g.reader_offsets, g.readers, readers_count);
          g.forward.interruption = interruption;
          (is_double ? kernel.backward_double : kernel.backward_float)(g);
        });
      },
      "Runs it backward; an address of 0 for a gradient means that it is not asked for.");
}
