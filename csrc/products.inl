// The three matrix products of a step, on tiles of cells whose rows are found through pointers: nothing is gathered or
// copied first, and a missing neighbor is a pointer to a row of zeros, so the inner loops have no branch.
// Included inside the anonymous namespace of kernel.cpp.

constexpr int kTile = 12;  // cells computed together

// Weights laid out for multiply_rows: for each block of up to kMaxVectors vectors of lanes, [slots][length / fold][block].
//
// A lane is a column of the product, or, where the columns alone would fill one vector or less, one of `fold` lanes that
// share a column: lane column * fold + r sums the row's numbers r, r + fold, r + 2 fold, ... One broadcast of `fold`
// numbers then serves more multiplications (with a single vector of lanes the loads, not the multiplications, set the
// pace), and 8 columns fill a vector of 16. Lanes beyond the last column are zero.
template <typename T>
struct Packed {
  int64_t slots, length, columns;
  int fold;
  Scratch<T> data;

  // at(slot, i, column) gives the weight of row number i of a slot.
  template <typename At>
  Packed(int64_t slots_, int64_t length_, int64_t columns_, const At& at)
      : slots(slots_),
        length(length_),
        columns(columns_),
        fold(fold_of(length_, columns_)),
        data(slots_ * length_ / fold * lanes()) {
    T* to = data.data;
    for_each_block([&](int64_t begin, auto vectors) {
      constexpr int64_t width = decltype(vectors)::value * kWidth<T>;
      for (int64_t k = 0; k < slots; ++k)
        for (int64_t i = 0; i < length; i += fold)
          for (int64_t lane = begin; lane < begin + width; ++lane)
            *to++ = lane / fold < columns ? at(k, i + lane % fold, lane / fold) : T(0);
    });
  }

  int64_t lanes() const { return padded<T>(columns * fold); }

  // Calls work(first lane, vectors in the block) for the blocks from left to right, the widest first.
  template <typename Work>
  void for_each_block(const Work& work) const {
    int64_t begin = 0;
    int64_t left = lanes() / kWidth<T>;
    if constexpr (kMaxVectors >= 4)
      for (; left >= 4; left -= 4, begin += 4 * kWidth<T>) work(begin, Count<4>{});
    for (; left >= 2; left -= 2, begin += 2 * kWidth<T>) work(begin, Count<2>{});
    for (; left >= 1; left -= 1, begin += kWidth<T>) work(begin, Count<1>{});
  }

 private:
  static int fold_of(int64_t length, int64_t columns) {
    return sizeof(T) == 4 && columns <= kWidth<T> && length % 2 == 0 ? 2 : 1;
  }
};

// out[m][0 .. V vectors] = sum over reads r and i < length / F of F numbers, rows[r][m][i], spread over the lanes,
// times weights[slot r][i][0 .. V vectors], for M of a tile's rows. M * V accumulators stay in registers.
template <int M, int V, int F, typename T>
__attribute__((noinline)) void multiply_block(const T* const* rows, const int32_t* slots, int64_t reads,
                                              int64_t length, const T* all_weights, T* out, int64_t out_stride) {
  constexpr int W = kWidth<T>;
  Vector<T> sum[M][V];
#pragma GCC unroll 12
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[m][v] = Vector<T>{};
  for (int64_t r = 0; r < reads; ++r, rows += kTile) {
    const T* __restrict weights = all_weights + slots[r] * (length / F) * V * W;
    const T* row[M];
#pragma GCC unroll 12
    for (int m = 0; m < M; ++m) row[m] = rows[m];
#pragma GCC unroll 4
    for (int64_t i = 0; i < length; i += F, weights += V * W) {
      Vector<T> w[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) w[v] = load(weights + v * W);
#pragma GCC unroll 12
      for (int m = 0; m < M; ++m) {
        const auto x = spread<F>(row[m] + i);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[m][v] += x * w[v];
      }
    }
  }
#pragma GCC unroll 12
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(out + m * out_stride + v * W, sum[m][v]);
}

