// The forward: T steps of every sample. Included inside the anonymous namespace of kernel.cpp.

constexpr int32_t kFirstSlot[1] = {0};  // the one read of a product that has a single slot

// What all threads read, whatever they run.
template <typename T>
struct Plan {
  const Forward& f;
  const Sizes& z;
  int64_t H_padded, S_padded, sample_size;
  int64_t parts, part_size, perceived_size;  // of what a cell perceives: the states in K slots, or F * S numbers at once
  Packed<T> perceive;  // [parts][part size] -> H
  Packed<T> update;    // [H] -> S
  Scratch<T> zeros;    // the row of a missing neighbor
  Scratch<T> b_update; // padded

  explicit Plan(const Forward& f_)
      : f(f_),
        z(f_.sizes),
        H_padded(padded<T>(z.hidden_size)),
        S_padded(padded<T>(z.state_size)),
        sample_size(z.cells * z.state_size),
        parts(z.filters > 0 ? 1 : z.slots),
        part_size(z.filters > 0 ? z.filters * z.state_size : z.state_size),
        perceived_size(parts * part_size),
        perceive(parts, part_size, z.hidden_size,
                 [&](int64_t k, int64_t s, int64_t j) {
                   return static_cast<const T*>(f_.w_perceive)[(j * parts + k) * part_size + s];
                 }),
        update(1, z.hidden_size, z.state_size,
               [&](int64_t, int64_t j, int64_t s) {
                 return static_cast<const T*>(f_.w_update)[s * z.hidden_size + j];
               }),
        zeros(larger(larger(H_padded, S_padded), padded<T>(part_size)), true),
        b_update(S_padded, true) {
    copy(b_update.data, static_cast<const T*>(f_.b_update), z.state_size);
  }

  // The drive of a sample in the step after t steps.
  const T* drive(int64_t b, int64_t t) const {
    return static_cast<const T*>(f.drive) + t * z.drive_step_stride + b * z.drive_batch_stride;
  }
  int64_t drive_rows(int64_t cells) const { return z.drive_cell_stride != 0 ? cells : 1; }
  const T* first(int64_t b) const { return static_cast<const T*>(f.state) + b * sample_size; }
  T* final_state(int64_t b) const { return static_cast<T*>(f.final_state) + b * sample_size; }

  // Where the trajectory keeps the state after t steps, 0 < t < T; null if it does not.
  T* saved(int64_t b, int64_t t) const {
    if (f.trajectory == nullptr || t % z.checkpoint_every != 0) return nullptr;
    return static_cast<T*>(f.trajectory) + (b * z.saved_states + t / z.checkpoint_every - 1) * sample_size;
  }

  // Where the state after t steps is returned; null if it is not.
  T* returned(int64_t b, int64_t t) const {
    if (z.return_every == 0 || t % z.return_every != 0) return nullptr;
    return static_cast<T*>(f.states) + (b * z.returned_states() + t / z.return_every - 1) * sample_size;
  }

  // Operations of one tile's step, and of all that the caller's thread does before it asks for signals again: some
  // hundredths of a second, and a fraction of a second on the slowest machine.
  int64_t tile_work() const { return 2 * kTile * z.hidden_size * (perceived_size + z.state_size); }
  static constexpr int64_t kWorkBetweenAsking = 1000000000;

  // Samples whose memory outgrows a core's cache are worked on by all threads together.
  bool together() const { return z.cells * H_padded * int64_t(sizeof(T)) > (int64_t(4) << 20); }
  bool divisible(int threads) const { return tiles_of(z.cells) >= 2 * threads; }
};

// The same for a plain lattice, whose tiles always read the same.
template <typename T>
struct ForwardPlan : Plan<T> {
  Perceived perceived;
  explicit ForwardPlan(const Forward& f) : Plan<T>(f), perceived(f.sizes, f.neighbors) {}
};

// What one thread needs for itself. Zeroed, for lanes beyond a row's end are computed with the rest and must stay
// harmless: whatever was in the memory could be a denormal number, which makes each instruction cost a hundred.
template <typename T>
struct TileScratch {
  Scratch<const T*> rows;  // [reads][kTile]
  Scratch<T> hidden;       // [kTile, H padded]
  Scratch<T> change;       // [kTile, S padded]
  bool of_the_caller = false;
  int64_t work = 0;        // since the caller last asked for signals

  // Whether to leave the rest undone; called before each piece of work of so many operations.
  bool stopped(Interruption* interruption, int64_t next_work) {
    if (of_the_caller && (work += next_work) > Plan<T>::kWorkBetweenAsking) {
      work = 0;
      if (interruption->ask != nullptr) interruption->ask(interruption);
    }
    return __atomic_load_n(&interruption->stop, __ATOMIC_RELAXED) != 0;
  }

