// The forward of an automaton: cells that fire by chance, cells that die, perception through filters.
// Included inside the anonymous namespace of kernel.cpp.
//
// Other cells are computed in each step, so nothing is laid out beforehand as in tables.inl: the cells that live and fire
// are listed, in their order, and go through the products in tiles of 12. A cell's numbers do not depend on its tile.

// Who lives: shared by all that work on a sample.
template <typename T>
struct AutomatonSample {
  Scratch<uint8_t> lively, lively_after;  // [N]: above the threshold, before and after a step
  Scratch<uint8_t> before, needed;        // [N]: lives before the step; is that, or is read by a cell that does
  explicit AutomatonSample(const Plan<T>& plan)
      : lively(living(plan)), lively_after(living(plan)), before(living(plan)), needed(living(plan)) {}

 private:
  static int64_t living(const Plan<T>& plan) { return plan.z.alive_channel >= 0 ? plan.z.cells : 0; }
};

template <typename T>
struct AutomatonScratch {
  TileScratch<T> tile;         // its rows: [K][kTile]
  Scratch<const T*> perceived; // [kBlock]: rows of filtered
  Scratch<T> filtered;         // [kBlock, F*S padded]
  Scratch<int32_t> list;       // [N]: cells to compute
  Scratch<int32_t> all_slots;  // [K]
  Scratch<uint8_t> fire;       // [N]
  explicit AutomatonScratch(const Plan<T>& plan)
      : tile(plan, plan.z.slots),
        perceived(kBlock),
        filtered(plan.z.filters > 0 ? kBlock * padded<T>(plan.perceived_size) : 0, true),
        list(plan.z.cells),
        all_slots(plan.z.slots),
        fire(plan.z.cells) {
    for (int64_t i = 0; i < kBlock; ++i)
      perceived.data[i] = filtered.data + (plan.z.filters > 0 ? i * padded<T>(plan.perceived_size) : 0);
    for (int64_t k = 0; k < plan.z.slots; ++k) all_slots.data[k] = int32_t(k);
  }
};

// Calls work(first filter, Count<filters>) for filters in fours, or what is left.
template <typename Work>
inline void for_filters(int64_t filters, const Work& work) {
  int64_t f = 0;
  for (; f + 4 <= filters; f += 4) work(f, Count<4>{});
  if (filters - f == 3) return work(f, Count<3>{});
  if (filters - f == 2) return work(f, Count<2>{});
  if (filters - f == 1) return work(f, Count<1>{});
}

// out [F*S] = the filters of the K rows, which stand kTile apart.
template <bool Depthwise, typename T>
void apply_filters(const Plan<T>& plan, const T* const* rows, T* out) {
  const int64_t K = plan.z.slots, S = plan.z.state_size;
  const T* all = static_cast<const T*>(plan.f.filters);
  for_filters(plan.z.filters, [&](int64_t first, auto several) {
    constexpr int F = decltype(several)::value;
    for_each_vector<T>(S, [&](int64_t s, const auto& load_here, const auto& store_here) {
      Vector<T> sum[F] = {};
      for (int64_t k = 0; k < K; ++k) {
        const Vector<T> x = load_here(rows[k * kTile] + s);
        for (int f = 0; f < F; ++f) {
          const int64_t at = (first + f) * K + k;
          if constexpr (Depthwise)
            sum[f] += load_here(all + at * S + s) * x;
          else
            sum[f] += all[at] * x;
        }
      }
      for (int f = 0; f < F; ++f) store_here(out + (first + f) * S + s, sum[f]);
    });
  });
}

// rows [K][kTile] = where the cells of a tile find the states they read.
template <typename T>
inline void point_at_neighbors(const Plan<T>& plan, const T* state, const int32_t* list, int64_t cells,
                               const T** rows) {
  const int64_t S = plan.z.state_size, degree = plan.z.slots - 1;
  for (int64_t m = 0; m < cells; ++m) {
    const int64_t cell = list[m];
    const int32_t* read = plan.f.neighbors + cell * degree;
    for (int64_t k = 0; k < degree; ++k)
      rows[k * kTile + m] = read[k] < 0 ? plan.zeros.data : state + int64_t(read[k]) * S;
    rows[degree * kTile + m] = state + cell * S;
  }
  for (int64_t k = 0; k < plan.z.slots; ++k)
    for (int64_t m = cells; m < kTile; ++m) rows[k * kTile + m] = plan.zeros.data;
}

