// Which rows each tile of cells reads, laid out once per call in the order in which the products want them.
// Included inside the anonymous namespace of kernel.cpp.

// For every tile of kTile cells a list of reads: a slot of the weights, and for each cell of the tile the offset of the
// row it reads there, or -1 for the row of zeros. A slot that no cell of the tile has (the outer side of a wall, along
// a whole row of cells) is left out, and so is its work.
struct Reads {
  int64_t tiles, most;   // most: reads of any one tile
  Scratch<int64_t> begin;  // [tiles + 1]
  Scratch<int32_t> slot;   // [reads]
  Scratch<int32_t> offset; // [reads][kTile]

  Reads(int64_t tiles_, int64_t reads)
      : tiles(tiles_), most(0), begin(tiles_ + 1), slot(reads), offset(reads * kTile) {}

  int64_t count(int64_t tile) const { return begin.data[tile + 1] - begin.data[tile]; }
  const int32_t* slots(int64_t tile) const { return slot.data + begin.data[tile]; }

  // rows [count(tile)][kTile] = where the reads of a tile find their rows.
  template <typename T>
  void point(int64_t tile, const T* base, const T* zeros, const T** rows) const {
    const int32_t* from = offset.data + begin.data[tile] * kTile;
    const int64_t n = count(tile) * kTile;
    for (int64_t i = 0; i < n; ++i) rows[i] = from[i] < 0 ? zeros : base + from[i];
  }
};

inline int64_t tiles_of(int64_t cells) { return (cells + kTile - 1) / kTile; }

// What each tile perceives: offsets into a state [N, S]. The cell itself is the last slot.
struct Perceived : Reads {
  Perceived(const Sizes& z, const int32_t* neighbors) : Reads(tiles_of(z.cells), tiles_of(z.cells) * z.slots) {
    int64_t reads = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      begin.data[tile] = reads;
      for (int64_t k = 0; k < z.slots; ++k) {
        int32_t* row = offset.data + reads * kTile;
        bool any = false;
        for (int64_t m = 0; m < kTile; ++m) {
          const int64_t cell = tile * kTile + m;
          int64_t from = -1;
          if (cell < z.cells) from = k == z.slots - 1 ? cell : neighbors[cell * (z.slots - 1) + k];
          row[m] = from < 0 ? -1 : int32_t(from * z.state_size);
          any = any || from >= 0;
        }
        if (any) slot.data[reads++] = int32_t(k);
      }
      most = larger(most, reads - begin.data[tile]);
    }
    begin.data[tiles] = reads;
  }
};

// Who reads each tile, for the backward: offsets into d loss / d pre [N, row]. Where a boundary reflects, a cell may be
// read twice in one slot; such a slot stands twice in the tile's list.
struct Readers : Reads {
  Readers(const Sizes& z, const int32_t* reader_offsets, const int32_t* readers, int64_t row)
      : Reads(tiles_of(z.cells), how_many(z, reader_offsets, readers)) {
    const int64_t degree = z.slots - 1;
    Scratch<int64_t> times(z.slots), place(z.slots);
    int64_t reads = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      begin.data[tile] = reads;
      count_slots(z, reader_offsets, readers, tile, times.data);
      for (int64_t k = 0; k < z.slots; ++k) {
        place.data[k] = reads;
        for (int64_t i = 0; i < times.data[k]; ++i) slot.data[reads++] = int32_t(k);
      }
      for (int64_t i = begin.data[tile] * kTile; i < reads * kTile; ++i) offset.data[i] = -1;
      for (int64_t m = 0; m < kTile && tile * kTile + m < z.cells; ++m) {
        const int64_t cell = tile * kTile + m;
        for (int64_t i = reader_offsets[cell]; i < reader_offsets[cell + 1]; ++i) {
          const int64_t reader = readers[i] / degree;
          int64_t at = place.data[readers[i] % degree];
          while (offset.data[at * kTile + m] >= 0) ++at;
          offset.data[at * kTile + m] = int32_t(reader * row);
        }
        offset.data[place.data[degree] * kTile + m] = int32_t(cell * row);
      }
      most = larger(most, reads - begin.data[tile]);
    }
    begin.data[tiles] = reads;
  }

 private:
  // times[k] = how often slot k must stand in the tile's list.
  static int64_t count_slots(const Sizes& z, const int32_t* reader_offsets, const int32_t* readers, int64_t tile,
                             int64_t* times) {
    const int64_t degree = z.slots - 1;
    Scratch<int64_t> here(z.slots);
    for (int64_t k = 0; k < z.slots; ++k) times[k] = 0;
    times[degree] = 1;  // every cell reads itself
    for (int64_t m = 0; m < kTile && tile * kTile + m < z.cells; ++m) {
      const int64_t cell = tile * kTile + m;
      for (int64_t k = 0; k < z.slots; ++k) here.data[k] = 0;
      for (int64_t i = reader_offsets[cell]; i < reader_offsets[cell + 1]; ++i) {
        const int64_t k = readers[i] % degree;
        times[k] = larger(times[k], ++here.data[k]);
      }
    }
    int64_t sum = 0;
    for (int64_t k = 0; k < z.slots; ++k) sum += times[k];
    return sum;
  }

  static int64_t how_many(const Sizes& z, const int32_t* reader_offsets, const int32_t* readers) {
    Scratch<int64_t> times(z.slots);
    int64_t sum = 0;
    for (int64_t tile = 0; tile < tiles_of(z.cells); ++tile)
      sum += count_slots(z, reader_offsets, readers, tile, times.data);
    return sum;
  }
};
