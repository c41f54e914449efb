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
        pieces(pieces_of(g_)),
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
        drive_sums(drive_sums_size(g_, pieces, slabs), true) {}

  int64_t first_block(int64_t slab) const { return blocks * slab / slabs; }
  // Where the gradient of the drive of a sample, as a slab hears it, is summed. One drive for all cells has a sum for
  // each slab, one for all samples a sum for each piece.
  T* ddrive(int64_t piece, int64_t b, int64_t slab) const {
    if (g.ddrive == nullptr) return nullptr;
    const Sizes& z = this->z;
    if (z.drive_cell_stride == 0)
      return drive_sums.data + ((shared_drive ? piece : b) * slabs + slab) * z.hidden_size;
    const int64_t size = z.cells * z.hidden_size;
    return shared_drive ? drive_sums.data + piece * size : static_cast<T*>(g.ddrive) + b * size;
  }

  // Makes ready to be added to what is not made of sums.
  void clear_ddrive(int64_t b) const {
    const int64_t size = this->z.cells * this->z.hidden_size;
    if (g.ddrive != nullptr && !shared_drive && this->z.drive_cell_stride != 0)
      std::memset(static_cast<T*>(g.ddrive) + b * size, 0, size_t(size) * sizeof(T));
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
    const int64_t H = z.hidden_size;
    T* to = static_cast<T*>(g.ddrive);
    if (to == nullptr) return;
    if (shared_drive) {
      const int64_t size = z.drive_cell_stride == 0 ? H : z.cells * H;
      add_up(drive_sums.data, z.drive_cell_stride == 0 ? pieces * slabs : pieces, size, size);
      copy(to, drive_sums.data, size);
    } else if (z.drive_cell_stride == 0) {
      for (int64_t b = 0; b < z.batch; ++b) {
        add_up(drive_sums.data + b * slabs * H, slabs, H, H);
        copy(to + b * H, drive_sums.data + b * slabs * H, H);
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
  static int64_t pieces_of(const Backward& g) {
    const Sizes& z = g.forward.sizes;
    int64_t pieces = smaller(z.batch, 64);
    if (g.ddrive != nullptr && z.drive_batch_stride == 0 && z.drive_cell_stride != 0) {
      const int64_t affordable = (int64_t(16) << 20) / (z.cells * z.hidden_size * int64_t(sizeof(T)));
      pieces = smaller(pieces, larger(1, smaller(affordable, 16)));
    }
    return larger(pieces, 1);
  }
  static int64_t drive_sums_size(const Backward& g, int64_t pieces, int64_t slabs) {
    const Sizes& z = g.forward.sizes;
    if (g.ddrive == nullptr) return 0;
    if (z.drive_cell_stride == 0) return (z.drive_batch_stride == 0 ? pieces : z.batch) * slabs * z.hidden_size;
    return z.drive_batch_stride == 0 ? pieces * z.cells * z.hidden_size : 0;
  }
};
