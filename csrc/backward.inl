// The backward: each step's hidden layer again, and the gradients. Included inside the anonymous namespace of kernel.cpp.
//
// A step, from d = d loss / d s' to d loss / d s, in two phases:
//
//     A, for every cell:  du    = d (1 - s'^2)  (or d: residual)          ddrive     += dpre
//                         dpre  = (w_update^T du) activation'             dw_perceive += dpre p^T
//                                                                         dw_update   += du h^T,  db_update += du
//     B, for every cell:  ds    = du (or 0: tanh) + sum over its readers r, in their slot k, of w_perceive[k]^T dpre_r
//
// Phase B gathers: nobody writes to another's cell. It follows A block by block, as soon as all readers of a block have
// been through A, so that their dpre is still in the cache; what other threads' cells read waits for a meeting.
//
// The sums over cells and samples are those of gradients.inl.

// For each block of cells, the first and the last block in which it is read.
struct ReaderBlocks {
  Scratch<int64_t> first, last;  // [blocks]
  Scratch<int64_t> begin;        // [blocks + 1]
  Scratch<int64_t> by_last;      // [blocks]: those whose last is i stand at begin[i] .. begin[i + 1]

  ReaderBlocks(const Sizes& z, const int32_t* reader_offsets, const int32_t* readers, int64_t blocks)
      : first(blocks), last(blocks), begin(blocks + 1, true), by_last(blocks) {
    for (int64_t block = 0; block < blocks; ++block) {
      first.data[block] = last.data[block] = block;  // every cell reads itself
      const int64_t end_cell = smaller((block + 1) * kBlock, z.cells);
      for (int64_t i = reader_offsets[block * kBlock]; i < reader_offsets[end_cell]; ++i) {
        const int64_t reader = readers[i] / (z.slots - 1) / kBlock;
        first.data[block] = smaller(first.data[block], reader);
        last.data[block] = larger(last.data[block], reader);
      }
      ++begin.data[last.data[block] + 1];
    }
    for (int64_t i = 0; i < blocks; ++i) begin.data[i + 1] += begin.data[i];
    Scratch<int64_t> place(blocks);
    copy(place.data, begin.data, blocks);
    for (int64_t block = 0; block < blocks; ++block) by_last.data[place.data[last.data[block]]++] = block;
  }

  template <typename Work>
  void for_each_with_last(int64_t i, const Work& work) const {
    for (int64_t at = begin.data[i]; at < begin.data[i + 1]; ++at) work(by_last.data[at]);
  }
};

template <typename T>
struct BackwardPlan : GradientPlan<ForwardPlan<T>, T> {
  Packed<T> state_from_hidden;   // w_perceive^T: [K slots][H] -> S
  Readers readers;
  ReaderBlocks reader_blocks;

  explicit BackwardPlan(const Backward& g_)
      : GradientPlan<ForwardPlan<T>, T>(g_),
        state_from_hidden(this->z.slots, this->z.hidden_size, this->z.state_size,
                          [&](int64_t k, int64_t j, int64_t s) {
                            const int64_t row = j * this->z.slots + k;
                            return static_cast<const T*>(g_.forward.w_perceive)[row * this->z.state_size + s];
                          }),
        readers(this->z, g_.reader_offsets, g_.readers, this->H_padded),
        reader_blocks(this->z, g_.reader_offsets, g_.readers, this->blocks) {}
};

template <typename T>
struct BackwardScratch {
  TileScratch<T> tile;
  Scratch<T> dhidden;            // [kTile, H padded]
  Scratch<T> hidden;             // [kBlock, H padded]
  Scratch<const T*> perceived;   // [K][kBlock]: the rows of a block by slot
  Scratch<bool> read;            // [K]: whether any cell of the block has the slot
  Scratch<const T*> du;          // [kBlock]
  explicit BackwardScratch(const BackwardPlan<T>& plan)
      : tile(plan, larger(plan.perceived.most, plan.readers.most)),
        dhidden(kTile * plan.H_padded, true),
        hidden(kBlock * plan.H_padded),
        perceived(plan.z.slots * kBlock),
        read(plan.z.slots),
        du(kBlock) {}
};

// What the threads that work on one sample share.
template <typename T>
struct SampleScratch {
  Scratch<T> dpre;      // [N, H padded]
  Scratch<T> gradients; // two of [N, S]
  Scratch<T> segment;   // the states between two that were kept
  explicit SampleScratch(const BackwardPlan<T>& plan)
      : dpre(plan.z.cells * plan.H_padded),
        gradients(2 * plan.sample_size),
        segment((smaller(plan.z.checkpoint_every, larger(plan.z.steps, 1)) - 1) * plan.sample_size) {}
};

