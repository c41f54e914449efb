// The activations and their derivatives, written so that the compiler vectorizes loops over them.
// Included inside the anonymous namespace of kernel.cpp.

// tanh(x) = x P(x^2) / Q(x^2) on |x| <= 8, a minimax fit of ours of the relative error (6.5e-9 before rounding);
// beyond, tanh is within 4 ULP of its value at 8. Worst case seen against float64 over every float: 6 ULP.
inline float tanh_(float x) {
  x = x > 8.0f ? 8.0f : x;
  x = x < -8.0f ? -8.0f : x;  // both comparisons are false for NaN, which passes through
  const float y = x * x;
  float p = 1.5230802889956377e-08f;
  p = p * y + 2.1894934559214888e-05f;
  p = p * y + 0.003571614432050645f;
  p = p * y + 0.1344451176210908f;
  p = p * y + 0.9999999935805451f;
  float q = 8.522602546512224e-07f;
  q = q * y + 0.0003411318948038073f;
  q = q * y + 0.02616450524602415f;
  q = q * y + 0.4677783908625636f;
  q = q * y + 1.0f;
  return x * p / q;
}
inline double tanh_(double x) { return std::tanh(x); }

// 1 / (1 + exp(-x)) by the same fit; the absolute error is below 3e-7 in float32.
template <typename T>
inline T sigmoid_(T x) {
  return T(0.5) + T(0.5) * tanh_(T(0.5) * x);
}
template <>
inline double sigmoid_(double x) { return 1.0 / (1.0 + std::exp(-x)); }

template <Activation A, typename T>
inline T activate(T x) {
  if constexpr (A == Activation::tanh) return tanh_(x);
  if constexpr (A == Activation::relu) return x < T(0) ? T(0) : x;
  if constexpr (A == Activation::silu) return x * sigmoid_(x);
  return sigmoid_(x);
}

// d activation / d x, from the input x and the output y.
template <Activation A, typename T>
inline T derivative(T x, T y) {
  if constexpr (A == Activation::tanh) return T(1) - y * y;
  if constexpr (A == Activation::relu) return x <= T(0) ? T(0) : T(1);
  if constexpr (A == Activation::silu) {
    const T s = sigmoid_(x);
    return s + y * (T(1) - s);
  }
  return y * (T(1) - y);
}
