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
  int64_t drive_batch_stride;  // from sample to sample, or 0 when all have the same drive
  int64_t drive_cell_stride;   // H, or 0 when all cells of a sample have the same
  int64_t checkpoint_every;  // every how many steps a state is kept in the trajectory
  int64_t saved_states;      // kept between the first and the last: (T-1) / checkpoint_every, or 0
  Activation activation;
  Update update;
  int threads;

  // The options of an automaton; those of a plain lattice are 0, 2^32 and -1.
  int64_t filters = 0;                    // F, or 0: w_perceive reads all slots as they are
  bool depthwise = false;                 // whether a filter has weights [K, S] and not [K]
  uint64_t fire_below = uint64_t(1) << 32;  // a cell fires if its number of 32 bits is below; all are
  uint64_t seed = 0;
  int64_t first_step = 0;
  int64_t alive_channel = -1;             // of the state; below 0: all cells live
  double alive_threshold = 0;
  int64_t return_every = 0;               // every how many steps a state is returned; 0: none
  int64_t drive_step_stride = 0;          // from step to step, or 0 when the drive is the same in each

  bool is_automaton() const { return filters > 0 || fire_below >> 32 == 0 || alive_channel >= 0; }
  int64_t returned_states() const { return return_every > 0 ? steps / return_every : 0; }
};

struct Forward {
  Sizes sizes;
  const void* state;         // [B, N, S]
  const void* drive;         // [T or 1, B or 1, N or 1, H]
  const void* w_perceive;    // [H, K*S], or with filters [H, F*S]
  const void* w_update;      // [S, H]
  const void* b_update;      // [S]
  const int32_t* neighbors;  // [N, K-1], -1 where there is none
  void* final_state;         // [B, N, S], written
  void* trajectory;          // [B, saved_states, N, S], written; null when no gradient will be asked for
  const void* filters;       // [F, K] or [F, K, S]
  void* states;              // [B, T / return_every, N, S], written
  uint8_t* kept;             // [B, T, N], written: whether each cell lived through the step; null when not needed
  Interruption* interruption;
};

struct Backward {
  Forward forward;                // final_state, trajectory and kept are read, states is not looked at
  const int32_t* reader_offsets;  // [N+1]: cell c is read by entries reader_offsets[c] .. reader_offsets[c+1]
  const int32_t* readers;         // reading cell * (K-1) + slot
  const void* dfinal;             // [B, N, S]
  const void* dstates;            // as states; null when they have no gradient
  void* dstate;                   // each written; null when not asked for
  void* ddrive;
  void* dw_perceive;
  void* dw_update;
  void* db_update;
  void* dfilters;
};

}  // namespace cubefast
