// The backward of an automaton. Included inside the anonymous namespace of kernel.cpp; read backward.inl first.
//
// Chance and life are the same again: cells that did not live through a step pass no gradient on, cells that did not fire
// pass it on as it is. For the others, in two phases with all cells between them:
//
//     A   dpre as in backward.inl, for cells that fired only, and dp = w_perceive^T dpre, what they perceived: [K*S], or
//         with filters [F*S]
//     B   for every cell: the sum of dp over its readers that fired, in their slot k; with filters that is
//         sum over f of filters[f, k] dp[f]
//
// Phase A works on slabs, which have sums of their own, in order; phase B gathers, so nobody writes to another's cell.

template <typename T>
struct AutomatonBackwardPlan : GradientPlan<Plan<T>, T> {
  Packed<T> perceived_from_hidden;  // w_perceive^T: [H] -> K*S or F*S
  int64_t P_padded, most_readers;

  explicit AutomatonBackwardPlan(const Backward& g_)
      : GradientPlan<Plan<T>, T>(g_),
        perceived_from_hidden(1, this->z.hidden_size, this->perceived_size,
                              [&](int64_t, int64_t j, int64_t p) {
                                return static_cast<const T*>(g_.forward.w_perceive)[j * this->perceived_size + p];
                              }),
        P_padded(padded<T>(this->perceived_size)),
        most_readers(1) {
    for (int64_t c = 0; c < this->z.cells; ++c)
      most_readers = larger(most_readers, 1 + g_.reader_offsets[c + 1] - g_.reader_offsets[c]);
  }

  int64_t first_cell(int64_t slab) const { return smaller(this->first_block(slab) * kBlock, this->z.cells); }
  // Where the rows of dp of a slab begin; its last tile may be written beyond its cells.
  int64_t first_row(int64_t slab) const { return first_cell(slab) + slab * kTile; }
  // Whether each cell lived through a step; null when all do.
  const uint8_t* kept(int64_t b, int64_t t) const {
    const Sizes& z = this->z;
    return z.alive_channel < 0 ? nullptr : this->f.kept + (b * z.steps + t) * z.cells;
  }
};

template <typename T>
struct AutomatonBackwardScratch {
  AutomatonScratch<T> forward;
  Scratch<T> dhidden;          // [kTile, H padded]
  Scratch<T> hidden, dpre;     // [kBlock, H padded]
  Scratch<const T*> by_slot;   // [K][kBlock]: the rows that the cells of a block read
  Scratch<const T*> du;        // [kBlock]
  Scratch<const T*> readers;   // [most readers]: their rows of dp
  Scratch<int32_t> slots;      // [most readers]
  explicit AutomatonBackwardScratch(const AutomatonBackwardPlan<T>& plan)
      : forward(plan),
        dhidden(kTile * plan.H_padded, true),
        hidden(kBlock * plan.H_padded, true),
        dpre(kBlock * plan.H_padded, true),
        by_slot(plan.z.slots * kBlock),
        du(kBlock),
        readers(plan.most_readers),
        slots(plan.most_readers) {}
};

template <typename T>
struct AutomatonBackwardSample {
  AutomatonSample<T> living;
  Scratch<T> dperceived;    // [a row for each cell that fires, P padded]
  Scratch<int32_t> row;     // [N]: that of a cell; -1 where it has none
  Scratch<T> gradients;     // two of [N, S]
  Scratch<T> segment;       // the states between two that were kept
  explicit AutomatonBackwardSample(const AutomatonBackwardPlan<T>& plan)
      : living(plan),
        dperceived((plan.z.cells + plan.slabs * kTile) * plan.P_padded),
        row(plan.z.cells),
        gradients(2 * plan.sample_size),
        segment((smaller(plan.z.checkpoint_every, larger(plan.z.steps, 1)) - 1) * plan.sample_size) {}
};

// sums [F, K, S padded] += dp of the cells of a block, times the rows that they read.
template <typename T>
void accumulate_filters(const AutomatonBackwardPlan<T>& plan, const T* const* by_slot, const T* dperceived,
                        int64_t cells, T* sums) {
  const int64_t K = plan.z.slots, S = plan.z.state_size;
  for_filters(plan.z.filters, [&](int64_t first, auto several) {
    constexpr int F = decltype(several)::value;
    for (int64_t k = 0; k < K; ++k)
      for_each_vector<T>(S, [&](int64_t s, const auto& load_here, const auto&) {
        Vector<T> sum[F];
        for (int f = 0; f < F; ++f) sum[f] = load(sums + ((first + f) * K + k) * plan.S_padded + s);
        for (int64_t c = 0; c < cells; ++c) {
          const Vector<T> x = load_here(by_slot[k * kBlock + c] + s);
          for (int f = 0; f < F; ++f) sum[f] += load_here(dperceived + c * plan.P_padded + (first + f) * S + s) * x;
        }
        for (int f = 0; f < F; ++f) store(sums + ((first + f) * K + k) * plan.S_padded + s, sum[f]);
      });
  });
}

