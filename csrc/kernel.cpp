// The lattice rollout, forward and backward, compiled once per instruction set.
//
// One step, for every cell c at once (p_c is the K states that c perceives, a missing neighbor reads zeros):
//
//     h_c  = activation(w_perceive p_c + drive_c)
//     u_c  = w_update h_c + b_update
//     s'_c = tanh(u_c)  |  s_c + u_c  |  tanh(s_c + u_c)
//
// A sample is rolled out from the first step to the last before the next one is begun, so that its state stays in
// the cache. The hidden layer h is never kept: the backward computes it again from the saved states.
//
// What this file does not do: checks (the Python side has made them), choosing an instruction set (dispatch.cpp),
// and splitting one sample over threads.
//
// Everything is in an anonymous namespace or in one named after the instruction set: an inline function shared
// between objects built with different flags would let the linker keep the one that this CPU cannot run. For the
// same reason no container or algorithm of the standard library is used here.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "params.h"
#include "threads.h"

namespace cubefast {
namespace {

#include "activations.inl"

// An array that is freed at the end of its block; zeroed on request.
template <typename T>
struct Scratch {
  T* data;
  explicit Scratch(int64_t count, bool zeroed = false) {
    const size_t n = count > 0 ? static_cast<size_t>(count) : 1;
    data = static_cast<T*>(zeroed ? std::calloc(n, sizeof(T)) : std::malloc(n * sizeof(T)));
    if (data == nullptr) throw std::bad_alloc();
  }
  ~Scratch() { std::free(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

template <typename T>
inline void copy(T* to, const T* from, int64_t count) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
}

// to[j, i] = from[i, j], with from [rows, columns].
template <typename T>
inline void transpose(T* to, const T* from, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) to[j * rows + i] = from[i * columns + j];
}

// The weights in the layouts that the loops below read: the longer, vectorized loop is innermost.
template <typename T>
struct Weights {
  const T* w_perceive;            // [H, K*S]
  const T* w_update;              // [S, H]
  const T* b_update;              // [S]
  Scratch<T> perceive_t;          // [K*S, H]
  Scratch<T> update_t;            // [H, S]