  TileScratch(const Plan<T>& plan, int64_t most_reads)
      : rows(most_reads * kTile), hidden(kTile * plan.H_padded, true), change(kTile * plan.S_padded, true) {}
};

// An array of TileScratch or the like, one for each thread, made from the same arguments.
template <typename Each>
struct PerThread {
  int count = 0;
  Scratch<Each> memory;
  template <typename... Arguments>
  explicit PerThread(int threads, const Arguments&... arguments) : memory(threads) {
    try {
      for (; count < threads; ++count) new (memory.data + count) Each(arguments...);
    } catch (...) {
      clear();
      throw;
    }
  }
  ~PerThread() { clear(); }
  Each& operator[](int worker) { return memory.data[worker]; }

 private:
  void clear() {
    while (count > 0) memory.data[--count].~Each();
  }
};

// One step of the cells of the tiles [begin, end): next = step(state).
template <Activation A, typename T>
void step_tiles(const ForwardPlan<T>& plan, TileScratch<T>& scratch, const T* state, const T* drive, T* next,
                int64_t begin, int64_t end) {
  const Sizes& z = plan.z;
  const int64_t H = z.hidden_size, S = z.state_size, H_padded = plan.H_padded, S_padded = plan.S_padded;
  const int64_t stride = z.drive_cell_stride;
  const T** rows = scratch.rows.data;
  T* hidden = scratch.hidden.data;
  T* change = scratch.change.data;
  for (int64_t tile = begin; tile < end; ++tile) {
    if (scratch.stopped(plan.f.interruption, plan.tile_work())) return;
    const int64_t cells = smaller(kTile, z.cells - tile * kTile);
    prefetch(drive + tile * kTile * stride, plan.drive_rows(cells) * H);  // it is needed after the product, and comes from far
    plan.perceived.point(tile, state, plan.zeros.data, rows);
    multiply_rows(rows, plan.perceived.slots(tile), plan.perceived.count(tile), plan.perceive, hidden, H_padded);

    for (int64_t m = 0; m < cells; ++m) {
      const T* drive_row = drive + (tile * kTile + m) * stride;
      T* row = hidden + m * H_padded;
      for_each_vector<T>(H, [&](int64_t j, const auto& load_here, const auto&) {
        store(row + j, activate<A>(load(row + j) + load_here(drive_row + j)));
      });
    }
    for (int m = 0; m < kTile; ++m) rows[m] = hidden + m * H_padded;
    multiply_rows(rows, kFirstSlot, 1, plan.update, change, S_padded);

    for (int64_t m = 0; m < cells; ++m) {
      const int64_t at = (tile * kTile + m) * S;
      for_each_vector<T>(S, [&](int64_t s, const auto& load_here, const auto& store_here) {
        Vector<T> u = load(change + m * S_padded + s) + load(plan.b_update.data + s);
        if (z.update != Update::tanh) u += load_here(state + at + s);
        if (z.update != Update::residual) u = tanh_(u);
        store_here(next + at + s, u);
      });
    }
  }
}

template <Activation A, typename T>
void forward(const Forward& f) {
  const ForwardPlan<T> plan(f);
  const Sizes& z = f.sizes;
  const int threads = usable_threads(z.threads);
  if (f.trajectory != nullptr)
    expect_large(f.trajectory, z.batch * z.saved_states * plan.sample_size * int64_t(sizeof(T)));
  const bool keeps_all = f.trajectory != nullptr && z.checkpoint_every == 1;
  PerThread<TileScratch<T>> scratch(threads, plan, plan.perceived.most);
  scratch[0].of_the_caller = true;
  PerThread<Scratch<T>> states(threads, keeps_all || z.steps < 2 ? 0 : 2 * plan.sample_size);

  for_each_piece(z.batch, threads, plan.together(), plan.divisible(threads), [&](int64_t b, const Team& team) {
    const int64_t begin = plan.perceived.tiles * team.member / team.members;
    const int64_t end = plan.perceived.tiles * (team.member + 1) / team.members;
    T* spare = states[team.members > 1 ? 0 : team.worker].data;
    const T* state = plan.first(b);
    if (z.steps == 0 && team.member == 0) copy(plan.final_state(b), state, plan.sample_size);
    for (int64_t t = 1; t <= z.steps; ++t) {
      T* next = t == z.steps ? plan.final_state(b) : plan.saved(b, t);
      if (next == nullptr) next = spare + t % 2 * plan.sample_size;
      step_tiles<A>(plan, scratch[team.worker], state, plan.drive(b, t - 1), next, begin, end);
      if (T* returned = plan.returned(b, t)) {
        const int64_t first = begin * kTile * z.state_size;
        copy(returned + first, next + first, smaller(end * kTile * z.state_size, plan.sample_size) - first);
      }
      if (team.meet_and_stop(&f.interruption->stop)) return;
      state = next;
    }
  });
}
