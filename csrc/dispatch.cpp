#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace cubefast {

#define CUBEFAST_DECLARE(isa)              \
  namespace kernel_##isa {                 \
  void forward_float(const Forward&);      \
  void forward_double(const Forward&);     \
  void backward_float(const Backward&);    \
  void backward_double(const Backward&);   \
  }
#define CUBEFAST_TABLE(isa)                                           \
  Kernel {                                                            \
    kernel_##isa::forward_float, kernel_##isa::forward_double,        \
        kernel_##isa::backward_float, kernel_##isa::backward_double   \
  }

CUBEFAST_DECLARE(baseline)
#ifdef CUBEFAST_HAVE_AVX2
CUBEFAST_DECLARE(avx2)
#endif
#ifdef CUBEFAST_HAVE_AVX512
CUBEFAST_DECLARE(avx512)
#endif

namespace {

struct Isa {
  std::string name;
  Kernel kernel;
  bool runs_here;
};

// __builtin_cpu_supports asks cpuid and whether the operating system saves the wide registers.
const std::vector<Isa>& built() {
  static const std::vector<Isa> list = {
      {"baseline", CUBEFAST_TABLE(baseline), true},
#ifdef CUBEFAST_HAVE_AVX2
      {"avx2", CUBEFAST_TABLE(avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
#ifdef CUBEFAST_HAVE_AVX512
      {"avx512", CUBEFAST_TABLE(avx512),
       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")},
#endif
  };
  return list;
}

const Isa& choose() {
  const char* forced = std::getenv("CUBEFAST_ISA");
  if (forced == nullptr || *forced == '\0') {
    const Isa* best = nullptr;
    for (const Isa& isa : built())
      if (isa.runs_here) best = &isa;
    return *best;
  }
  std::string allowed;
  for (const Isa& isa : built()) {
    if (!isa.runs_here) continue;
    if (isa.name == forced) return isa;
    allowed += (allowed.empty() ? "" : ", ") + isa.name;
  }
  throw std::runtime_error("CUBEFAST_ISA=" + std::string(forced) +
                           " cannot run here: this build on this CPU has " + allowed +
                           ". Unset CUBEFAST_ISA or name one of those.");
}

const Isa& active() {
  // Without a lock, as a static that is computed has: forked while another thread held it, a child would wait for ever.
  static std::atomic<const Isa*> chosen{nullptr};
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) chosen.store(isa = &choose(), std::memory_order_release);
  return *isa;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : built())
    if (isa.runs_here) names.push_back(isa.name);
  return names;
}

std::string active_isa() { return active().name; }

const Kernel& active_kernel() { return active().kernel; }

}  // namespace cubefast
