// Which cells fire: Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011), counter (cell / 4,
// step, sample, 0), key seed, as in cubefast/lattice/fire.py. Included inside the anonymous namespace of kernel.cpp.

// fire[c] = whether cell c of a sample fires in step t, for begin <= c < end; the array begins at cell 0.
inline void draw_fire(const Sizes& z, int64_t sample, int64_t t, int64_t begin, int64_t end, uint8_t* fire) {
  if (z.fire_below >> 32 != 0) {
    std::memset(fire + begin, 1, static_cast<size_t>(end - begin));
    return;
  }
  constexpr int kCounters = 16;  // side by side, for vector instructions
  const uint32_t step = uint32_t(z.first_step + t), below = uint32_t(z.fire_below);
  for (int64_t group = begin / 4; group * 4 < end; group += kCounters) {
    uint32_t a[kCounters], b[kCounters], c[kCounters], d[kCounters];
    for (int i = 0; i < kCounters; ++i) {
      a[i] = uint32_t(group + i);
      b[i] = step;
      c[i] = uint32_t(sample);
      d[i] = 0;
    }
    uint32_t low = uint32_t(z.seed), high = uint32_t(z.seed >> 32);
    for (int round = 0; round < 10; ++round, low += 0x9E3779B9u, high += 0xBB67AE85u)
      for (int i = 0; i < kCounters; ++i) {
        const uint64_t first = uint64_t(a[i]) * 0xD2511F53u, second = uint64_t(c[i]) * 0xCD9E8D57u;
        a[i] = uint32_t(second >> 32) ^ b[i] ^ low;
        c[i] = uint32_t(first >> 32) ^ d[i] ^ high;
        b[i] = uint32_t(second);
        d[i] = uint32_t(first);
      }
    for (int i = 0; i < kCounters; ++i) {
      const uint32_t numbers[4] = {a[i], b[i], c[i], d[i]};
      for (int j = 0; j < 4; ++j) {
        const int64_t cell = (group + i) * 4 + j;
        if (cell >= begin && cell < end) fire[cell] = numbers[j] < below;
      }
    }
  }
}
