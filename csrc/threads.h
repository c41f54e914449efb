// Runs independent pieces of work on the OpenMP threads that torch uses too.
#pragma once
#include <cstdint>
#include <new>

namespace cubefast {

// A forked child (a DataLoader worker) inherits OpenMP's idea of its threads but not the threads
// themselves, and would wait for them for ever; module.cpp sets this there, and the child works alone.
extern bool in_forked_child;

// Calls work(piece) for every piece. Which thread runs a piece never changes a result: pieces share nothing.
// Throws std::bad_alloc when a piece ran out of memory (an exception may not leave an OpenMP region by itself).
template <typename Work>
inline void for_each_piece(int64_t pieces, int threads, const Work& work) {
  if (threads <= 1 || pieces <= 1 || in_forked_child) {
    for (int64_t piece = 0; piece < pieces; ++piece) work(piece);
    return;
  }
  bool out_of_memory = false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    try {
      work(piece);
    } catch (const std::bad_alloc&) {
#pragma omp atomic write
      out_of_memory = true;
    }
  }
  if (out_of_memory) throw std::bad_alloc();
}

}  // namespace cubefast