// Phase A for the cells of one block. dnext [N, S] holds d and gets du; dpre [N, H padded] and the sums are written.
template <Activation A, typename T>
void differentiate_block(const BackwardPlan<T>& plan, BackwardScratch<T>& scratch, int64_t block, const T* state,
                         const T* state_next, const T* drive, T* dnext, T* dpre, T* ddrive, T* sums) {
  const Sizes& z = plan.z;
  const int64_t H = z.hidden_size, S = z.state_size, K = z.slots, H_padded = plan.H_padded;
  const int64_t stride = z.drive_cell_stride;
  const T** rows = scratch.tile.rows.data;
  const int64_t first = block * kBlock;
  const int64_t block_cells = smaller(kBlock, z.cells - first);
  const int64_t first_tile = first / kTile, end_tile = (first + block_cells + kTile - 1) / kTile;
  Scratch<const T*>& by_slot = scratch.perceived;
  for (int64_t k = 0; k < K; ++k) scratch.read.data[k] = false;

  for (int64_t tile = first_tile; tile < end_tile; ++tile) {
    const int64_t reads = plan.perceived.count(tile);
    const int32_t* slots = plan.perceived.slots(tile);
    if (scratch.tile.stopped(plan.f.interruption, 2 * plan.tile_work())) return;
    const int64_t cells = smaller(kTile, z.cells - tile * kTile);
    prefetch(drive + tile * kTile * stride, plan.drive_rows(cells) * H);
    if (ddrive != nullptr) prefetch(ddrive + tile * kTile * stride, plan.drive_rows(cells) * H);
    plan.perceived.point(tile, state, plan.zeros.data, rows);
    multiply_rows(rows, slots, reads, plan.perceive, scratch.tile.hidden.data, H_padded);
    if (plan.wants_weights) {
      const int64_t at = (tile - first_tile) * kTile;
      for (int64_t k = 0; k < K; ++k)
        for (int64_t m = 0; m < kTile; ++m) by_slot.data[k * kBlock + at + m] = plan.zeros.data;
      for (int64_t r = 0; r < reads; ++r) {
        for (int64_t m = 0; m < kTile; ++m) by_slot.data[slots[r] * kBlock + at + m] = rows[r * kTile + m];
        scratch.read.data[slots[r]] = true;
      }
    }

    for (int64_t m = 0; m < kTile; ++m) {
      const int64_t cell = tile * kTile + m;
      if (m >= cells) {
        rows[m] = plan.zeros.data;
        continue;
      }
      T* du = dnext + cell * S;
      if (z.update != Update::residual)
        for (int64_t s = 0; s < S; ++s) du[s] *= T(1) - state_next[cell * S + s] * state_next[cell * S + s];
      rows[m] = scratch.du.data[cell - first] = du;
    }
    multiply_rows(rows, kFirstSlot, 1, plan.hidden_from_change, scratch.dhidden.data, H_padded);

    for (int64_t m = 0; m < cells; ++m) {
      const int64_t cell = tile * kTile + m;
      T* hidden = scratch.hidden.data + (cell - first) * H_padded;
      const T* pre_row = scratch.tile.hidden.data + m * H_padded;
      const T* dhidden = scratch.dhidden.data + m * H_padded;
      const T* drive_row = drive + cell * stride;
      T* dpre_row = dpre + cell * H_padded;
      T* ddrive_row = ddrive + cell * stride;
      for_each_vector<T>(H, [&](int64_t j, const auto& load_here, const auto& store_here) {
        Vector<T> h;
        const Vector<T> slope = activate_and_differentiate<A>(load(pre_row + j) + load_here(drive_row + j), h);
        const Vector<T> d = load(dhidden + j) * slope;
        store(hidden + j, h);
        store(dpre_row + j, d);
        if (ddrive != nullptr) store_here(ddrive_row + j, load_here(ddrive_row + j) + d);
      });
    }
  }
  if (!plan.wants_weights) return;

  for (int64_t k = 0; k < K; ++k)
    if (scratch.read.data[k])
      accumulate_outer(by_slot.data + k * kBlock, S, dpre + first * H_padded, H_padded, block_cells,
                       sums + k * S * H_padded);
  accumulate_outer(scratch.du.data, S, scratch.hidden.data, H_padded, block_cells, sums + plan.perceive_size);
  T* db = sums + plan.perceive_size + plan.update_size;
  for (int64_t c = 0; c < block_cells; ++c)
    for (int64_t s = 0; s < S; ++s) db[s] += scratch.du.data[c][s];
}

