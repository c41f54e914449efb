// SIMD vectors of the instruction set this object is compiled for, by GCC/Clang vector extensions: one source for all.
// Included inside the anonymous namespace of kernel.cpp.

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kMaxVectors = 4;  // of accumulators side by side; the micro-kernels below fit 32 registers
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kMaxVectors = 2;  // 16 registers
#else
constexpr int kVectorBytes = 16;
constexpr int kMaxVectors = 2;
#endif

template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <typename T>
using Vector = typename VectorOf<T>::type;

template <typename T>
constexpr int kWidth = kVectorBytes / int(sizeof(T));  // numbers per vector

template <typename T>
inline Vector<T> load(const T* from) {
  Vector<T> v;
  __builtin_memcpy(&v, from, sizeof(v));  // unaligned
  return v;
}

// F numbers, 2 or 4, repeated to fill a vector; for F = 1 the number itself, which multiplies a vector as it is.
template <int F>
inline auto spread(const float* from) {
  if constexpr (F == 1) {
    return *from;
  } else if constexpr (F == 4) {
#if defined(__AVX512F__)
    return (Vector<float>)_mm512_broadcast_f32x4(_mm_loadu_ps(from));
#elif defined(__AVX2__)
    return (Vector<float>)_mm256_broadcast_ps(reinterpret_cast<const __m128*>(from));
#else
    return load(from);  // a vector has 4
#endif
  } else {
    typedef uint64_t Pairs __attribute__((vector_size(kVectorBytes)));
    uint64_t pair;
    __builtin_memcpy(&pair, from, sizeof(pair));
    return (Vector<float>)(Pairs{} + pair);
  }
}
template <int F>
inline double spread(const double* from) {
  return *from;
}

template <typename T>
inline void store(T* to, Vector<T> v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

// The first `count` numbers, less than a vector of them; the rest of the vector is zero. For the ends of rows.
template <typename T>
inline Vector<T> load_some(const T* from, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (Vector<T>)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
  else
    return (Vector<T>)_mm512_maskz_loadu_pd(__mmask8((1u << count) - 1), from);
#else
  Vector<T> v{};
  for (int64_t i = 0; i < count; ++i) v[i] = from[i];
  return v;
#endif
}

template <typename T>
inline void store_some(T* to, Vector<T> v, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)v);
  else
    _mm512_mask_storeu_pd(to, __mmask8((1u << count) - 1), (__m512d)v);
#else
  for (int64_t i = 0; i < count; ++i) to[i] = v[i];
#endif
}

// Calls work(first, load, store) for a row of `count` numbers, vector by vector, with the load and store that fit there:
// rows of whole vectors get a loop without a branch in it.
template <typename T, typename Work>
inline void for_each_vector(int64_t count, const Work& work) {
  constexpr int W = kWidth<T>;
  const auto whole_load = [](const T* from) { return load(from); };
  const auto whole_store = [](T* to, Vector<T> v) { store(to, v); };
  int64_t i = 0;
  for (; i + W <= count; i += W) work(i, whole_load, whole_store);
  if (i == count) return;
  const int64_t left = count - i;
  work(
      i, [left](const T* from) { return load_some(from, left); },
      [left](T* to, Vector<T> v) { store_some(to, v, left); });
}

// Numbers rounded up to whole vectors.
template <typename T>
constexpr int64_t padded(int64_t count) {
  return (count + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
}

// Asks for the cache lines of an array ahead of their use.
template <typename T>
inline void prefetch(const T* from, int64_t count) {
  const char* begin = reinterpret_cast<const char*>(from);
  for (int64_t byte = 0; byte < count * int64_t(sizeof(T)); byte += 64) __builtin_prefetch(begin + byte);
}
