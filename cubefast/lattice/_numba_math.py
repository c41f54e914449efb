"""What the numba backend computes with: the product of a tile with weights, the activations, and the chance to fire."""

# mypy: disable-error-code="no-untyped-call, call-arg, import-untyped"
# (What numba compiles has no types, and the decorators' own are not those of what is called.)
from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

# "contract" lets a product and a sum become one instruction; never the flags that assume there is no NaN or Inf.
# The numpy error model divides without looking for zeros, which would keep loops from becoming vector instructions.
_OPTIONS: Any = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


def compiled(function):
    """Compiled by numba, and kept on the disk. Where numba finds no place for that (a package and a home folder that
    cannot be written), each process compiles anew, which a warning says.
    """
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        warnings.warn(
            "numba finds no folder to keep what it compiles, so every process spends half a minute on it: set "
            "NUMBA_CACHE_DIR to one that can be written",
            RuntimeWarning,
            stacklevel=1,  # one place, so it is said once
        )
        return njit(**_OPTIONS)(function)


TANH, RELU, SILU, SIGMOID = range(4)
ROWS, COLUMNS = 6, 16  # of a block of a product; 6 rows of sums and one of weights fit the registers of AVX2


@intrinsic
def _add_block(typing_context, a, b, c, row, column):
    """c += a @ b in a block of ROWS rows and one vector of 64 bytes from (row, column) on.

    As LLVM code because no loop in Python makes LLVM keep the sums in registers while it runs along the rows of b,
    and that is most of the speed: 3 times that of the best loop.
    """

    def generate(context, builder, signature, arguments):
        a, b, c = (context.make_array(signature.args[i])(context, builder, arguments[i]) for i in range(3))
        row, column = arguments[3:]
        bytes_each = signature.args[2].dtype.bitwidth // 8
        number = context.get_value_type(signature.args[2].dtype)
        vector = ir.VectorType(number, 64 // bytes_each)
        undefined = ir.Constant(vector, ir.Undefined)
        first_everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)

        def pointer(array, i, j, kind):
            strides = cgutils.unpack_tuple(builder, array.strides)
            offset = builder.add(builder.mul(i, strides[0]), builder.mul(j, strides[1]))
            start = builder.bitcast(array.data, ir.IntType(8).as_pointer())
            return builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())

        rows = [builder.add(row, row.type(i)) for i in range(ROWS)]
        targets = [pointer(c, i, column, vector) for i in rows]
        sums = [cgutils.alloca_once_value(builder, builder.load(target, align=bytes_each)) for target in targets]
        with cgutils.for_range(builder, cgutils.unpack_tuple(builder, b.shape)[0]) as loop:
            weights = builder.load(pointer(b, loop.index, column, vector), align=bytes_each)
            for i, total in zip(rows, sums, strict=True):
                value = builder.load(pointer(a, i, loop.index, number))
                value = builder.insert_element(undefined, value, ir.IntType(32)(0))
                value = builder.shuffle_vector(value, undefined, first_everywhere)
                product = builder.fmul(value, weights, flags=["contract"])
                builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
        for target, total in zip(targets, sums, strict=True):
            builder.store(builder.load(total), target, align=bytes_each)
        return context.get_dummy_value()

    return types.none(a, b, c, row, column), generate


@compiled
def add_product(a, b, c, rows):
    """c += a @ b in the first ``rows`` rows of a and c, and in the padding after them."""
    for column in range(0, c.shape[1], 64 // c.itemsize):
        for row in range(0, rows, ROWS):
            _add_block(a, b, c, row, column)


# The float32 tanh of csrc/activations.inl, which says where it comes from. numba makes float64 of a float32 and a
# plain number, hence the types; comparisons with NaN are false, which lets it pass.
_P4, _P3, _P2, _P1, _P0 = np.array(
    [1.5230802889956377e-08, 2.1894934559214888e-05, 0.003571614432050645, 0.1344451176210908, 0.9999999935805451],
    np.float32,
)
_Q4, _Q3, _Q2, _Q1 = np.array(
    [8.522602546512224e-07, 0.0003411318948038073, 0.02616450524602415, 0.4677783908625636], np.float32
)
_HALF, _ONE, _EIGHT = np.array([0.5, 1, 8], np.float32)


def _tanh(x): ...


def _sigmoid(x): ...


@overload(_tanh)
def _tanh_of(x):
    # Chosen when numba compiles: float64 is for checking gradients, exact before fast.
    def fit(x):
        x = _EIGHT if x > _EIGHT else x
        x = -_EIGHT if x < -_EIGHT else x
        y = x * x
        p = (((_P4 * y + _P3) * y + _P2) * y + _P1) * y + _P0
        q = (((_Q4 * y + _Q3) * y + _Q2) * y + _Q1) * y + _ONE
        return x * p / q

    def exact(x):
        return math.tanh(x)

    return fit if x == types.float32 else exact


@overload(_sigmoid)
def _sigmoid_of(x):
    return (lambda x: _HALF + _HALF * _tanh(_HALF * x)) if x == types.float32 else lambda x: 1 / (1 + math.exp(-x))


@compiled
def activate(values, activation):
    zero = values.dtype.type(0)
    if activation == TANH:
        for j in range(len(values)):
            values[j] = _tanh(values[j])
    elif activation == RELU:
        for j in range(len(values)):
            values[j] = zero if values[j] < zero else values[j]
    elif activation == SILU:
        for j in range(len(values)):
            values[j] *= _sigmoid(values[j])
    else:
        for j in range(len(values)):
            values[j] = _sigmoid(values[j])


@compiled
def activate_and_differentiate(hidden, gradient, activation):
    """hidden = activation(hidden), and gradient *= its derivative."""
    zero, one = hidden.dtype.type(0), hidden.dtype.type(1)
    if activation == TANH:
        for j in range(len(hidden)):
            y = _tanh(hidden[j])
            gradient[j] *= one - y * y
            hidden[j] = y
    elif activation == RELU:
        for j in range(len(hidden)):
            gradient[j] = zero if hidden[j] <= zero else gradient[j]
            hidden[j] = zero if hidden[j] < zero else hidden[j]
    elif activation == SILU:
        for j in range(len(hidden)):
            s = _sigmoid(hidden[j])
            y = hidden[j] * s
            gradient[j] *= s + y * (one - s)
            hidden[j] = y
    else:
        for j in range(len(hidden)):
            y = _sigmoid(hidden[j])
            gradient[j] *= y * (one - y)
            hidden[j] = y


_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_FIRST_FACTOR, _SECOND_FACTOR = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_FIRST_KEY_STEP, _SECOND_KEY_STEP = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@compiled
def fire(seed, sample, step, below, mask):
    """mask [N] &= whether each cell's number of Philox4x32-10 is less than ``below``; fire.py says what that is."""
    for group in range((len(mask) + 3) // 4):
        a, b, c, d = np.uint64(group), np.uint64(step), np.uint64(sample), np.uint64(0)
        first_key, second_key = seed & _LOW, seed >> _32
        for _ in range(10):
            first, second = a * _FIRST_FACTOR, c * _SECOND_FACTOR
            a, c = (second >> _32) ^ b ^ first_key, (first >> _32) ^ d ^ second_key
            b, d = second & _LOW, first & _LOW
            first_key, second_key = (first_key + _FIRST_KEY_STEP) & _LOW, (second_key + _SECOND_KEY_STEP) & _LOW
        for cell, number in zip(range(4 * group, len(mask)), (a, b, c, d)):  # noqa: B905  (numba has no strict)
            mask[cell] &= number < below