  explicit Weights(const Forward& f)
      : w_perceive(static_cast<const T*>(f.w_perceive)),
        w_update(static_cast<const T*>(f.w_update)),
        b_update(static_cast<const T*>(f.b_update)),
        perceive_t(f.sizes.slots * f.sizes.state_size * f.sizes.hidden_size),
        update_t(f.sizes.state_size * f.sizes.hidden_size) {
    transpose(perceive_t.data, w_perceive, f.sizes.hidden_size, f.sizes.slots * f.sizes.state_size);
    transpose(update_t.data, w_update, f.sizes.state_size, f.sizes.hidden_size);
  }
};

// The state of slot k of a cell, or null for a missing neighbor.
template <typename T>
inline const T* perceived(const Sizes& z, const int32_t* neighbors, const T* state, int64_t cell, int64_t k) {
  if (k == z.slots - 1) return state + cell * z.state_size;
  const int32_t from = neighbors[cell * (z.slots - 1) + k];
  return from < 0 ? nullptr : state + from * z.state_size;
}

// pre [H] = w_perceive p_c + drive_c
template <typename T>
inline void perceive(const Sizes& z, const Weights<T>& w, const int32_t* neighbors, const T* state,
                     const T* drive, int64_t cell, T* __restrict pre) {
  const int64_t H = z.hidden_size, S = z.state_size;
  copy(pre, drive + cell * H, H);
  for (int64_t k = 0; k < z.slots; ++k) {
    const T* row = perceived(z, neighbors, state, cell, k);
    if (row == nullptr) continue;
    for (int64_t s = 0; s < S; ++s) {
      const T value = row[s];
      const T* __restrict column = w.perceive_t.data + (k * S + s) * H;
      for (int64_t j = 0; j < H; ++j) pre[j] += value * column[j];
    }
  }
}

// next [N, S] = one step from state [N, S]; hidden [H] and update [S] are scratch.
template <Activation A, typename T>
void step(const Sizes& z, const Weights<T>& w, const int32_t* neighbors, const T* state, const T* drive,
          T* next, T* __restrict hidden, T* __restrict update) {
  const int64_t H = z.hidden_size, S = z.state_size;
  for (int64_t cell = 0; cell < z.cells; ++cell) {
    perceive(z, w, neighbors, state, drive, cell, hidden);
    for (int64_t j = 0; j < H; ++j) hidden[j] = activate<A>(hidden[j]);
    copy(update, w.b_update, S);
    for (int64_t j = 0; j < H; ++j) {
      const T value = hidden[j];
      const T* __restrict column = w.update_t.data + j * S;
      for (int64_t s = 0; s < S; ++s) update[s] += value * column[s];
    }
    const T* here = state + cell * S;
    T* there = next + cell * S;
    switch (z.update) {
      case Update::tanh:
        for (int64_t s = 0; s < S; ++s) there[s] = tanh_(update[s]);
        break;
      case Update::residual:
        for (int64_t s = 0; s < S; ++s) there[s] = here[s] + update[s];
        break;
      case Update::residual_tanh:
        for (int64_t s = 0; s < S; ++s) there[s] = tanh_(here[s] + update[s]);
        break;
    }
  }
}

template <Activation A, typename T>
void forward(const Forward& f) {
  const Sizes& z = f.sizes;
  const int64_t sample_size = z.cells * z.state_size;
  const Weights<T> w(f);
  for_each_piece(z.batch, z.threads, [&](int64_t b) {
    const T* drive = static_cast<const T*>(f.drive) + b * z.drive_batch_stride;
    T* final_state = static_cast<T*>(f.final_state) + b * sample_size;
    T* saved = f.trajectory == nullptr
                   ? nullptr
                   : static_cast<T*>(f.trajectory) + b * z.saved_states * sample_size;
    Scratch<T> buffers(2 * sample_size), hidden(z.hidden_size), update(z.state_size);
    T* now = buffers.data;
    T* next = buffers.data + sample_size;
    copy(now, static_cast<const T*>(f.state) + b * sample_size, sample_size);
    for (int64_t t = 0; t < z.steps; ++t) {
      if (saved != nullptr && t > 0 && t % z.checkpoint_every == 0) {
        copy(saved, now, sample_size);
        saved += sample_size;
      }
      step<A>(z, w, f.neighbors, now, drive, next, hidden.data, update.data);
      T* swap = now;
      now = next;
      next = swap;
    }
    copy(final_state, now, sample_size);
  });
}

// The gradients that are sums over samples: one buffer per piece of the batch, added up in order at the end.
template <typename T>
struct Sums {
  int64_t perceive, update, bias, drive;  // sizes; 0 when not asked for
  int64_t total() const { return perceive + update + bias + drive; }
};

// How many pieces the batch is cut into. It depends on the sizes only, never on the number of threads, so that
// the sums below are added in the same order whatever the machine: gradients are bitwise reproducible.
template <typename T>
int64_t batch_pieces(const Sizes& z, const Sums<T>& sums) {
  const int64_t budget = int64_t(64) << 20;  // bytes for all the buffers together
  int64_t pieces = z.batch < 64 ? z.batch : 64;
  const int64_t affordable = budget / (sums.total() * int64_t(sizeof(T)) + 1);
  if (pieces > affordable) pieces = affordable > 8 ? affordable : (z.batch < 8 ? z.batch : 8);
  return pieces > 0 ? pieces : 1;
}

template <Activation A, typename T>
void backward(const Backward& g) {
  const Forward& f = g.forward;
  const Sizes& z = f.sizes;
  const int64_t H = z.hidden_size, S = z.state_size, K = z.slots, N = z.cells;
  const int64_t KS = K * S, sample_size = N * S, every = z.checkpoint_every;
  const bool shared_drive = z.drive_batch_stride == 0;
  const Weights<T> w(f);

  const Sums<T> sums{g.dw_perceive ? KS * H : 0, g.dw_update ? H * S : 0, g.db_update ? S : 0,
                     g.ddrive && shared_drive ? N * H : 0};
  const int64_t pieces = batch_pieces(z, sums);
  const Scratch<T> partials(pieces * sums.total(), true);

  for_each_piece(pieces, z.threads, [&](int64_t piece) {
    T* dw_perceive_t = partials.data + piece * sums.total();  // [K*S, H]
    T* dw_update_t = dw_perceive_t + sums.perceive;           // [H, S]
    T* db_update = dw_update_t + sums.update;
    T* ddrive_shared = db_update + sums.bias;

    const int64_t segment = every < z.steps ? every : z.steps;
    Scratch<T> states((segment + 1) * sample_size);  // s_t of one segment, recomputed
    Scratch<T> dpre_all(N * H);                      // d loss / d pre, of every cell in one step
    Scratch<T> dnow(sample_size), dbefore(sample_size), hidden(H), pre(H), update(S);

    for (int64_t b = z.batch * piece / pieces; b < z.batch * (piece + 1) / pieces; ++b) {
      const T* drive = static_cast<const T*>(f.drive) + b * z.drive_batch_stride;
      const T* first = static_cast<const T*>(f.state) + b * sample_size;
      const T* last = static_cast<const T*>(f.final_state) + b * sample_size;
      const T* saved = static_cast<const T*>(f.trajectory) + b * z.saved_states * sample_size;
      T* ddrive = nullptr;
      if (g.ddrive != nullptr) {
        ddrive = shared_drive ? ddrive_shared : static_cast<T*>(g.ddrive) + b * N * H;
        if (!shared_drive) std::memset(ddrive, 0, static_cast<size_t>(N * H) * sizeof(T));
      }
      T* dstate_next = dnow.data;  // gradient of the state after step t
      T* dstate = dbefore.data;    // gradient of the state before it
      copy(dstate_next, static_cast<const T*>(g.dfinal) + b * sample_size, sample_size);

      for (int64_t t = z.steps - 1; t >= 0; --t) {
        // The states s_t and s_{t+1}: from the trajectory, or recomputed for the segment that holds them.
        const int64_t begin = t / every * every;
        if (t == z.steps - 1 || t == begin + every - 1) {
          copy(states.data, begin == 0 ? first : saved + (begin / every - 1) * sample_size, sample_size);
          for (int64_t i = begin; i < t; ++i) {
            T* from = states.data + (i - begin) * sample_size;
            step<A>(z, w, f.neighbors, from, drive, from + sample_size, hidden.data, update.data);
          }
          const int64_t end = t + 1;
          copy(states.data + (end - begin) * sample_size,
               end == z.steps ? last : saved + (end / every - 1) * sample_size, sample_size);
        }
        const T* state = states.data + (t - begin) * sample_size;
        const T* state_next = state + sample_size;

        for (int64_t cell = 0; cell < N; ++cell) {
          T* du = dstate_next + cell * S;  // d loss / d u_c, in place
          if (z.update != Update::residual)
            for (int64_t s = 0; s < S; ++s) du[s] *= T(1) - state_next[cell * S + s] * state_next[cell * S + s];

          perceive(z, w, f.neighbors, state, drive, cell, pre.data);
          for (int64_t j = 0; j < H; ++j) hidden.data[j] = activate<A>(pre.data[j]);

          T* __restrict dpre = dpre_all.data + cell * H;
          for (int64_t j = 0; j < H; ++j) dpre[j] = T(0);
          for (int64_t s = 0; s < S; ++s) {
            const T value = du[s];
            const T* __restrict row = w.w_update + s * H;
            for (int64_t j = 0; j < H; ++j) dpre[j] += value * row[j];
          }
          for (int64_t j = 0; j < H; ++j) dpre[j] *= derivative<A>(pre.data[j], hidden.data[j]);

          if (ddrive != nullptr)
            for (int64_t j = 0; j < H; ++j) ddrive[cell * H + j] += dpre[j];
          if (sums.bias > 0)
            for (int64_t s = 0; s < S; ++s) db_update[s] += du[s];
          if (sums.update > 0)
            for (int64_t j = 0; j < H; ++j)
              for (int64_t s = 0; s < S; ++s) dw_update_t[j * S + s] += hidden.data[j] * du[s];
          if (sums.perceive > 0)
            for (int64_t k = 0; k < K; ++k) {
              const T* row = perceived(z, f.neighbors, state, cell, k);
              if (row == nullptr) continue;
              for (int64_t s = 0; s < S; ++s) {
                const T value = row[s];
                T* __restrict column = dw_perceive_t + (k * S + s) * H;
                for (int64_t j = 0; j < H; ++j) column[j] += value * dpre[j];
              }
            }
        }

        // A cell gathers what its readers pass back: nothing is scattered, so no two cells write one place.
        for (int64_t cell = 0; cell < N; ++cell) {
          T* __restrict ds = dstate + cell * S;
          for (int64_t s = 0; s < S; ++s) ds[s] = z.update == Update::tanh ? T(0) : dstate_next[cell * S + s];
          const auto gather = [&](int64_t reader, int64_t slot) {
            const T* dpre = dpre_all.data + reader * H;
            for (int64_t j = 0; j < H; ++j) {
              const T value = dpre[j];
              const T* __restrict row = w.w_perceive + j * KS + slot * S;
              for (int64_t s = 0; s < S; ++s) ds[s] += value * row[s];
            }
          };
          for (int32_t i = g.reader_offsets[cell]; i < g.reader_offsets[cell + 1]; ++i)
            gather(g.readers[i] / (K - 1), g.readers[i] % (K - 1));
          gather(cell, K - 1);
        }
        T* swap = dstate_next;
        dstate_next = dstate;
        dstate = swap;
      }
      if (g.dstate != nullptr) copy(static_cast<T*>(g.dstate) + b * sample_size, dstate_next, sample_size);
    }
  });

  T* total = partials.data;  // of the first piece, to which the others are added in order
  for (int64_t piece = 1; piece < pieces; ++piece) {
    const T* partial = partials.data + piece * sums.total();
    for (int64_t i = 0; i < sums.total(); ++i) total[i] += partial[i];
  }
  if (g.dw_perceive != nullptr) transpose(static_cast<T*>(g.dw_perceive), total, KS, H);
  if (g.dw_update != nullptr) transpose(static_cast<T*>(g.dw_update), total + sums.perceive, H, S);
  if (g.db_update != nullptr) copy(static_cast<T*>(g.db_update), total + sums.perceive + sums.update, S);
  if (sums.drive > 0)
    copy(static_cast<T*>(g.ddrive), total + sums.perceive + sums.update + sums.bias, sums.drive);
}

template <typename T>
void forward_any(const Forward& f) {
  switch (f.sizes.activation) {
    case Activation::tanh: return forward<Activation::tanh, T>(f);
    case Activation::relu: return forward<Activation::relu, T>(f);
    case Activation::silu: return forward<Activation::silu, T>(f);
    case Activation::sigmoid: return forward<Activation::sigmoid, T>(f);
  }
}

template <typename T>
void backward_any(const Backward& g) {
  switch (g.forward.sizes.activation) {
    case Activation::tanh: return backward<Activation::tanh, T>(g);
    case Activation::relu: return backward<Activation::relu, T>(g);
    case Activation::silu: return backward<Activation::silu, T>(g);
    case Activation::sigmoid: return backward<Activation::sigmoid, T>(g);
  }
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