// Phase B for the tiles of one block: dstate = d loss / d s.
template <typename T>
void gather_block(const BackwardPlan<T>& plan, BackwardScratch<T>& scratch, int64_t block, const T* dnext,
                  const T* dpre, T* dstate) {
  const Sizes& z = plan.z;
  const int64_t S = z.state_size, end_cell = smaller((block + 1) * kBlock, z.cells);
  for (int64_t tile = block * kBlock / kTile; tile * kTile < end_cell; ++tile) {
    plan.readers.point(tile, dpre, plan.zeros.data, scratch.tile.rows.data);
    multiply_rows(scratch.tile.rows.data, plan.readers.slots(tile), plan.readers.count(tile), plan.state_from_hidden,
                  scratch.tile.change.data, plan.S_padded);
    const int64_t cells = smaller(kTile, z.cells - tile * kTile);
    for (int64_t m = 0; m < cells; ++m) {
      const int64_t at = (tile * kTile + m) * S;
      for_each_vector<T>(S, [&](int64_t s, const auto& load_here, const auto& store_here) {
        Vector<T> d = load(scratch.tile.change.data + m * plan.S_padded + s);
        if (z.update != Update::tanh) d += load_here(dnext + at + s);
        store_here(dstate + at + s, d);
      });
    }
  }
}

// All steps of one sample, backward.
template <Activation A, typename T>
void differentiate_sample(const BackwardPlan<T>& plan, BackwardScratch<T>& scratch, SampleScratch<T>& sample,
                          const Team& team, int64_t piece, int64_t b) {
  const Backward& g = plan.g;
  const Sizes& z = plan.z;
  const int64_t size = plan.sample_size, every = z.checkpoint_every;
  const int64_t begin = plan.perceived.tiles * team.member / team.members;
  const int64_t end = plan.perceived.tiles * (team.member + 1) / team.members;
  const int64_t first_slab = plan.slabs * team.member / team.members;
  const int64_t end_slab = plan.slabs * (team.member + 1) / team.members;
  const int64_t first_block = plan.first_block(first_slab), end_block = plan.first_block(end_slab);
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
        step_tiles<A>(plan, scratch.tile, state_after(i), plan.drive(b, i), next, begin, end);
        team.meet();
      }

    // A sum's derivative needs no value; the final state is not given then.
    const T* next = z.update == Update::residual ? nullptr : state_after(t + 1);
    const bool gathers = t > 0 || g.dstate != nullptr;
    const ReaderBlocks& read_by = plan.reader_blocks;
    add_gradient(dnext, plan.dreturned(b, t + 1), smaller(first_block * kBlock, z.cells) * z.state_size,
                 smaller(end_block * kBlock, z.cells) * z.state_size);
    const auto gather = [&](int64_t block) {
      gather_block(plan, scratch, block, dnext, sample.dpre.data, dstate);
    };
    for (int64_t slab = first_slab; slab < end_slab; ++slab)
      for (int64_t block = plan.first_block(slab); block < plan.first_block(slab + 1); ++block) {
        differentiate_block<A>(plan, scratch, block, state_after(t), next, plan.drive(b, t), dnext, sample.dpre.data,
                               plan.ddrive(piece, b, slab, t),
                               plan.wants_weights ? plan.sums_of(piece, slab) : nullptr);
        if (gathers)
          read_by.for_each_with_last(block, [&](int64_t ready) {
            if (ready >= first_block && read_by.first.data[ready] >= first_block) gather(ready);
          });
      }
    if (team.meet_and_stop(&plan.f.interruption->stop)) return;
    if (!gathers) break;
    if (team.members > 1) {
      for (int64_t block = first_block; block < end_block; ++block)
        if (read_by.first.data[block] < first_block || read_by.last.data[block] >= end_block) gather(block);
      team.meet();
    }
    T* swap = dnext;
    dnext = dstate;
    dstate = swap;
  }
  if (g.dstate != nullptr && team.member == 0) copy(static_cast<T*>(g.dstate) + b * size, dnext, size);
}

template <Activation A, typename T>
void backward(const Backward& g) {
  const BackwardPlan<T> plan(g);
  const Sizes& z = plan.z;
  const int threads = usable_threads(z.threads);
  if (g.ddrive != nullptr && !plan.shared_drive && z.drive_cell_stride != 0)
    expect_large(g.ddrive, plan.drives * z.batch * z.cells * z.hidden_size * int64_t(sizeof(T)));
  const bool together = plan.together() || plan.pieces < smaller(z.batch, threads);
  const bool divisible = plan.slabs >= 2 * threads || (together && plan.slabs > 1);
  PerThread<BackwardScratch<T>> scratch(threads, plan);
  scratch[0].tile.of_the_caller = true;
  PerThread<SampleScratch<T>> samples(together && divisible ? 1 : threads, plan);

  for_each_piece(plan.pieces, threads, together, divisible, [&](int64_t piece, const Team& team) {
    SampleScratch<T>& sample = samples[team.members > 1 || (together && divisible) ? 0 : team.worker];
    for (int64_t b = z.batch * piece / plan.pieces; b < z.batch * (piece + 1) / plan.pieces; ++b) {
      differentiate_sample<A>(plan, scratch[team.worker], sample, team, piece, b);
      team.meet();
    }
  });

  plan.finish_weights();
  plan.finish_ddrive();
}