// Phase A for the cells of a slab. dnext [N, S] holds d and gets du.
template <Activation A, typename T>
void differentiate_slab(const AutomatonBackwardPlan<T>& plan, AutomatonBackwardScratch<T>& scratch,
                        AutomatonBackwardSample<T>& sample, int64_t slab, int64_t b, int64_t t, const T* state,
                        const T* state_next, T* dnext, T* ddrive, T* sums) {
  const Sizes& z = plan.z;
  const int64_t H = z.hidden_size, S = z.state_size, K = z.slots, H_padded = plan.H_padded;
  const int64_t begin = plan.first_cell(slab), end = plan.first_cell(slab + 1), first_row = plan.first_row(slab);
  const uint8_t* kept = plan.kept(b, t);
  const T* drive = plan.drive(b, t);
  AutomatonScratch<T>& forward = scratch.forward;
  if (forward.tile.stopped(plan.f.interruption, (end - begin) * kListingWork)) return;
  draw_fire(z, b, t, begin, end, forward.fire.data);
  int32_t* list = forward.list.data;
  int64_t count = 0;
  for (int64_t c = begin; c < end; ++c) {
    const bool lived = kept == nullptr || kept[c];
    if (!lived) std::memset(dnext + c * S, 0, size_t(S) * sizeof(T));
    sample.row.data[c] = lived && forward.fire.data[c] ? int32_t(first_row + count) : -1;
    if (sample.row.data[c] >= 0) list[count++] = int32_t(c);
  }

  const bool remembers_rows = sums != nullptr && (z.filters == 0 || plan.g.dfilters != nullptr);
  const T** rows = forward.tile.rows.data;
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t block_cells = smaller(kBlock, count - from);
    T* const dperceived = sample.dperceived.data + (first_row + from) * plan.P_padded;
    for (int64_t i = 0; i < block_cells; i += kTile) {
      if (forward.tile.stopped(plan.f.interruption, 2 * plan.tile_work())) return;
      const int64_t cells = smaller(kTile, block_cells - i);
      const int32_t* tile_list = list + from + i;
      perceive_tile(plan, forward, state, tile_list, cells, i, forward.tile.hidden.data);
      if (remembers_rows)
        for (int64_t k = 0; k < K; ++k)
          for (int64_t m = 0; m < kTile; ++m) scratch.by_slot.data[k * kBlock + i + m] = rows[k * kTile + m];

      for (int64_t m = 0; m < kTile; ++m) {
        rows[m] = plan.zeros.data;
        if (m >= cells) continue;
        const int64_t cell = tile_list[m];
        T* du = dnext + cell * S;
        if (z.update != Update::residual)
          for (int64_t s = 0; s < S; ++s) du[s] *= T(1) - state_next[cell * S + s] * state_next[cell * S + s];
        rows[m] = scratch.du.data[i + m] = du;
      }
      multiply_rows(rows, kFirstSlot, 1, plan.hidden_from_change, scratch.dhidden.data, H_padded);

      for (int64_t m = 0; m < cells; ++m) {
        T* hidden = scratch.hidden.data + (i + m) * H_padded;
        T* dpre = scratch.dpre.data + (i + m) * H_padded;
        const T* pre = forward.tile.hidden.data + m * H_padded;
        const T* dhidden = scratch.dhidden.data + m * H_padded;
        const T* drive_row = drive + tile_list[m] * z.drive_cell_stride;
        T* ddrive_row = ddrive + tile_list[m] * z.drive_cell_stride;
        for_each_vector<T>(H, [&](int64_t j, const auto& load_here, const auto& store_here) {
          Vector<T> h;
          const Vector<T> slope = activate_and_differentiate<A>(load(pre + j) + load_here(drive_row + j), h);
          const Vector<T> d = load(dhidden + j) * slope;
          store(hidden + j, h);
          store(dpre + j, d);
          if (ddrive != nullptr) store_here(ddrive_row + j, load_here(ddrive_row + j) + d);
        });
      }
      for (int64_t m = 0; m < kTile; ++m) rows[m] = scratch.dpre.data + (i + m) * H_padded;
      multiply_rows(rows, kFirstSlot, 1, plan.perceived_from_hidden, dperceived + i * plan.P_padded, plan.P_padded);
    }
    if (sums == nullptr) continue;

    if (z.filters > 0) {
      accumulate_outer(forward.perceived.data, plan.perceived_size, scratch.dpre.data, H_padded, block_cells, sums);
    } else {
      for (int64_t k = 0; k < K; ++k)
        accumulate_outer(scratch.by_slot.data + k * kBlock, S, scratch.dpre.data, H_padded, block_cells,
                         sums + k * S * H_padded);
    }
    accumulate_outer(scratch.du.data, S, scratch.hidden.data, H_padded, block_cells, sums + plan.perceive_size);
    T* db = sums + plan.perceive_size + plan.update_size;
    for (int64_t c = 0; c < block_cells; ++c)
      for (int64_t s = 0; s < S; ++s) db[s] += scratch.du.data[c][s];
    if (plan.g.dfilters != nullptr)
      accumulate_filters(plan, scratch.by_slot.data, dperceived, block_cells, db + plan.S_padded);
  }
}

