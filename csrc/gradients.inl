// What both backwards share: the gradients that are sums over cells and samples, one buffer per unit, a unit being a
// piece of the batch and a slab of the cells. Included inside the anonymous namespace of kernel.cpp.
//
// The units follow from the sizes alone and are added in order, so every gradient is bitwise the same for any number of
// threads.

constexpr int64_t kBlock = 8 * kTile;  // cells whose h and dpre are kept in the cache while they are summed

// parts[i] = the sum over parts p of parts[p * stride + i], in order.
template <typename T>
void add_up(T* parts, int64_t count, int64_t stride, int64_t size) {
  for (int64_t p = 1; p < count; ++p)
    for (int64_t i = 0; i < size; ++i) parts[i] += parts[p * stride + i];
}

// d[begin .. end) += more[begin .. end), if there is more.
template <typename T>
void add_gradient(T* d, const T* more, int64_t begin, int64_t end) {
  if (more != nullptr)
    for (int64_t i = begin; i < end; ++i) d[i] += more[i];
}

template <typename Base, typename T>
struct GradientPlan : Base {
  const Backward& g;
  int64_t drives, drive_size;  // one, or one for each step; of one: [N, H], or [H] for all cells
  int64_t pieces, slabs, blocks;
  // Of the sums of one unit: [K*S or F*S, H padded], [S, H padded], [S padded], and [F, K, S padded] for filters.
  int64_t perceive_size, update_size, filters_size, unit_size;
  bool wants_weights, shared_drive;
  Packed<T> hidden_from_change;  // w_update^T: [S] -> H
  Scratch<T> sums;         // [pieces, slabs, unit]
  Scratch<T> drive_sums;   // what goes into the drive's gradient, where several add to one number of it

  explicit GradientPlan(const Backward& g_)
      : Base(g_.forward),
        g(g_),
        drives(this->z.drive_step_stride != 0 ? this->z.steps : 1),
        drive_size((this->z.drive_cell_stride != 0 ? this->z.cells : 1) * this->z.hidden_size),
        pieces(pieces_of()),
        slabs(0),
        blocks((this->z.cells + kBlock - 1) / kBlock),
        perceive_size(this->perceived_size * this->H_padded),
        update_size(this->z.state_size * this->H_padded),
        filters_size(g_.dfilters != nullptr ? this->z.filters * this->z.slots * this->S_padded : 0),
        unit_size(perceive_size + update_size + this->S_padded + filters_size),
        wants_weights(g_.dw_perceive != nullptr || g_.dw_update != nullptr || g_.db_update != nullptr ||
                      g_.dfilters != nullptr),
        shared_drive(this->z.drive_batch_stride == 0),
        hidden_from_change(1, this->z.state_size, this->z.hidden_size,
                           [&](int64_t, int64_t s, int64_t j) {
                             return static_cast<const T*>(g_.forward.w_update)[s * this->z.hidden_size + j];
                           }),
        sums((slabs = smaller((kUnits + pieces - 1) / pieces, blocks)) * pieces * (wants_weights ? unit_size : 0), true),
        drive_sums(drive_sums_size(), true) {}

  int64_t first_block(int64_t slab) const { return blocks * slab / slabs; }
  // Where the gradient of the drive of a sample in a step, as a slab uses it, is summed. One drive for all cells has a
  // sum for each slab, one for all samples a sum for each piece; others are summed where they belong.
  T* ddrive(int64_t piece, int64_t b, int64_t slab, int64_t t) const {
    if (g.ddrive == nullptr) return nullptr;
    const Sizes& z = this->z;
    const int64_t step = drives > 1 ? t : 0;
    if (z.drive_cell_stride == 0)
      return drive_sums.data + (((shared_drive ? piece : b) * slabs + slab) * drives + step) * drive_size;
    if (shared_drive) return drive_sums.data + (piece * drives + step) * drive_size;
    return static_cast<T*>(g.ddrive) + step * z.drive_step_stride + b * drive_size;
  }

