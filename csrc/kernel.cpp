// The lattice rollout, forward and backward, compiled once per instruction set.
//
// One step, for every cell c at once (p_c is the K states that c perceives, a missing neighbor reads zeros):
//
//     h_c  = activation(w_perceive p_c + drive_c)
//     u_c  = w_update h_c + b_update
//     s'_c = tanh(u_c)  |  s_c + u_c  |  tanh(s_c + u_c)
//
// A sample is rolled out from the first step to the last before the next one is begun, so that its state stays in the
// cache. The hidden layer h never leaves a tile of 12 cells: the backward computes it again from the saved states.
//
// The parts, each included below: vectors (SIMD types), products (matrix products through row pointers), activations,
// tables (which rows a tile reads), forward, gradients (sums that do not depend on threads), backward; and for automata
// fire (chance), automaton, automaton_backward.
//
// What this file does not do: checks (the Python side has made them) and choosing an instruction set (dispatch.cpp).
//
// Everything is in an anonymous namespace or in one named after the instruction set: an inline function shared
// between objects built with different flags would let the linker keep the one that this CPU cannot run. For the
// same reason no container or algorithm of the standard library is used here.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "params.h"
#include "threads.h"

namespace cubefast {
namespace {

// An array on cache-line boundaries, freed at the end of its block; zeroed on request.
template <typename T>
struct Scratch {
  T* data;
  explicit Scratch(int64_t count, bool zeroed = false) {
    const size_t bytes = (static_cast<size_t>(count > 0 ? count : 1) * sizeof(T) + 63) / 64 * 64;
    data = static_cast<T*>(std::aligned_alloc(64, bytes));
    if (data == nullptr) throw std::bad_alloc();
    if (zeroed) std::memset(data, 0, bytes);
  }
  ~Scratch() { std::free(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

// A number known to the compiler, passed as an argument.
template <int N>
struct Count {
  static constexpr int value = N;
};

template <typename T>
inline void copy(T* to, const T* from, int64_t count) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// A large array that is about to be written for the first time: with huge pages it costs a few hundred page faults
// instead of tens of thousands (5% of a training step's time without). Only advice, and harmless where it is not taken.
inline void expect_large(void* data, int64_t bytes) {
#ifdef __linux__
  constexpr uintptr_t page = uintptr_t(2) << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + uintptr_t(bytes)) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

#include "vectors.inl"

#include "products.inl"

#include "activations.inl"

#include "tables.inl"

#include "forward.inl"

#include "gradients.inl"

#include "backward.inl"

#include "fire.inl"

#include "automaton.inl"

#include "automaton_backward.inl"

template <Activation A, typename T>
void forward_with(const Forward& f) {
  return f.sizes.is_automaton() ? forward_automaton<A, T>(f) : forward<A, T>(f);
}

template <Activation A, typename T>
void backward_with(const Backward& g) {
  return g.forward.sizes.is_automaton() ? backward_automaton<A, T>(g) : backward<A, T>(g);
}

template <Activation A>
struct Chosen {
  static constexpr Activation activation = A;
};

// work(Chosen<A>) for the activation of a call, which only now becomes one that the compiler knows.
template <typename Work>
void with_activation(Activation activation, Work work) {
  switch (activation) {
    case Activation::tanh: return work(Chosen<Activation::tanh>{});
    case Activation::relu: return work(Chosen<Activation::relu>{});
    case Activation::silu: return work(Chosen<Activation::silu>{});
    case Activation::sigmoid: return work(Chosen<Activation::sigmoid>{});
  }
}

template <typename T>
void forward_any(const Forward& f) {
  with_activation(f.sizes.activation, [&](auto chosen) { forward_with<decltype(chosen)::activation, T>(f); });
}

template <typename T>
void backward_any(const Backward& g) {
  with_activation(g.forward.sizes.activation, [&](auto chosen) { backward_with<decltype(chosen)::activation, T>(g); });
}

}  // namespace

#define CUBEFAST_JOIN_(a, b) a##b
#define CUBEFAST_JOIN(a, b) CUBEFAST_JOIN_(a, b)
namespace CUBEFAST_JOIN(kernel_, CUBEFAST_ISA) {
void forward_float(const Forward& f) { forward_any<float>(f); }
void forward_double(const Forward& f) { forward_any<double>(f); }
void backward_float(const Backward& g) { backward_any<float>(g); }
void backward_double(const Backward& g) { backward_any<double>(g); }
}  // namespace CUBEFAST_JOIN(kernel_, CUBEFAST_ISA)

}  // namespace cubefast
