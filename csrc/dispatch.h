// Chooses, once per process, which of the compiled instruction sets runs the kernel.
#pragma once
#include <string>
#include <vector>

#include "params.h"

namespace cubefast {

struct Kernel {
  void (*forward_float)(const Forward&);
  void (*forward_double)(const Forward&);
  void (*backward_float)(const Backward&);
  void (*backward_double)(const Backward&);
};

// Instruction sets that were built and that this CPU and its operating system can run, best last.
std::vector<std::string> available_isas();

// The one in use: the environment variable CUBEFAST_ISA, or the best one available.
// Throws std::runtime_error when CUBEFAST_ISA names one that cannot run here.
std::string active_isa();

const Kernel& active_kernel();

}  // namespace cubefast