  // Makes ready to be added to what is not made of sums.
  void clear_ddrive(int64_t b) const {
    if (g.ddrive == nullptr || shared_drive || this->z.drive_cell_stride == 0) return;
    for (int64_t i = 0; i < drives; ++i)
      std::memset(static_cast<T*>(g.ddrive) + i * this->z.drive_step_stride + b * drive_size, 0,
                  size_t(drive_size) * sizeof(T));
  }

  // Makes of the sums of all units the gradients of the weights.
  void finish_weights() const {
    const Sizes& z = this->z;
    const int64_t H = z.hidden_size, S = z.state_size, P = this->perceived_size;
    if (!wants_weights) return;
    add_up(sums.data, pieces * slabs, unit_size, unit_size);
    const T* perceive = sums.data;
    const T* update = perceive + perceive_size;
    if (T* dw = static_cast<T*>(g.dw_perceive))
      for (int64_t j = 0; j < H; ++j)
        for (int64_t i = 0; i < P; ++i) dw[j * P + i] = perceive[i * this->H_padded + j];
    if (T* dw = static_cast<T*>(g.dw_update))
      for (int64_t s = 0; s < S; ++s) copy(dw + s * H, update + s * this->H_padded, H);
    if (T* db = static_cast<T*>(g.db_update)) copy(db, update + update_size, S);
    if (T* df = static_cast<T*>(g.dfilters)) {
      const T* from = update + update_size + this->S_padded;
      for (int64_t i = 0; i < z.filters * z.slots; ++i, from += this->S_padded) {
        if (z.depthwise) {
          copy(df + i * S, from, S);
        } else {
          df[i] = 0;
          for (int64_t s = 0; s < S; ++s) df[i] += from[s];
        }
      }
    }
  }

  // Makes of those sums the gradient of the drive.
  void finish_ddrive() const {
    const Sizes& z = this->z;
    T* to = static_cast<T*>(g.ddrive);
    if (to == nullptr) return;
    const int64_t size = drives * drive_size;
    if (shared_drive) {
      add_up(drive_sums.data, z.drive_cell_stride == 0 ? pieces * slabs : pieces, size, size);
      copy(to, drive_sums.data, size);
    } else if (z.drive_cell_stride == 0) {
      for (int64_t b = 0; b < z.batch; ++b) {
        T* const sums_of_sample = drive_sums.data + b * slabs * size;
        add_up(sums_of_sample, slabs, size, size);
        for (int64_t i = 0; i < drives; ++i)
          copy(to + i * z.drive_step_stride + b * drive_size, sums_of_sample + i * drive_size, drive_size);
      }
    }
  }

  // The gradient of the state after t steps as one that was returned; null if it was not, or has none.
  const T* dreturned(int64_t b, int64_t t) const {
    const Sizes& z = this->z;
    if (g.dstates == nullptr || t % z.return_every != 0) return nullptr;
    return static_cast<const T*>(g.dstates) + (b * z.returned_states() + t / z.return_every - 1) * this->sample_size;
  }

  T* sums_of(int64_t piece, int64_t slab) const { return sums.data + (piece * slabs + slab) * unit_size; }

 private:
  static constexpr int64_t kUnits = 16;  // at least so many units, if there are cells enough
  static constexpr int64_t kDriveBytes = int64_t(16) << 20;  // of sums, one for each piece, where pieces can be fewer
  int64_t pieces_of() const {
    int64_t pieces = smaller(this->z.batch, 64);
    const bool large = this->z.drive_cell_stride != 0 || drives > 1;
    if (g.ddrive != nullptr && this->z.drive_batch_stride == 0 && large) {
      const int64_t affordable = kDriveBytes / larger(drives * drive_size * int64_t(sizeof(T)), 1);
      pieces = smaller(pieces, larger(1, smaller(affordable, 16)));
    }
    return larger(pieces, 1);
  }
  int64_t drive_sums_size() const {
    if (g.ddrive == nullptr) return 0;
    const int64_t size = drives * drive_size;
    if (this->z.drive_cell_stride == 0) return (shared_drive ? pieces : this->z.batch) * slabs * size;
    return shared_drive ? pieces * size : 0;
  }
};