// hidden [kTile, H padded] = w_perceive times what the cells of a tile perceive; with filters that is left in the rows of
// `filtered` from `at` on.
template <typename T>
void perceive_tile(const Plan<T>& plan, AutomatonScratch<T>& scratch, const T* state, const int32_t* list, int64_t cells,
                   int64_t at, T* hidden) {
  const T** rows = scratch.tile.rows.data;
  point_at_neighbors(plan, state, list, cells, rows);
  if (plan.z.filters == 0) {
    multiply_rows(rows, scratch.all_slots.data, plan.z.slots, plan.perceive, hidden, plan.H_padded);
    return;
  }
  T* const filtered = scratch.filtered.data + at * padded<T>(plan.perceived_size);
  for (int64_t m = 0; m < cells; ++m) {
    T* out = filtered + m * padded<T>(plan.perceived_size);
    if (plan.z.depthwise)
      apply_filters<true>(plan, rows + m, out);
    else
      apply_filters<false>(plan, rows + m, out);
  }
  multiply_rows(scratch.perceived.data + at, kFirstSlot, 1, plan.perceive, hidden, plan.H_padded);
}

// lively[c] = whether the channel of a cell exceeds the threshold.
template <typename T>
void mark_lively(const Sizes& z, const T* state, int64_t begin, int64_t end, uint8_t* lively) {
  const T threshold = T(z.alive_threshold);
  for (int64_t c = begin; c < end; ++c) lively[c] = state[c * z.state_size + z.alive_channel] > threshold;
}

// Whether a cell, or one that it reads, is lively.
inline bool lives(const Sizes& z, const int32_t* neighbors, const uint8_t* lively, int64_t cell) {
  bool any = lively[cell] != 0;
  for (int64_t k = 0; k < z.slots - 1 && !any; ++k) {
    const int32_t from = neighbors[cell * (z.slots - 1) + k];
    any = from >= 0 && lively[from] != 0;
  }
  return any;
}

// Which cells a step must compute: those that live before it, and those whose new states decide whether these go on.
template <typename T>
void mark_needed(const Sizes& z, const int32_t* neighbors, int64_t begin, int64_t end, AutomatonSample<T>& sample) {
  for (int64_t c = begin; c < end; ++c) {
    const bool alive = lives(z, neighbors, sample.lively.data, c);
    sample.before.data[c] = alive;
    if (!alive) continue;
    __atomic_store_n(&sample.needed.data[c], 1, __ATOMIC_RELAXED);  // others may write the same there
    for (int64_t k = 0; k < z.slots - 1; ++k) {
      const int32_t read = neighbors[c * (z.slots - 1) + k];
      if (read >= 0) __atomic_store_n(&sample.needed.data[read], 1, __ATOMIC_RELAXED);
    }
  }
}

constexpr int64_t kListingWork = 64;  // operations, about, to find out whether a cell is to be computed

