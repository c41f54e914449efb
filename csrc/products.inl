// The three matrix products of a step, on tiles of cells whose rows are found through pointers: nothing is gathered or
// copied first, and a missing neighbor is a pointer to a row of zeros, so the inner loops have no branch.
// Included inside the anonymous namespace of kernel.cpp.

constexpr int kTile = 12;  // cells computed together

// Weights laid out for multiply_rows, in one part or two: the columns, or those of them that fill whole vectors and the
// rest. Of a part, for each block of up to kMaxVectors vectors of lanes, [slots][length / fold][block].
//
// A lane is a column of the product, or one of `fold` lanes that share a column: lane column * fold + r sums the row's
// numbers r, r + fold, r + 2 fold, ... So 8 columns fill a vector of 16, and 20 cost the work of 20 and not of 32; and one
// broadcast of `fold` numbers serves more multiplications (with a single vector of lanes the loads, not the
// multiplications, set the pace). Lanes beyond the last column are zero.
template <typename T>
struct Packed {
  struct Part {
    int64_t first, columns;
    int fold;
    int64_t begin;  // of its weights in the data
    int64_t lanes() const { return padded<T>(columns * fold); }

    // Calls work(first lane, vectors in the block) for the blocks from left to right, the widest first.
    template <typename Work>
    void for_each_block(const Work& work) const {
      int64_t lane = 0;
      int64_t left = lanes() / kWidth<T>;
      if constexpr (kMaxVectors >= 4)
        for (; left >= 4; left -= 4, lane += 4 * kWidth<T>) work(lane, Count<4>{});
      for (; left >= 2; left -= 2, lane += 2 * kWidth<T>) work(lane, Count<2>{});
      for (; left >= 1; left -= 1, lane += kWidth<T>) work(lane, Count<1>{});
    }
  };
  int64_t slots, length;
  Part whole, rest;  // the rest has no columns where there is one part
  Scratch<T> data;

  // at(slot, i, column) gives the weight of row number i of a slot.
  template <typename At>
  Packed(int64_t slots_, int64_t length_, int64_t columns, const At& at)
      : slots(slots_),
        length(length_),
        whole(part_of(0, columns - rest_of(columns))),
        rest(part_of(whole.columns, rest_of(columns))),
        data(rest.begin + numbers(rest)) {
    pack(whole, at);
    pack(rest, at);
  }

 private:
  template <typename At>
  void pack(const Part& part, const At& at) {
    T* to = data.data + part.begin;
    part.for_each_block([&](int64_t begin, auto vectors) {
      constexpr int64_t width = decltype(vectors)::value * kWidth<T>;
      for (int64_t k = 0; k < slots; ++k)
        for (int64_t i = 0; i < length; i += part.fold)
          for (int64_t lane = begin; lane < begin + width; ++lane) {
            const int64_t column = lane / part.fold;
            *to++ = column < part.columns ? at(k, i + lane % part.fold, part.first + column) : T(0);
          }
    });
  }
  int64_t numbers(const Part& part) const { return slots * length / part.fold * part.lanes(); }
  Part part_of(int64_t first, int64_t columns) const {
    return Part{first, columns, fold_of(columns), first == 0 ? 0 : numbers(whole)};
  }
  int fold_of(int64_t columns) const {
    if (sizeof(T) != 4 || columns > kWidth<T>) return 1;
    if (4 * columns <= kWidth<T> && length % 4 == 0) return 4;
    return length % 2 == 0 ? 2 : 1;
  }
  // Columns beyond the whole vectors that are better folded: where there are few of these, and folding wins half a vector.
  int64_t rest_of(int64_t columns) const {
    const int64_t left = columns % kWidth<T>;
    const bool few = columns > kWidth<T> && columns < kMaxVectors * kWidth<T>;
    return few && 2 * left <= kWidth<T> && fold_of(left) > 1 ? left : 0;
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

// multiply_rows for a part of the weights whose columns have F lanes each.
template <int F, typename T>
inline void multiply_folded(const T* const* rows, const int32_t* slots, int64_t reads, const Packed<T>& w,
                            const typename Packed<T>::Part& part, T* out, int64_t out_stride) {
  part.for_each_block([&](int64_t begin, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    constexpr int M = V == kMaxVectors ? kTile / 2 : kTile;
    constexpr int lanes = V * kWidth<T>;
    const T* weights = w.data.data + part.begin + w.slots * (w.length / F) * begin;
    alignas(64) T partial[kTile * lanes];
    for (int m = 0; m < kTile; m += M)
      multiply_block<M, V, F>(rows + m, slots, reads, w.length, weights, partial + m * lanes, lanes);
    T* to = out + part.first + begin / F;
    for (int m = 0; m < kTile; ++m)
      for (int c = 0; c < lanes / F; ++c) {
        T sum = partial[m * lanes + F * c];
        for (int r = 1; r < F; ++r) sum += partial[m * lanes + F * c + r];
        to[m * out_stride + c] = sum;
      }
  });
}

template <typename T>
inline void multiply_part(const T* const* rows, const int32_t* slots, int64_t reads, const Packed<T>& w,
                          const typename Packed<T>::Part& part, T* out, int64_t out_stride) {
  if (part.fold == 2) return multiply_folded<2>(rows, slots, reads, w, part, out, out_stride);
  if (part.fold == 4) return multiply_folded<4>(rows, slots, reads, w, part, out, out_stride);
  part.for_each_block([&](int64_t begin, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    constexpr int M = V == kMaxVectors ? kTile / 2 : kTile;
    const T* weights = w.data.data + part.begin + w.slots * w.length * begin;
    T* to = out + part.first + begin;
    for (int m = 0; m < kTile; m += M)
      multiply_block<M, V, 1>(rows + m, slots, reads, w.length, weights, to + m * out_stride, out_stride);
  });
}

// out [kTile, out_stride] = the rows of a tile's reads, [reads][kTile], times the packed weights of the reads' slots.
template <typename T>
inline void multiply_rows(const T* const* rows, const int32_t* slots, int64_t reads, const Packed<T>& w, T* out,
                          int64_t out_stride) {
  multiply_part(rows, slots, reads, w, w.whole, out, out_stride);
  if (w.rest.columns > 0) multiply_part(rows, slots, reads, w, w.rest, out, out_stride);
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
