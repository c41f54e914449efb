// What one rollout is: plain pointers, sizes and codes. Shared by the binding, the dispatcher and the kernel.
//
//   B batch, N cells, S state size, H hidden size, K slots (the K-1 neighbors, then the cell itself), T steps.
//
// All arrays are dense and row-major. The numeric codes are those of cubefast/lattice/checks.py.
#pragma once
#include <cstdint>

namespace cubefast {

enum class Activation : int { tanh = 0, relu = 1, silu = 2, sigmoid = 3 };
enum class Update : int { tanh = 0, residual = 1, residual_tanh = 2 };

// Lets a long rollout be stopped. The thread that called it asks for signals now and then; every thread looks at `stop`
// and, where it is set, leaves the rest of its work undone, which the caller then throws away.
struct Interruption {
  int stop;           // 0 until a signal's handler has raised an exception; read and written by __atomic builtins
  void (*ask)(Interruption*);  // sets stop if one has; null where the caller is no thread that Python gives signals to
};

struct Sizes {
  int64_t batch, cells, state_size, hidden_size, slots, steps;
  int64_t drive_batch_stride;  // N*H, or 0 when every sample hears the same drive
  int64_t checkpoint_every;  // every how many steps a state is kept in the trajectory
  int64_t saved_states;      // kept between the first and the last: (T-1) / checkpoint_every, or 0
  Activation activation;
  Update update;
  int threads;
};

struct Forward {
  Sizes sizes;
  const void* state;         // [B, N, S]
  const void* drive;         // [B, N, H] or [N, H]
  const void* w_perceive;    // [H, K*S]
  const void* w_update;      // [S, H]
  const void* b_update;      // [S]
  const int32_t* neighbors;  // [N, K-1], -1 where there is none
  void* final_state;         // [B, N, S], written
  void* trajectory;          // [B, saved_states, N, S], written; null when no gradient will be asked for
  Interruption* interruption;
};

struct Backward {
  Forward forward;                // final_state and trajectory are read
  const int32_t* reader_offsets;  // [N+1]: cell c is read by entries reader_offsets[c] .. reader_offsets[c+1]
  const int32_t* readers;         // reading cell * (K-1) + slot
  const void* dfinal;             // [B, N, S]
  void* dstate;                   // each written; null when not asked for
  void* ddrive;
  void* dw_perceive;
  void* dw_update;
  void* db_update;
};

}  // namespace cubefast