// The sum over readers of their filters, transposed, of dp: for F filters at once.
template <bool Depthwise, int F, typename T, typename Load>
inline Vector<T> gather_filters(const AutomatonBackwardPlan<T>& plan, const AutomatonBackwardScratch<T>& scratch,
                                int64_t readers, int64_t first, int64_t s, const Load& load_here) {
  const int64_t K = plan.z.slots, S = plan.z.state_size;
  const T* all = static_cast<const T*>(plan.f.filters) + first * K * (Depthwise ? S : 1);
  Vector<T> sum[F] = {};
  for (int64_t i = 0; i < readers; ++i) {
    const int64_t k = scratch.slots.data[i];
    for (int f = 0; f < F; ++f) {
      const Vector<T> d = load_here(scratch.readers.data[i] + (first + f) * S + s);
      if constexpr (Depthwise)
        sum[f] += load_here(all + (f * K + k) * S + s) * d;
      else
        sum[f] += all[f * K + k] * d;
    }
  }
  for (int f = 1; f < F; ++f) sum[0] += sum[f];
  return sum[0];
}

// Phase B for the cells of a slab: dstate = d loss / d s. `lived` are those that a step before has not made zeros; the
// gradient of the others is not asked for. Null: of all.
template <typename T>
void gather_slab(const AutomatonBackwardPlan<T>& plan, AutomatonBackwardScratch<T>& scratch,
                 const AutomatonBackwardSample<T>& sample, int64_t slab, const uint8_t* lived, const T* dnext,
                 T* dstate) {
  const Sizes& z = plan.z;
  const int64_t S = z.state_size, degree = z.slots - 1;
  const double per_degree = 1.0 / double(larger(degree, 1));
  const int32_t* row = sample.row.data;
  for (int64_t c = plan.first_cell(slab); c < plan.first_cell(slab + 1); ++c) {
    if (lived != nullptr && !lived[c]) {
      std::memset(dstate + c * S, 0, size_t(S) * sizeof(T));
      continue;
    }
    int64_t readers = 0;
    const auto add = [&](int64_t reader, int64_t k) {
      scratch.readers.data[readers] = sample.dperceived.data + int64_t(row[reader]) * plan.P_padded;
      scratch.slots.data[readers] = int32_t(k);
      readers += row[reader] >= 0;
    };
    for (int64_t i = plan.g.reader_offsets[c]; i < plan.g.reader_offsets[c + 1]; ++i) {
      const int64_t entry = plan.g.readers[i];
      const int64_t reader = int64_t((double(entry) + 0.5) * per_degree);  // entry / degree, in a few cycles
      add(reader, entry - reader * degree);
    }
    add(c, degree);
    const bool forgets = z.update == Update::tanh && row[c] >= 0;
    for_each_vector<T>(S, [&](int64_t s, const auto& load_here, const auto& store_here) {
      Vector<T> d{};
      if (!forgets) d = load_here(dnext + c * S + s);
      if (z.filters == 0)
        for (int64_t i = 0; i < readers; ++i)
          d += load_here(scratch.readers.data[i] + scratch.slots.data[i] * S + s);
      for_filters(z.filters, [&](int64_t first, auto several) {
        constexpr int F = decltype(several)::value;
        d += z.depthwise ? gather_filters<true, F>(plan, scratch, readers, first, s, load_here)
                         : gather_filters<false, F>(plan, scratch, readers, first, s, load_here);
      });
      store_here(dstate + c * S + s, d);
    });
  }
}