// multiply_rows for weights whose columns have two lanes each, in one or two vectors.
template <typename T>
inline void multiply_folded(const T* const* rows, const int32_t* slots, int64_t reads, const Packed<T>& w, T* out,
                            int64_t out_stride) {
  w.for_each_block([&](int64_t, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    constexpr int M = V == kMaxVectors ? kTile / 2 : kTile;
    constexpr int lanes = V * kWidth<T>;
    alignas(64) T partial[kTile * lanes];
    for (int m = 0; m < kTile; m += M)
      multiply_block<M, V, 2>(rows + m, slots, reads, w.length, w.data.data, partial + m * lanes, lanes);
    for (int m = 0; m < kTile; ++m)
      for (int c = 0; c < lanes / 2; ++c)
        out[m * out_stride + c] = partial[m * lanes + 2 * c] + partial[m * lanes + 2 * c + 1];
  });
}

// out [kTile, out_stride] = the rows of a tile's reads, [reads][kTile], times the packed weights of the reads' slots.
template <typename T>
inline void multiply_rows(const T* const* rows, const int32_t* slots, int64_t reads, const Packed<T>& w, T* out,
                          int64_t out_stride) {
  if (w.fold == 1) {
    w.for_each_block([&](int64_t begin, auto vectors) {
      constexpr int V = decltype(vectors)::value;
      constexpr int M = V == kMaxVectors ? kTile / 2 : kTile;
      const T* weights = w.data.data + w.slots * w.length * begin;
      for (int m = 0; m < kTile; m += M)
        multiply_block<M, V, 1>(rows + m, slots, reads, w.length, weights, out + m * out_stride + begin, out_stride);
    });
  } else {
    multiply_folded(rows, slots, reads, w, out, out_stride);
  }
}

// sums[s][0 .. V vectors] += sum over cells c of rows[c][s] * columns[c][0 .. V vectors], for S of the rows' numbers.
template <int S, int V, typename T>
__attribute__((noinline)) void accumulate_block(const T* const* rows, int64_t first, const T* __restrict columns,
                                                int64_t column_stride, int64_t cells, T* sums, int64_t sums_stride) {
  constexpr int W = kWidth<T>;
  Vector<T> sum[S][V];
#pragma GCC unroll 8
  for (int s = 0; s < S; ++s)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[s][v] = load(sums + s * sums_stride + v * W);
  for (int64_t c = 0; c < cells; ++c) {
    const T* row = rows[c] + first;
    Vector<T> column[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) column[v] = load(columns + c * column_stride + v * W);
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const T x = row[s];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[s][v] += x * column[v];
    }
  }
#pragma GCC unroll 8
  for (int s = 0; s < S; ++s)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(sums + s * sums_stride + v * W, sum[s][v]);
}

// sums [S, H padded] += the outer products of rows (S numbers each) and columns (H padded numbers each) over the cells.
template <typename T>
inline void accumulate_outer(const T* const* rows, int64_t S, const T* columns, int64_t H_padded, int64_t cells,
                             T* sums) {
  constexpr int W = kWidth<T>;
  const auto strip = [&](int64_t h, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    int64_t s = 0;
    if constexpr (8 * V <= 4 * kMaxVectors)
      for (; s + 8 <= S; s += 8)
        accumulate_block<8, V>(rows, s, columns + h, H_padded, cells, sums + s * H_padded + h, H_padded);
    for (; s + 4 <= S; s += 4)
      accumulate_block<4, V>(rows, s, columns + h, H_padded, cells, sums + s * H_padded + h, H_padded);
    for (; s < S; ++s)
      accumulate_block<1, V>(rows, s, columns + h, H_padded, cells, sums + s * H_padded + h, H_padded);
  };
  int64_t h = 0;
  if constexpr (kMaxVectors >= 4)
    for (; h + 4 * W <= H_padded; h += 4 * W) strip(h, Count<4>{});
  for (; h + 2 * W <= H_padded; h += 2 * W) strip(h, Count<2>{});
  for (; h < H_padded; h += W) strip(h, Count<1>{});
}
