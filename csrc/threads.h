// Runs the pieces of a job on the OpenMP threads that torch uses too.
//
// Two ways, mixed as they fit: each thread a piece of its own, and, for pieces that are left over or too large to have
// several at once, all threads together on one piece, meeting at a barrier between its phases. Nothing may throw inside:
// the caller allocates everything before.
#pragma once
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace cubefast {

// A forked child (a DataLoader worker) inherits OpenMP's idea of its threads but not the threads
// themselves, and would wait for them for ever; module.cpp sets this there, and the child works alone.
extern bool in_forked_child;

namespace {

// Who works on one piece together. `worker` is the number of the thread in the whole job: its own scratch memory.
struct Team {
  int worker, member, members;
  int* agreed = nullptr;     // two flags that the members share
  mutable int meetings = 0;  // so far

  // Returns when all members have called it.
  void meet() const {
#ifdef _OPENMP
    if (members > 1) {
#pragma omp barrier
    }
#endif
  }

  // The same, and whether to stop: one answer for all members, or those that go on would wait for those that left. The
  // flags take turns, so that the first member does not write the next answer before all have read this one.
  bool meet_and_stop(const int* stop) const {
    if (members == 1) return __atomic_load_n(stop, __ATOMIC_RELAXED) != 0;
    int* answer = agreed + meetings++ % 2;
    if (member == 0) *answer = __atomic_load_n(stop, __ATOMIC_RELAXED);
    meet();
    return *answer != 0;
  }
};

inline int usable_threads(int threads) {
#ifdef _OPENMP
  return in_forked_child || threads < 1 ? 1 : threads;
#else
  (void)threads;
  return 1;
#endif
}

// Calls work(piece, team) for every piece. With `together`, all threads share each piece.
template <typename Work>
void for_each_piece(int64_t pieces, int threads, bool together, bool divisible, const Work& work) {
  const int64_t alone = threads == 1 || !divisible ? pieces : (together ? 0 : pieces / threads * threads);
#ifdef _OPENMP
  if (threads > 1 && alone > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t piece = 0; piece < alone; ++piece) work(piece, Team{omp_get_thread_num(), 0, 1});
  } else {
    for (int64_t piece = 0; piece < alone; ++piece) work(piece, Team{0, 0, 1});
  }
  if (alone < pieces) {
    int agreed[2] = {0, 0};
#pragma omp parallel num_threads(threads)
    {
      const Team team{omp_get_thread_num(), omp_get_thread_num(), omp_get_num_threads(), agreed};
      for (int64_t piece = alone; piece < pieces; ++piece) {
        work(piece, team);
        team.meet();
      }
    }
  }
#else
  (void)together;
  for (int64_t piece = 0; piece < alone; ++piece) work(piece, Team{0, 0, 1});
#endif
}

}  // namespace
}  // namespace cubefast
