// A topology's tables: are they what the kernel takes them for, and the reverse of one. csrc/params.h says what they hold.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace cubefast {

// Throws std::invalid_argument unless every entry names a cell, or is -1.
inline void check_neighbors(const int32_t* neighbors, int64_t cells, int64_t degree) {
  uint32_t highest = 0;  // of the entries + 1: a negative one below -1 becomes a very large number
  for (int64_t i = 0; i < cells * degree; ++i) {
    const uint32_t entry = uint32_t(neighbors[i]) + 1u;
    highest = entry > highest ? entry : highest;
  }
  if (int64_t(highest) > cells)
    throw std::invalid_argument("neighbors must name cells 0.." + std::to_string(cells - 1) +
                                ", or -1 for none; it has other numbers. Take the tables of a cubefast.Topology");
}

// Throws std::invalid_argument unless readers is the reverse of neighbors: each of its entries (reader * degree + slot)
// stands under the cell that is read there, in increasing order, and there are as many as neighbors.
inline void check_readers(const int32_t* neighbors, int64_t cells, int64_t degree, const int32_t* reader_offsets,
                          const int32_t* readers, int64_t count) {
  int64_t present = 0;
  for (int64_t i = 0; i < cells * degree; ++i) present += neighbors[i] >= 0;
  bool right = present == count && reader_offsets[0] == 0 && reader_offsets[cells] == count;
  for (int64_t cell = 0; right && cell < cells; ++cell) {
    const int64_t begin = reader_offsets[cell], end = reader_offsets[cell + 1];
    right = begin <= end && end <= count;
    int64_t last = -1;
    for (int64_t i = begin; right && i < end; ++i) {
      const int64_t entry = readers[i];
      right = entry > last && entry < cells * degree && neighbors[entry] == cell;
      last = entry;
    }
  }
  if (!right)
    throw std::invalid_argument(
        "reader_offsets and readers must be the reverse of neighbors; they are not. Take the tables of a "
        "cubefast.Topology");
}

// reader_offsets [cells + 1] and readers [as many as there are neighbors] = the reverse of neighbors.
inline void reverse_table(const int32_t* neighbors, int64_t cells, int64_t degree, int32_t* reader_offsets,
                          int32_t* readers) {
  std::vector<int32_t> place(cells + 1, 0);
  for (int64_t i = 0; i < cells * degree; ++i)
    if (neighbors[i] >= 0) ++place[neighbors[i] + 1];
  for (int64_t cell = 0; cell < cells; ++cell) place[cell + 1] += place[cell];
  for (int64_t cell = 0; cell <= cells; ++cell) reader_offsets[cell] = place[cell];
  for (int64_t i = 0; i < cells * degree; ++i)
    if (neighbors[i] >= 0) readers[place[neighbors[i]]++] = int32_t(i);
}

}  // namespace cubefast