// One step of the cells [begin, end): next = step(state), and kept [N] where it is not null. All members of a team
// call it at once, each with its cells.
template <Activation A, typename T>
void step_automaton(const Plan<T>& plan, AutomatonScratch<T>& scratch, AutomatonSample<T>& sample, const Team& team,
                    int64_t b, int64_t t, const T* state, const T* drive, T* next, uint8_t* kept, int64_t begin,
                    int64_t end) {
  const Sizes& z = plan.z;
  const int64_t H = z.hidden_size, S = z.state_size, H_padded = plan.H_padded, S_padded = plan.S_padded;
  const bool mortal = z.alive_channel >= 0;
  scratch.tile.stopped(plan.f.interruption, (end - begin) * kListingWork);  // where nothing lives there are no tiles
  if (mortal) {
    mark_lively(z, state, begin, end, sample.lively.data);
    std::memset(sample.needed.data + begin, 0, size_t(end - begin));
    team.meet();
    mark_needed(z, plan.f.neighbors, begin, end, sample);
    team.meet();
  }
  draw_fire(z, b, t, begin, end, scratch.fire.data);
  int32_t* list = scratch.list.data;
  int64_t count = 0;
  for (int64_t c = begin; c < end; ++c) {
    const bool needed = !mortal || sample.needed.data[c];
    if (needed && scratch.fire.data[c])
      list[count++] = int32_t(c);
    else if (needed)
      copy(next + c * S, state + c * S, S);
    else
      std::memset(next + c * S, 0, size_t(S) * sizeof(T));
  }

  const T** rows = scratch.tile.rows.data;
  T* hidden = scratch.tile.hidden.data;
  T* change = scratch.tile.change.data;
  for (int64_t i = 0; i < count; i += kTile) {
    if (scratch.tile.stopped(plan.f.interruption, plan.tile_work())) break;
    const int64_t cells = smaller(kTile, count - i);
    perceive_tile(plan, scratch, state, list + i, cells, 0, hidden);
    for (int64_t m = 0; m < cells; ++m) {
      const T* drive_row = drive + list[i + m] * z.drive_cell_stride;
      T* row = hidden + m * H_padded;
      for_each_vector<T>(H, [&](int64_t j, const auto& load_here, const auto&) {
        store(row + j, activate<A>(load(row + j) + load_here(drive_row + j)));
      });
    }
    for (int m = 0; m < kTile; ++m) rows[m] = hidden + m * H_padded;
    multiply_rows(rows, kFirstSlot, 1, plan.update, change, S_padded);
    for (int64_t m = 0; m < cells; ++m) {
      const int64_t at = list[i + m] * S;
      for_each_vector<T>(S, [&](int64_t s, const auto& load_here, const auto& store_here) {
        Vector<T> u = load(change + m * S_padded + s) + load(plan.b_update.data + s);
        if (z.update != Update::tanh) u += load_here(state + at + s);
        if (z.update != Update::residual) u = tanh_(u);
        store_here(next + at + s, u);
      });
    }
  }
  if (!mortal) return;

  mark_lively(z, next, begin, end, sample.lively_after.data);
  team.meet();
  for (int64_t c = begin; c < end; ++c) {
    const bool lived = sample.before.data[c] && lives(z, plan.f.neighbors, sample.lively_after.data, c);
    if (!lived) std::memset(next + c * S, 0, size_t(S) * sizeof(T));
    if (kept != nullptr) kept[c] = lived;
  }
}

template <Activation A, typename T>
void forward_automaton(const Forward& f) {
  const Plan<T> plan(f);
  const Sizes& z = f.sizes;
  const int threads = usable_threads(z.threads);
  if (f.trajectory != nullptr)
    expect_large(f.trajectory, z.batch * z.saved_states * plan.sample_size * int64_t(sizeof(T)));
  const bool keeps_all = f.trajectory != nullptr && z.checkpoint_every == 1;
  PerThread<AutomatonScratch<T>> scratch(threads, plan);
  scratch[0].tile.of_the_caller = true;
  PerThread<AutomatonSample<T>> samples(threads, plan);
  PerThread<Scratch<T>> states(threads, keeps_all || z.steps < 2 ? 0 : 2 * plan.sample_size);

  for_each_piece(z.batch, threads, plan.together(), plan.divisible(threads), [&](int64_t b, const Team& team) {
    const int64_t begin = z.cells * team.member / team.members, end = z.cells * (team.member + 1) / team.members;
    const int shared = team.members > 1 ? 0 : team.worker;
    T* spare = states[shared].data;
    const T* state = plan.first(b);
    if (z.steps == 0 && team.member == 0) copy(plan.final_state(b), state, plan.sample_size);
    for (int64_t t = 1; t <= z.steps; ++t) {
      T* next = t == z.steps ? plan.final_state(b) : plan.saved(b, t);
      if (next == nullptr) next = spare + t % 2 * plan.sample_size;
      uint8_t* kept = f.kept == nullptr ? nullptr : f.kept + (b * z.steps + t - 1) * z.cells;
      step_automaton<A>(plan, scratch[team.worker], samples[shared], team, b, t - 1, state, plan.drive(b, t - 1), next,
                        kept, begin, end);
      if (T* returned = plan.returned(b, t))
        copy(returned + begin * z.state_size, next + begin * z.state_size, (end - begin) * z.state_size);
      if (team.meet_and_stop(&f.interruption->stop)) return;
      state = next;
    }
  });
}
