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

// float64 is for checking gradients: exact before fast.
inline Vector<double> tanh_(Vector<double> x) {
  for (int i = 0; i < kWidth<double>; ++i) x[i] = std::tanh(x[i]);
  return x;
}

// 1 / (1 + exp(-x)) by the same fit; the absolute error is below 3e-7 in float32.
inline Vector<float> sigmoid_(Vector<float> x) { return 0.5f + 0.5f * tanh_(0.5f * x); }
inline Vector<double> sigmoid_(Vector<double> x) {
  for (int i = 0; i < kWidth<double>; ++i) x[i] = 1.0 / (1.0 + std::exp(-x[i]));
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
