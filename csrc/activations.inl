// The activations and their derivatives on vectors. Included inside the anonymous namespace of kernel.cpp.

// 1 / q for q >= 1.
inline Vector<float> reciprocal(Vector<float> q) {
#if defined(__AVX512F__)
  // A division keeps its unit busy for 16 cycles; an estimate of 14 bits and a Newton step take 4.
  const Vector<float> r = (Vector<float>)_mm512_rcp14_ps((__m512)q);
  return r * (2.0f - q * r);
#else
  return 1.0f / q;
#endif
}

// x cut to [-limit, limit]; NaN passes through.
inline Vector<float> clamp(Vector<float> x, float limit) {
#if defined(__AVX512F__)
  // The instructions return their second operand when one of the two is NaN.
  x = (Vector<float>)_mm512_min_ps(_mm512_set1_ps(limit), (__m512)x);
  return (Vector<float>)_mm512_max_ps(_mm512_set1_ps(-limit), (__m512)x);
#elif defined(__AVX2__)
  x = (Vector<float>)_mm256_min_ps(_mm256_set1_ps(limit), (__m256)x);
  return (Vector<float>)_mm256_max_ps(_mm256_set1_ps(-limit), (__m256)x);
#else
  const Vector<float> most = Vector<float>{} + limit;
  x = x > most ? most : x;
  return x < -most ? -most : x;
#endif
}

// tanh(x) = x P(x^2) / Q(x^2) on |x| <= 8, a minimax fit of ours of the relative error (6.5e-9 before rounding);
// beyond, tanh is within 4 ULP of its value at 8. The worst case against float64 stays under 6 ULP (tested).
inline Vector<float> tanh_(Vector<float> x) {
  x = clamp(x, 8.0f);
  const Vector<float> y = x * x;
  Vector<float> p = 1.5230802889956377e-08f * y + 2.1894934559214888e-05f;
  p = p * y + 0.003571614432050645f;
  p = p * y + 0.1344451176210908f;
  p = p * y + 0.9999999935805451f;
  Vector<float> q = 8.522602546512224e-07f * y + 0.0003411318948038073f;
  q = q * y + 0.02616450524602415f;
  q = q * y + 0.4677783908625636f;
  q = q * y + 1.0f;
  return x * p * reciprocal(q);
}

// exp(x) - 1 for |x| <= 40, to a few units in the last place also near 0: with x = k ln 2 + r, |r| <= ln 2 / 2, it is
// 2^k (exp(r) - 1) + (2^k - 1), and exp(r) - 1 is its Taylor series up to r^14 / 14!, which is below 1e-17 of r.
inline Vector<double> expm1_(Vector<double> x) {
  typedef uint64_t Integers __attribute__((vector_size(kVectorBytes)));
  const double shift = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds, and leaves k in the low bits
  const Vector<double> rounded = x * 1.4426950408889634 + shift;
  const Vector<double> k = rounded - shift;
  const Vector<double> r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;  // ln 2 in two parts
  const Vector<double> power = (Vector<double>)(((Integers)rounded + 1023) << 52);               // 2^k
  Vector<double> p = r * (1.0 / 87178291200.0) + 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r * r + r;
  return power * p + (power - 1.0);
}

// tanh(x) = expm1(2x) / (expm1(2x) + 2); beyond 20 it is 1 in float64.
inline Vector<double> tanh_(Vector<double> x) {
  const Vector<double> limit = Vector<double>{} + 20.0;
  x = x > limit ? limit : x;  // false for NaN, which passes through
  x = x < -limit ? -limit : x;
  const Vector<double> e = expm1_(x + x);
  return e / (e + 2.0);
}

// 1 / (1 + exp(-x)) by the same fit; the absolute error is below 3e-7 in float32.
inline Vector<float> sigmoid_(Vector<float> x) { return 0.5f + 0.5f * tanh_(0.5f * x); }
inline Vector<double> sigmoid_(Vector<double> x) {
  for (int i = 0; i < kWidth<double>; ++i) x[i] = 1.0 / (1.0 + std::exp(-x[i]));  // float64 checks gradients: plain
  return x;
}

template <Activation A, typename V>
inline V activate(V x) {
  if constexpr (A == Activation::tanh) return tanh_(x);
  if constexpr (A == Activation::relu) return x < 0 ? V{} : x;
  if constexpr (A == Activation::silu) return x * sigmoid_(x);
  return sigmoid_(x);
}

// y = activation(x); the return value is its derivative.
template <Activation A, typename V>
inline V activate_and_differentiate(V x, V& y) {
  if constexpr (A == Activation::silu) {
    const V s = sigmoid_(x);
    y = x * s;
    return s + y * (1 - s);
  }
  y = activate<A>(x);
  if constexpr (A == Activation::tanh) return 1 - y * y;
  if constexpr (A == Activation::relu) return x <= 0 ? V{} : V{} + 1;
  return y * (1 - y);
}