// All steps of one sample, backward.
template <Activation A, typename T>
void differentiate_automaton(const AutomatonBackwardPlan<T>& plan, AutomatonBackwardScratch<T>& scratch,
                             AutomatonBackwardSample<T>& sample, const Team& team, int64_t piece, int64_t b) {
  const Backward& g = plan.g;
  const Sizes& z = plan.z;
  const int64_t size = plan.sample_size, every = z.checkpoint_every;
  const int64_t first_slab = plan.slabs * team.member / team.members;
  const int64_t end_slab = plan.slabs * (team.member + 1) / team.members;
  const int64_t begin = plan.first_cell(first_slab), end = plan.first_cell(end_slab);
  if (team.member == 0) plan.clear_ddrive(b);
  T* dnext = sample.gradients.data;
  T* dstate = dnext + size;
  if (team.member == 0) copy(dnext, static_cast<const T*>(g.dfinal) + b * size, size);
  team.meet();

  const auto state_after = [&](int64_t t) -> const T* {
    if (t == 0) return plan.first(b);
    if (t == z.steps) return plan.final_state(b);
    const T* saved = plan.saved(b, t);
    return saved != nullptr ? saved : sample.segment.data + (t % every - 1) * size;
  };
  for (int64_t t = z.steps - 1; t >= 0; --t) {
    if (t == z.steps - 1 || (t + 1) % every == 0)  // the states of this segment that were not kept
      for (int64_t i = t / every * every; i < t; ++i) {
        T* next = sample.segment.data + (i % every) * size;
        step_automaton<A>(plan, scratch.forward, sample.living, team, b, i, state_after(i), plan.drive(b, i), next,
                          static_cast<uint8_t*>(nullptr), begin, end);
        team.meet();
      }

    add_gradient(dnext, plan.dreturned(b, t + 1), begin * z.state_size, end * z.state_size);
    const T* next = z.update == Update::residual ? nullptr : state_after(t + 1);
    for (int64_t slab = first_slab; slab < end_slab; ++slab)
      differentiate_slab<A>(plan, scratch, sample, slab, b, t, state_after(t), next, dnext,
                            plan.ddrive(piece, b, slab, t), plan.wants_weights ? plan.sums_of(piece, slab) : nullptr);
    if (team.meet_and_stop(&plan.f.interruption->stop)) return;
    if (t == 0 && g.dstate == nullptr) break;
    for (int64_t slab = first_slab; slab < end_slab; ++slab)
      gather_slab(plan, scratch, sample, slab, t > 0 ? plan.kept(b, t - 1) : nullptr, dnext, dstate);
    team.meet();
    T* swap = dnext;
    dnext = dstate;
    dstate = swap;
  }
  if (g.dstate != nullptr && team.member == 0) copy(static_cast<T*>(g.dstate) + b * size, dnext, size);
}

template <Activation A, typename T>
void backward_automaton(const Backward& g) {
  const AutomatonBackwardPlan<T> plan(g);
  const Sizes& z = plan.z;
  const int threads = usable_threads(z.threads);
  if (g.ddrive != nullptr && !plan.shared_drive && z.drive_cell_stride != 0)
    expect_large(g.ddrive, plan.drives * z.batch * z.cells * z.hidden_size * int64_t(sizeof(T)));
  const bool together = plan.together() || plan.pieces < smaller(z.batch, threads);
  const bool divisible = plan.slabs >= 2 * threads || (together && plan.slabs > 1);
  PerThread<AutomatonBackwardScratch<T>> scratch(threads, plan);
  scratch[0].forward.tile.of_the_caller = true;
  PerThread<AutomatonBackwardSample<T>> samples(together && divisible ? 1 : threads, plan);

  for_each_piece(plan.pieces, threads, together, divisible, [&](int64_t piece, const Team& team) {
    AutomatonBackwardSample<T>& sample = samples[team.members > 1 || (together && divisible) ? 0 : team.worker];
    for (int64_t b = z.batch * piece / plan.pieces; b < z.batch * (piece + 1) / plan.pieces; ++b) {
      differentiate_automaton<A>(plan, scratch[team.worker], sample, team, piece, b);
      team.meet();
    }
  });
  plan.finish_weights();
  plan.finish_ddrive();
}
